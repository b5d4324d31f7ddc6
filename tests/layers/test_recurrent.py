"""What Recurrent adds to torch.nn: any cell, lengths, engines and reasons, learned vectors, projections."""

import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import gatewise
from gatewise import CELLS, Cell, Recurrent, UserError, trace
from gatewise.engines import ENGINES, choose
from gatewise.engines.native import build


class Leaky(Cell):
    """Vectors with an initial value and one state apart."""

    gates = ("n",)
    states = ("h", "c")
    vectors = {"decay": 0.9, "gain": 1.5}

    def step(self, x, u, h, c):
        c = u.vector.decay * c + torch.tanh(x.n + u.n(h))
        return u.vector.gain * c, c


class Drawn(Cell):
    gates = ("n",)
    vectors = ("a", "b")

    def step(self, x, u, h):
        return torch.tanh(x.n + u.n(h)) * u.vector.a + u.vector.b


@pytest.mark.parametrize("cell", [*CELLS, Leaky, Drawn], ids=lambda c: c if isinstance(c, str) else c.name)
def test_names_shapes_and_order_of_the_weights(cell):
    H, I = 5, 3
    for num_layers, bidirectional, bias in ((1, False, True), (2, True, True), (1, False, False)):
        layer = Recurrent(cell, I, H, num_layers, bias, bidirectional=bidirectional)
        used, D = layer.connections, 2 if layer.bidirectional else 1
        expected = {}
        for k in range(layer.num_layers):
            for suffix in ("", "_reverse")[:D]:
                expected[f"weight_ih_l{k}{suffix}"] = (len(used.input) * H, D * H if k else I)
                if used.dense:
                    expected[f"weight_hh_l{k}{suffix}"] = (len(used.dense) * H, H)
                if layer.bias:
                    expected[f"bias_ih_l{k}{suffix}"] = (len(used.input) * H,)
                if layer.bias and used.dense:
                    expected[f"bias_hh_l{k}{suffix}"] = (len(used.dense) * H,)
                if used.diag:
                    expected[f"weight_diag_l{k}{suffix}"] = (len(used.diag), H)
                if used.vector:
                    expected[f"vector_l{k}{suffix}"] = (len(used.vector), H)
        found = {name: tuple(weight.shape) for name, weight in layer.named_parameters()}
        assert list(found.items()) == list(expected.items())
        listed = [weight for part in layer.all_weights for weight in part]
        assert all(one is other for one, other in zip(listed, layer.parameters(), strict=True))


def test_vectors_start_at_their_value_in_every_layer_and_direction():
    layer = Recurrent(Leaky, 3, 5, num_layers=2, bidirectional=True)
    vectors = [weight for name, weight in layer.named_parameters() if name.startswith("vector")]
    assert len(vectors) == 4
    for weight in vectors:
        assert torch.equal(weight, torch.tensor([[0.9] * 5, [1.5] * 5]))
    with torch.no_grad():
        vectors[0].zero_()
    layer.reset_parameters()
    assert vectors[0][0, 0] == torch.tensor(0.9)


def test_drawn_vectors_are_drawn_like_weights():
    torch.manual_seed(0)
    vector = Recurrent(Drawn, 3, 1000).get_parameter("vector_l0")
    bound = 1000**-0.5
    assert vector.abs().max() <= bound
    assert abs(vector.std().item() - bound / 3**0.5) < 0.05 * bound
    assert not torch.equal(vector[0], vector[1])


def test_a_cell_of_several_states_returns_them_in_order():
    layer = Recurrent(Leaky, 3, 5, dtype=torch.float64)
    x, c = torch.randn(6, 2, 3, dtype=torch.float64), torch.randn(1, 2, 5, dtype=torch.float64)
    output, (h, final_c) = layer(x, (torch.zeros_like(c), c))
    assert torch.equal(output[-1], h[0])
    assert torch.allclose(h, 1.5 * final_c)
    (grad,) = torch.autograd.grad(final_c.sum(), [layer.get_parameter("vector_l0")])
    assert grad.ne(0).all()
    with pytest.raises(RuntimeError, match=r"hx must have one tensor for each of \('h', 'c'\), got 1"):
        layer(x, (c,))
    with pytest.raises(RuntimeError, match=r"Expected hidden\[1\] size \(1, 2, 5\), got \[1, 2, 4\]"):
        layer(x, (c, c[..., :4]))


LENGTHS_REFUSED = [
    ([4, 7], r"lengths: want numbers in 1\.\.6, got 4\.\.7"),
    ([0, 3], r"lengths: want numbers in 1\.\.6, got 0\.\.3"),
    ([-1, 3], r"got -1\.\.3"),
    ([3], r"lengths: want 2 whole numbers, one a sequence; got \(1,\) torch\.int64"),
    ([3, 3, 3], r"got \(3,\) torch\.int64"),
    ([3.0, 4.0], r"got \(2,\) torch\.float32"),
    ([True, True], r"got \(2,\) torch\.bool"),
    (3, r"got \(\) torch\.int64"),
    ([[3, 4]], r"got \(1, 2\) torch\.int64"),
]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("lengths", "message"), LENGTHS_REFUSED, ids=[str(lengths) for lengths, _ in LENGTHS_REFUSED])
def test_bad_lengths_are_named(lengths, message, batch_first):
    layer = Recurrent("gru", 3, 5, batch_first=batch_first)
    with pytest.raises(UserError, match=message):
        layer(torch.zeros((2, 6, 3) if batch_first else (6, 2, 3)), lengths=lengths)


def test_lengths_belong_to_a_padded_batch():
    layer = Recurrent("gru", 3, 5)
    with pytest.raises(UserError, match="lengths belong to a batch"):
        layer(torch.zeros(6, 3), lengths=[6])
    packed = pack_padded_sequence(torch.zeros(6, 2, 3), torch.tensor([6, 4]))
    with pytest.raises(UserError, match="give one of the two"):
        layer(packed, lengths=[6, 4])


def test_errors_name_the_class():
    with pytest.raises(ValueError, match=r"^Recurrent: Expected input to be 2D or 3D, got 4D instead$"):
        Recurrent("gru-before", 3, 5)(torch.zeros(1, 1, 1, 3))


def test_the_representation_says_what_is_not_the_default():
    layer = Recurrent("lstm-peephole", 3, 5, 2, False, True, 0.5, True, engine="eager")
    assert repr(layer) == (
        "Recurrent(lstm-peephole, 3, 5, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True, "
        "engine=eager)"
    )
    assert repr(gatewise.GRU(3, 5, engine="torch")) == "GRU(3, 5, engine=torch)"


@pytest.mark.parametrize("cell", [name for name in CELLS if trace(name).output_feeds_products_only])
def test_a_projection_is_the_matrix_applied_to_every_output(cell):
    """A projected layer is the unprojected one whose recurrent matrix sees the output through the projection."""
    layer, whole = Recurrent(cell, 3, 5, proj_size=2, engine="eager"), Recurrent(cell, 3, 5, engine="eager")
    weights = layer.state_dict()
    projection = weights.pop("weight_hr_l0")
    if layer.connections.dense:
        weights["weight_hh_l0"] = weights["weight_hh_l0"] @ projection
    whole.load_state_dict(weights)
    x = torch.randn(6, 4, 3)
    output, final = layer(x)
    expected, expected_final = whole(x)
    torch.testing.assert_close(output, expected @ projection.T)
    if len(layer.cell.states) == 2:
        torch.testing.assert_close(final[1], expected_final[1])
    assert layer.state_sizes == (2, *(5 for _ in layer.cell.states[1:]))
    assert layer.output_size == 2


@pytest.mark.parametrize("cell", ["gru", "gru-before", Leaky])
def test_what_uses_its_output_elementwise_is_not_projected(cell):
    if cell is Leaky:
        assert Recurrent(cell, 3, 5, proj_size=2)(torch.zeros(4, 2, 3))[0].shape == (4, 2, 2)
        return
    with pytest.raises(UserError, match=f"proj_size: cell '{cell}' uses its output h elementwise"):
        Recurrent(cell, 3, 5, proj_size=2)


def test_a_projection_needs_a_graph():
    class Sine(Cell):
        gates = ("n",)

        def step(self, x, u, h):
            return torch.sin(x.n + u.n(h))

    assert Recurrent(Sine, 3, 5)(torch.zeros(4, 2, 3))[0].shape == (4, 2, 5)
    with pytest.raises(UserError, match="proj_size: cell 'Sine'"):
        Recurrent(Sine, 3, 5, proj_size=2)


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("toch", "no engine is called 'toch': did you mean 'torch'?"),
        ("eagre", "no engine is called 'eagre': did you mean 'eager'?"),
        ("Auto", "no engine is called 'Auto': did you mean 'auto'?"),
        ("quantum", f"no engine is called 'quantum': known: auto, {', '.join(engine.name for engine in ENGINES)}"),
    ],
)
def test_an_unknown_engine_is_answered_with_the_nearest(engine, message):
    with pytest.raises(UserError) as caught:
        gatewise.GRU(3, 5, engine=engine)
    assert str(caught.value) == message


def test_an_engine_that_cannot_says_why():
    layer = Recurrent("gru-before", 3, 5, engine="torch")
    message = "engine 'torch' cannot run this: torch has no kernel for the cell 'gru-before'; use engine='auto'"
    for attempt in (lambda: layer(torch.zeros(4, 2, 3)), lambda: gatewise.which(layer)):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value) == message
    projected = Recurrent("rnn", 3, 5, proj_size=2, engine="torch")
    with pytest.raises(UserError, match="torch projects the output of 'lstm' only, not of 'rnn'"):
        projected(torch.zeros(4, 2, 3))


def test_the_order_of_preference():
    assert [engine.name for engine in ENGINES] == ["native", "torch", "scan", "eager"]


@pytest.fixture
def without_native(monkeypatch):
    """As on a machine that has no compiler."""

    def none(*_, **__):
        raise UserError("no C++ compiler")

    monkeypatch.setattr(build, "kernel", none)


REFERENCE, VENDOR, COMPILED = (
    "the reference: the equations of '{}' step by step",
    "torch's own kernel for '{}'",
    "the compiled kernel of '{}'",
)
NO_PROJECTION = "native has no projection of the output (proj_size)"
OFF = "native: no C++ compiler"
NOT_LINEAR = "scan: h_{t-1} stands inside u.{}, a product that mixes the units"


@pytest.mark.parametrize(
    ("layer", "engine", "reason"),
    [
        (gatewise.GRU(3, 5), "native", COMPILED.format("gru")),
        (gatewise.GRU(3, 5, engine="native"), "native", "asked for"),
        (gatewise.GRU(3, 5, engine="torch"), "torch", "asked for"),
        (gatewise.GRU(3, 5, engine="eager"), "eager", "asked for"),
        (Recurrent("rnn-relu", 3, 5, dtype=torch.float64), "native", COMPILED.format("rnn-relu")),
        (Recurrent("gru-before", 3, 5), "native", COMPILED.format("gru-before")),
        (
            gatewise.GRU(3, 5, dtype=torch.bfloat16),
            "torch",
            f"{VENDOR.format('gru')}; native has float32 and float64, not bfloat16",
        ),
        (gatewise.GRU(3, 5, device="meta"), "torch", f"{VENDOR.format('gru')}; native runs on a CPU, not on meta"),
        (gatewise.LSTM(3, 5, proj_size=2), "torch", f"{VENDOR.format('lstm')}; {NO_PROJECTION}"),
        (
            Recurrent("rnn", 3, 5, proj_size=2),
            "eager",
            f"{REFERENCE.format('rnn')}; {NO_PROJECTION}; torch projects the output of 'lstm' only, not of 'rnn'; "
            + NOT_LINEAR.replace("{}", "h"),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else None,
)
def test_which_names_engine_and_reason(native, layer, engine, reason):
    assert gatewise.which(layer) == (engine, reason)
    assert gatewise.which(layer, torch.zeros(4, 2, 3)).engine == engine


@pytest.mark.parametrize(
    ("layer", "engine", "reason"),
    [
        (gatewise.GRU(3, 5), "torch", f"{VENDOR.format('gru')}; {OFF}"),
        (gatewise.GRU(3, 5, engine="torch"), "torch", "asked for"),
        (Recurrent("rnn-relu", 3, 5), "torch", f"{VENDOR.format('rnn-relu')}; {OFF}"),
        (
            Recurrent("gru-before", 3, 5),
            "eager",
            f"{REFERENCE.format('gru-before')}; {OFF}; torch has no kernel for the cell 'gru-before'; "
            + NOT_LINEAR.replace("{}", "z"),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, nn.Module) else None,
)
def test_which_names_engine_and_reason_where_there_is_no_compiler(without_native, layer, engine, reason):
    assert gatewise.which(layer) == (engine, reason)
    assert torch.isfinite(layer(torch.zeros(4, 2, 3))[0]).all()


def test_the_engine_asked_for_is_not_replaced_where_there_is_no_compiler(without_native):
    layer = gatewise.GRU(3, 5, engine="native")
    for attempt in (lambda: layer(torch.zeros(4, 2, 3)), lambda: gatewise.which(layer)):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value) == f"engine 'native' cannot run this: {OFF}; use engine='auto'"


def test_which_finds_the_layer_in_a_model():
    model = nn.Sequential(nn.Linear(3, 3), nn.ModuleDict({"inner": gatewise.LSTM(3, 5, proj_size=2)}))
    assert gatewise.which(model).engine == "torch"
    with pytest.raises(UserError, match=r"which\(\) takes a gatewise layer, or a model with one, not Linear"):
        gatewise.which(nn.Linear(3, 5))


def test_the_first_engine_of_the_table_that_does_not_refuse_runs():
    """What ``which`` says is what runs."""
    ran = []

    class Watched:
        name = "watched"

        def refuses(self, request):
            return None if request.bias else "watched needs a bias"

        def describe(self, request):
            return "watched"

        def run(self, request, x, lengths, states):
            ran.append(request.cell.name)
            return ENGINES[-1].run(request, x, lengths, states)

    ENGINES.insert(0, Watched())
    try:
        assert gatewise.which(gatewise.GRU(3, 5)) == ("watched", "watched")
        gatewise.GRU(3, 5)(torch.zeros(4, 2, 3))
        assert ran == ["gru"]
        without = gatewise.GRU(3, 5, bias=False)
        choice = gatewise.which(without)
        assert choice.engine != "watched"
        assert "watched needs a bias" in choice.reason
        without(torch.zeros(4, 2, 3))
        gatewise.GRU(3, 5, engine="torch")(torch.zeros(4, 2, 3))
        assert ran == ["gru"]
        engine = choose(replace(without.request(), bias=True), "watched")
        assert engine is ENGINES[0]
    finally:
        del ENGINES[0]


def test_a_kernel_that_fails_raises():
    """No silent fallback."""

    class Broken:
        name = "broken"

        def refuses(self, request):
            return None

        def describe(self, request):
            return "broken"

        def run(self, request, x, lengths, states):
            raise RuntimeError("the kernel failed")

    ENGINES.insert(0, Broken())
    try:
        with pytest.raises(RuntimeError, match=r"^the kernel failed$"):
            gatewise.GRU(3, 5)(torch.zeros(4, 2, 3))
    finally:
        del ENGINES[0]


@pytest.mark.parametrize("cell", ["gru-before", "lstm-peephole"])
def test_layers_of_any_cell_are_pickled(cell):
    layer = Recurrent(cell, 3, 5, num_layers=2)
    x = torch.randn(4, 2, 3)
    again = pickle.loads(pickle.dumps(layer))  # noqa: S301  (our own bytes)
    assert torch.equal(again(x)[0], layer(x)[0])


SCRIPT = """
import pickle, torch, gatewise

class Mine(gatewise.Cell):
    '''Twice as quick.'''
    gates = ("f", "n")

    def step(self, x, u, h):
        f = torch.sigmoid(x.f + u.f(h))
        n = torch.tanh(x.n + u.n(f * h))
        return (1 - f) * h + f * n

torch.manual_seed(0)
layer = gatewise.Recurrent(Mine, 3, 5, num_layers=2, bidirectional=True)
x = torch.randn(6, 4, 3, requires_grad=True)
output, h = layer(x, lengths=[6, 2, 4, 1])
output.sum().backward()
again = pickle.loads(pickle.dumps(layer))
assert torch.equal(again(x, lengths=[6, 2, 4, 1])[0], output)
assert "Mine" not in gatewise.CELLS
print(layer, tuple(output.shape), tuple(h.shape), gatewise.which(layer).engine, bool(x.grad[:4, 2].all()))
gatewise.explain(Mine)
"""


def test_a_cell_in_a_script_needs_no_registering(tmp_path, why_no_kernels):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    first, title, *_ = done.stdout.splitlines()
    expected = "eager" if why_no_kernels else "native"
    assert first == f"Recurrent(Mine, 3, 5, num_layers=2, bidirectional=True) (6, 4, 10) (4, 4, 5) {expected} True"
    assert title == "Mine: Twice as quick."
    assert "dh_{t-1} = " in done.stdout
