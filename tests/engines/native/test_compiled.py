"""The operator under torch.compile and torch.export: one opaque node, in the forward and in the backward graph."""

import subprocess
import sys

import pytest
import torch
from small_model import B, H, I, Model, T, answer, same, tensors
from torch import nn

import gatewise

pytestmark = pytest.mark.usefixtures("native")


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
