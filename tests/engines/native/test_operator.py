"""The operator in PyTorch's machinery: opcheck, fake tensors, torch.compile, transforms, autocast, inference."""

import copy
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._pytree import tree_map_only

import gatewise
from gatewise.cells import resolve
from gatewise.engines.native import build, operator
from gatewise.engines.native.arguments import mask_numbers

pytestmark = pytest.mark.usefixtures("native", "one_thread")

T, B, I, H = 4, 3, 5, 7


NOISY = gatewise.zoneout(gatewise.recurrent_dropout(gatewise.layer_norm("lstm"), 0.25), 0.5)


def arguments_of(cell="gru", dtype=torch.float64, tokens=False, lengths=False, wanted=True, keep=True, reverse=False):
    """What ``scan`` takes, in its order; ``wanted``: what is differentiable needs a gradient."""
    layer = gatewise.Recurrent(cell, I, H, dtype=dtype)
    weights = layer.request().weights[0][0]
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    gates = len(layer.connections.input)
    source = (None, torch.randint(9, (T, B), generator=generator), random(9, gates * H), None, None)
    if not tokens:
        source = (random(T, B, I), None, None, weights.input, weights.input_bias)
    rest = (
        weights.recurrent,
        weights.recurrent_bias,
        weights.diag,
        weights.vector,
        random(len(layer.cell.states), B, H),
    )
    leaves = tuple(
        value.detach().requires_grad_(wanted)
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for value in (*source, *rest)
    )
    ends = torch.tensor([4, 1, 2]) if lengths else None
    masks = [torch.rand(T if m.per_step else 1, B, H, generator=generator) < m.keep for m in layer.cell.masks.values()]
    numbers = mask_numbers(layer.cell)
    return (build.kernel(resolve(cell), dtype), *leaves, ends, masks, numbers, reverse, keep)


@pytest.fixture
def all_defined(monkeypatch):
    """opcheck compares all that is returned, gaps between what is kept for the backward pass included."""
    monkeypatch.setattr(operator.memory, "empty", lambda shape, like: like.new_zeros(shape))


@pytest.mark.parametrize("wanted", [True, False], ids=["gradients", "none"])
@pytest.mark.parametrize("lengths", [False, True], ids=["all steps", "lengths"])
@pytest.mark.parametrize("tokens", [False, True], ids=["dense", "tokens"])
@pytest.mark.parametrize("cell", ["gru-before", "lstm-peephole", NOISY], ids=str)
def test_opcheck(cell, tokens, lengths, wanted, all_defined):
    arguments = arguments_of(cell, tokens=tokens, lengths=lengths, wanted=wanted, keep=wanted, reverse=lengths)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.library.opcheck(torch.ops.gatewise.scan.default, arguments)


def test_opcheck_of_the_backward_operator(all_defined):
    *arguments, reverse, _ = arguments_of("lstm", lengths=True, wanted=False)
    with torch.no_grad():
        found = torch.ops.gatewise.scan(*arguments, reverse, True)
    given = (*arguments, *found[2:], torch.randn_like(found[0]), torch.randn_like(found[1]), reverse)
    for needed in ([True] * 9, [True, False] * 4 + [False]):
        needed = [n and v is not None for n, v in zip(needed, [arguments[1], *arguments[3:11]], strict=True)]
        torch.library.opcheck(torch.ops.gatewise.scan_backward.default, (*given, needed))


def sketch(values):
    return [(value.shape, value.stride(), value.dtype, value.device) for value in values]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm-peephole", NOISY], ids=str)
def test_fake_tensors_have_the_shapes_of_real_ones(cell, tokens, keep):
    arguments = arguments_of(cell, tokens=tokens, wanted=False, keep=keep)
    real = torch.ops.gatewise.scan(*arguments)
    with FakeTensorMode() as mode:
        fake = tree_map_only(torch.Tensor, mode.from_tensor, arguments)
        answer = torch.ops.gatewise.scan(*fake)
    assert sketch(answer) == sketch(real)


class Model(nn.Module):
    """A layer with something before and after it."""

    def __init__(self, cell: str = "gru", **options) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(4, I)
        self.layer = gatewise.Recurrent(cell, I, H, engine="native", **options)
        self.after = nn.Linear(self.layer.output_size, 2)

    def forward(self, x, state=None):
        output, state = self.layer(self.before(x), state)
        return self.after(torch.relu(output)), state


def tensors(value):
    return [value] if isinstance(value, torch.Tensor) else [t for item in value for t in tensors(item)]


def answer(model, *inputs):
    """What a model returns and every gradient of the sum of its squares."""
    inputs = [value.detach().clone() for value in inputs]
    wanted = [value.requires_grad_() for value in inputs if value.is_floating_point()]
    returned = tensors(model(*inputs))
    loss = torch.stack([value.square().sum() for value in returned]).sum()
    return [*returned, *torch.autograd.grad(loss, [*wanted, *model.parameters()], allow_unused=True)]


def same(actual, expected):
    for value, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6)


class Recorder:
    """A backend for torch.compile that runs the graphs as they are and counts the calls of our operator in them."""

    def __init__(self, name: str) -> None:
        from functorch.compile import make_boxed_func  # type: ignore
        from torch._dynamo.backends.common import aot_autograd
        from torch._dynamo.backends.debugging import eager

        self.forward: list[torch.fx.GraphModule] = []
        self.backward: list[torch.fx.GraphModule] = []

        def note(graphs):
            def compiler(graph, inputs):
                graphs.append(graph)
                return make_boxed_func(graph.forward)

            return compiler

        def whole(graph, inputs):
            self.forward.append(graph)
            return eager(graph, inputs)

        aot = aot_autograd(fw_compiler=note(self.forward), bw_compiler=note(self.backward))
        self.backend = whole if name == "dynamo" else aot

    @staticmethod
    def calls(graphs) -> list[str]:
        nodes = [node for graph in graphs for node in graph.graph.nodes if node.op == "call_function"]
        return [str(node.target) for node in nodes if "gatewise" in str(node.target)]


@pytest.fixture(autouse=True)
def _forget_compiled():
    yield
    torch.compiler.reset()


OPTIONS = [
    ("gru", {}),
    ("gru-before", {"num_layers": 2, "bidirectional": True}),
    ("lstm", {"batch_first": True}),
    ("lstm-peephole", {"bias": False}),
]


@pytest.mark.parametrize("backend", ["dynamo", "aot"])
@pytest.mark.parametrize(("cell", "options"), OPTIONS, ids=[cell for cell, _ in OPTIONS])
def test_a_compiled_layer_is_one_opaque_node(cell, options, backend):
    model = Model(cell, **options)
    x = torch.randn(6, 4, 4)
    expected = answer(model, x)
    recorder = Recorder(backend)
    compiled = torch.compile(model, fullgraph=True, backend=recorder.backend)
    same(answer(compiled, x), expected)
    calls = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    assert len(recorder.forward) == 1
    assert len(recorder.calls(recorder.forward)) == calls
    if backend == "aot":
        assert len(recorder.calls(recorder.backward)) == calls
    same(answer(compiled, x + 1), answer(model, x + 1))


def test_a_kernel_is_built_while_compiling_where_there_is_none():
    class Fresh(gatewise.Cell):
        gates = ("n",)

        def step(self, x, u, h):
            return 0.75 * h + 0.25 * torch.tanh(x.n + u.n(h))

    model = Model(Fresh)  # type: ignore[arg-type]
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = torch.randn(6, 4, 4)
    same(answer(compiled, x), answer(model, x))


def test_a_compiled_layer_with_a_state_and_without_gradients():
    model = Model("lstm")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x, state = torch.randn(6, 2, 4), (torch.randn(1, 2, H), torch.randn(1, 2, H))
    with torch.no_grad():
        same(tensors(compiled(x, state)), tensors(model(x, state)))
    model.eval()
    with torch.inference_mode():
        same(tensors(compiled(x, state)), tensors(model(x, state)))
    same(tensors(compiled(x, state)), tensors(model(x, state)))


def test_a_compiled_layer_with_other_sizes():
    model = Model("gru")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for shape in ((6, 2, 4), (5, 3, 4), (1, 1, 4), (9, 2, 4)):
        x = torch.randn(shape)
        same(answer(compiled, x), answer(model, x))


@pytest.mark.parametrize("embedding_size", [0, 6])
@pytest.mark.parametrize("vocabulary", [5, 500])
def test_a_compiled_language_model(vocabulary, embedding_size):
    torch.manual_seed(0)
    model = gatewise.LanguageModel(vocabulary, "gru", H, 2, embedding_size, engine="native")
    recorder = Recorder("aot")
    compiled = torch.compile(model, fullgraph=True, backend=recorder.backend)
    tokens = torch.randint(vocabulary, (6, 3))
    same(answer(compiled, tokens), answer(model, tokens))
    assert len(recorder.calls(recorder.forward)) == 2
    with pytest.raises(IndexError, match="a token is outside"):
        compiled(tokens + vocabulary)


def test_compiled_lengths():
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = gatewise.GRU(4, H, engine="native")

        def forward(self, x, lengths):
            return self.layer(x, lengths=lengths)

    torch.manual_seed(0)
    model = Padded()
    compiled = torch.compile(model, backend="aot_eager")
    x, lengths = torch.randn(6, 3, 4), torch.tensor([6, 1, 4])
    same(answer(compiled, x, lengths), answer(model, x, lengths))


def test_compiling_falls_back_as_running_does():
    """engine="auto", and the native engine refuses: another engine is traced."""
    model = Model("gru")
    model.layer.engine = "auto"
    model = model.bfloat16()
    compiled = torch.compile(model, backend="aot_eager")
    x = torch.randn(6, 2, 4).bfloat16()
    torch.testing.assert_close(compiled(x)[0], model(x)[0])


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "options"), OPTIONS, ids=[cell for cell, _ in OPTIONS])
def test_a_layer_in_inductor(cell, options):
    model = Model(cell, **options)
    compiled = torch.compile(model, fullgraph=True)
    for _ in range(2):
        x = torch.randn(6, 4, 4)
        same(answer(compiled, x), answer(model, x))


def test_an_exported_program():
    model = Model("lstm").eval()
    x = torch.randn(6, 2, 4)
    program = torch.export.export(model, (x,))
    assert any("gatewise" in str(node.target) for node in program.graph.nodes)
    same(tensors(program.module()(x)), tensors(model(x)))


def test_an_exported_program_in_another_process(tmp_path):
    """Exported before the first call; there the kernel is found again by its name."""
    layer, x = gatewise.GRU(I, H).eval(), torch.randn(T, B, I)
    program = torch.export.export(layer, (x,))
    torch.export.save(program, tmp_path / "program.pt2")
    torch.save((x, layer(x)[0].detach()), tmp_path / "values.pt")
    lines = (
        "import sys, torch, gatewise",
        "program = torch.export.load(sys.argv[1] + '/program.pt2').module()",
        "x, expected = torch.load(sys.argv[1] + '/values.pt')",
        "torch.testing.assert_close(program(x)[0], expected)",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines), str(tmp_path)], check=True, timeout=120)


def test_gradients_by_torch_func():
    model = Model("gru")
    model.layer.engine = "auto"
    x = torch.randn(6, 2, 4)
    weights = dict(model.named_parameters())

    def loss(weights, x):
        if torch._C._functorch.peek_interpreter_stack() is not None:  # type: ignore
            reason = gatewise.which(model).reason
            assert "native does not take part in the transforms of torch.func" in reason

        output, state = torch.func.functional_call(model, weights, (x,))
        return output.square().sum() + state.square().sum()

    found = torch.func.grad(loss)(weights, x)
    expected = torch.autograd.grad(loss(weights, x), list(weights.values()))
    same(found.values(), expected)
    _, value = torch.func.grad_and_value(loss)(weights, x)
    torch.testing.assert_close(value, loss(weights, x))
    _, pullback = torch.func.vjp(lambda x: model(x)[0], x)  # type: ignore
    cotangent = torch.randn(6, 2, 2)
    leaf = x.clone().requires_grad_()
    same(pullback(cotangent), torch.autograd.grad(model(leaf)[0], leaf, cotangent))


def test_transforms_of_torch_func_are_refused_and_said():
    layer = gatewise.GRU(I, H, engine="native")
    x = torch.randn(2, T, B, I)
    for transformed in (
        lambda: torch.func.vmap(lambda x: layer(x)[0])(x),
        lambda: torch.func.jvp(lambda x: layer(x)[0], (x[0],), (x[1],)),
        lambda: torch.func.jacrev(lambda x: layer(x)[1])(x[0]),
    ):
        with pytest.raises(gatewise.UserError, match=r"native does not take part in the transforms of torch\.func"):
            transformed()


def test_what_would_watch_the_operator_gets_another_engine():
    """Forward-mode differentiation and torch.jit.trace, with frozen weights too."""
    layer = gatewise.GRU(I, H).requires_grad_(False)
    reference = gatewise.GRU(I, H, engine="eager")
    reference.load_state_dict(layer.state_dict())
    x, v = torch.randn(2, T, B, I)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, v)
        assert gatewise.which(layer).engine == "torch"
        found, expected = (torch.autograd.forward_ad.unpack_dual(each(dual)[0]).tangent for each in (layer, reference))
    torch.testing.assert_close(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(layer, (x,))
    torch.testing.assert_close(traced(v)[0], layer(v)[0])


def test_gradients_of_a_batch_of_cotangents():
    layer, x = gatewise.GRU(I, H, engine="native"), torch.randn(T, B, I, requires_grad=True)
    output, _ = layer(x)
    cotangents = torch.randn(3, T, B, H)
    (found,) = torch.autograd.grad(output, x, cotangents, is_grads_batched=True, retain_graph=True)
    expected = [torch.autograd.grad(output, x, c, retain_graph=True)[0] for c in cotangents]
    torch.testing.assert_close(found, torch.stack(expected))


def test_tensors_of_another_kind_are_not_taken_for_memory():
    layer, x = gatewise.GRU(I, H), torch.randn(T, B, I)
    with torch.no_grad():
        both = layer(TwoTensor(x, 2 * x))[0]
        torch.testing.assert_close(both.a, layer(x)[0])
        torch.testing.assert_close(both.b, layer(2 * x)[0])


WRONG_WEIGHTS = {
    "shape": lambda layer: setattr(layer, "weight_hh_l0", nn.Parameter(torch.randn(3, 3))),
    "bias": lambda layer: setattr(layer, "bias_hh_l0", nn.Parameter(torch.randn(1))),
    "type": lambda layer: setattr(layer, "weight_hh_l0", nn.Parameter(torch.randn(3 * H, H).double())),
}


@pytest.mark.parametrize("wrong", WRONG_WEIGHTS)
def test_wrong_weights_are_refused(wrong):
    layer = gatewise.GRU(I, H, engine="native")
    WRONG_WEIGHTS[wrong](layer)
    with pytest.raises(RuntimeError, match=r"native: the recurrent_(weight|bias) (has the shape|is torch\.float64)"):
        layer(torch.randn(T, B, I))


def test_the_operator_itself_refuses_what_does_not_fit():
    arguments: list[Any] = list(arguments_of(wanted=False))
    spoiled = {
        1: [arguments[1][..., :4], arguments[1].float()],
        4: [None, arguments[4][:4]],
        6: [None, arguments[6][:, :3], arguments[6].float()],
        7: [arguments[7][:1]],
        10: [arguments[10][:, :1], torch.cat([arguments[10]] * 2)],
        11: [torch.tensor([1]), torch.tensor([1.0, 1, 1])],
        12: [[torch.ones(T, B, H, dtype=torch.bool)]],
        13: [[1.0, 1.0]],
    }
    for position, values in spoiled.items():
        for value in values:
            with pytest.raises(RuntimeError, match="native: "):
                torch.ops.gatewise.scan(*arguments[:position], value, *arguments[position + 1 :])


def test_checkpointing_computes_the_same():
    model = Model("gru-before", num_layers=2)
    x = torch.randn(6, 2, 4)
    expected = answer(model, x)
    for reentrant in (True, False):

        def checkpointed(x, reentrant=reentrant):
            return torch.utils.checkpoint.checkpoint(model, x, use_reentrant=reentrant)  # type: ignore

        leaf = x.clone().requires_grad_()
        returned = tensors(checkpointed(leaf))
        loss = torch.stack([value.square().sum() for value in returned]).sum()
        loss.backward()
        grads = [leaf.grad, *(weight.grad for weight in model.parameters())]
        same([*returned, *grads], expected)
        model.zero_grad()


def test_hooks_on_saved_tensors_see_them():
    model = Model("gru")
    seen = []

    def pack(value):
        seen.append(value.numel())
        return value.clone()

    x = torch.randn(6, 2, 4)
    expected = answer(model, x)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        same(answer(model, x), expected)
    assert len(seen) > 5


def test_autocast_is_refused_and_said():
    layer = gatewise.GRU(I, H)
    x = torch.randn(T, B, I)
    assert gatewise.which(layer, x).engine == "native"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        choice = gatewise.which(layer, x)
        assert choice.engine == "torch"
        assert "native does not take part in autocast" in choice.reason
        assert layer(x)[0].shape == (T, B, H)
        layer.engine = "native"
        with pytest.raises(
            gatewise.UserError, match="engine 'native' cannot run this: native does not take part in autocast"
        ):
            layer(x)
    assert torch.equal(layer(x)[0], copy.deepcopy(layer)(x)[0])


def test_an_output_may_be_changed_in_place():
    """As dropout and activations with inplace=True do; large outputs, whose memory is kept for later, too."""
    for steps, batch, hidden in ((4, 3, 7), (64, 512, 64)):
        layer = gatewise.GRU(2, hidden, engine="native")
        x = torch.randn(steps, batch, 2)
        output, state = layer(x)
        expected = torch.autograd.grad((2 * output + 1).sum() + 3 * state.sum(), list(layer.parameters()))
        output, state = layer(x)
        output.mul_(2).add_(1)
        found = torch.autograd.grad(output.sum() + state.mul_(3).sum(), list(layer.parameters()))
        for value, other in zip(found, expected, strict=True):
            torch.testing.assert_close(value, other)


def test_an_output_outlives_the_next_call():
    """No memory is handed out twice."""
    for steps, batch, hidden in ((4, 3, 7), (64, 512, 64)):
        layer = gatewise.GRU(2, hidden, engine="native")
        with torch.no_grad():
            first, second = torch.randn(2, steps, batch, 2)
            one = layer(first)[0]
            kept = one.clone()
            slices = layer(second)[0][5:6] if steps > 4 else None
            part = None if slices is None else slices.clone()
            for _ in range(3):
                layer(second)
            assert torch.equal(one, kept)
            if slices is not None:
                assert torch.equal(slices, part)  # type: ignore


def test_a_token_outside_the_table_is_refused_by_the_operator_itself():
    for wrong in (9, -1, 2**60):
        arguments: list[Any] = list(arguments_of(tokens=True))
        arguments[2] = arguments[2].clone()
        arguments[2][1, 1] = wrong
        with pytest.raises(IndexError, match="a token is outside the vocabulary"):
            torch.ops.gatewise.scan(*arguments)
        with pytest.raises(IndexError, match="a token is outside the vocabulary"):
            operator.scan(*arguments)


def test_an_unknown_kernel_is_refused():
    arguments = arguments_of()
    with pytest.raises((KeyError, RuntimeError), match="gru float64 0"):
        torch.ops.gatewise.scan("gru float64 0", *arguments[1:])
