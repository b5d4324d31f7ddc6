"""Convolutional layers against step-by-step NumPy oracles, against the dense layers, and against finite differences."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

import gatewise
from gatewise import CELLS, ConvGRU, ConvLSTM, ConvRecurrent, Recurrent, UserError
from gatewise.cells import connections
from gatewise.engines import convolution

T, B, C, H, HEIGHT, WIDTH = 4, 2, 2, 3, 5, 6
DOUBLE = torch.float64


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def convolve(kernel, frames, bias):
    """K * v + b by the definition: (O, I, kh, kw) on (B, I, height, width), zeros around."""
    maps = [
        [sum(correlate2d(frame, k, mode="same") for frame, k in zip(channels, row, strict=True)) for row in kernel]
        for channels in frames
    ]
    return np.array(maps) + bias[:, None, None]


def as_given(states):
    """States as a layer takes and returns them: one by itself."""
    return states[0] if len(states) == 1 else tuple(states)


def as_tuple(states):
    return (states,) if isinstance(states, torch.Tensor) else states


class Gates:
    """A layer's numbers by gate, and its two products."""

    def __init__(self, layer, gates):
        numbers = {name: weight.detach().numpy() for name, weight in layer.named_parameters()}
        split = {
            name: dict(zip(gates, np.split(w, len(gates)), strict=True)) for name, w in numbers.items() if "h_" in name
        }
        self.W, self.U = split["weight_ih_l0"], split["weight_hh_l0"]
        self.b, self.d = split["bias_ih_l0"], split["bias_hh_l0"]
        self.numbers = numbers

    def x(self, gate, x):
        return convolve(self.W[gate], x, self.b[gate])

    def u(self, gate, h):
        return convolve(self.U[gate], h, self.d[gate])


def ballas(g, x, h):
    """Ballas et al. 2015, equations 5 to 8, with torch's z (theirs is 1 − z)."""
    r, z = (sigmoid(g.x(gate, x) + g.u(gate, h)) for gate in "rz")
    n = np.tanh(g.x("n", x) + g.u("n", r * h))
    return ((1 - z) * n + z * h,)


def shi_2017(g, x, h):
    """Shi et al. 2017, equation 1: the reset gate after the convolution; tanh for their f."""
    r, z = (sigmoid(g.x(gate, x) + g.u(gate, h)) for gate in "rz")
    n = np.tanh(g.x("n", x) + r * g.u("n", h))
    return ((1 - z) * n + z * h,)


def shi_2015(g, x, h, c):
    """Shi et al. 2015, equation 3, the peepholes one number a channel."""
    p = {gate: row[:, None, None] for gate, row in zip("ifo", g.numbers["weight_diag_l0"], strict=True)}
    i, f = (sigmoid(g.x(gate, x) + g.u(gate, h) + p[gate] * c) for gate in "if")
    c = f * c + i * np.tanh(g.x("g", x) + g.u("g", h))
    o = sigmoid(g.x("o", x) + g.u("o", h) + p["o"] * c)
    return o * np.tanh(c), c


def without_peepholes(g, x, h, c):
    """As most implementations have it."""
    i, f, o = (sigmoid(g.x(gate, x) + g.u(gate, h)) for gate in "ifo")
    c = f * c + i * np.tanh(g.x("g", x) + g.u("g", h))
    return o * np.tanh(c), c


PAPERS: dict[str, Any] = {
    "ballas": (lambda: ConvGRU(C, H, (3, 5), dtype=DOUBLE), "rzn", ballas),
    "shi-2017": (lambda: ConvGRU(C, H, (3, 5), reset="after", dtype=DOUBLE), "rzn", shi_2017),
    "shi-2015": (lambda: ConvLSTM(C, H, (3, 5), dtype=DOUBLE), "ifgo", shi_2015),
    "lstm": (lambda: ConvLSTM(C, H, (3, 5), peepholes=False, dtype=DOUBLE), "ifgo", without_peepholes),
}


@pytest.mark.parametrize("paper", PAPERS)
def test_the_papers_equations_from_a_given_state(paper):
    make, gates, step = PAPERS[paper]
    layer = make()
    x = torch.randn(T, B, C, HEIGHT, WIDTH, dtype=DOUBLE)
    initial = tuple(torch.randn(1, B, H, HEIGHT, WIDTH, dtype=DOUBLE) for _ in layer.cell.states)
    output, final = layer(x, as_given(initial))
    states, g = tuple(s[0].numpy() for s in initial), Gates(layer, gates)
    for t in range(T):
        states = step(g, x[t].numpy(), *states)
        np.testing.assert_allclose(output[t].detach().numpy(), states[0], rtol=0, atol=1e-10)
    for ours, expected in zip(as_tuple(final), states, strict=True):
        np.testing.assert_allclose(ours[0].detach().numpy(), expected, rtol=0, atol=1e-10)


def test_rows_of_points():
    layer = ConvRecurrent("gru-before", 1, 1, 3, dims=1, dtype=DOUBLE)
    W, U, b, d = (weight.detach().numpy().squeeze() for weight in layer.parameters())
    x, h = torch.randn(T, 1, 1, 7, dtype=DOUBLE), np.zeros(7)
    output, _ = layer(x)
    for t in range(T):
        i = [np.correlate(x[t].numpy().squeeze(), W[k], mode="same") + b[k] for k in range(3)]
        r, z = (sigmoid(i[k] + np.correlate(h, U[k], mode="same") + d[k]) for k in range(2))
        h = (1 - z) * np.tanh(i[2] + np.correlate(r * h, U[2], mode="same") + d[2]) + z * h
        np.testing.assert_allclose(output[t].detach().numpy().squeeze(), h, atol=1e-10)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"layer_norm": True, "zoneout": 0.3, "recurrent_dropout": 0.2},
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "deep", "transformed"])
def test_with_one_pixel_kernels_every_pixel_is_a_sequence_of_the_dense_layer(cell, options):
    used = connections(CELLS[cell]())
    if not used.dense and not used.diag:
        options = {name: value for name, value in options.items() if name != "recurrent_dropout"}
    layer = ConvRecurrent(cell, C, H, 1, **options, dtype=DOUBLE).eval()
    dense = Recurrent(cell, C, H, engine="eager", **options, dtype=DOUBLE).eval()
    with torch.no_grad():
        for ours, theirs in zip(layer.parameters(), dense.parameters(), strict=True):
            theirs.copy_(ours.reshape(theirs.shape))
    x, lengths = torch.randn(T, B, C, HEIGHT, WIDTH, dtype=DOUBLE), torch.tensor([T, T - 1])
    count = len(layer.all_weights)
    states = tuple(torch.randn(count, B, H, HEIGHT, WIDTH, dtype=DOUBLE) for _ in layer.cell.states)

    def flat(frames):  # (T, B, C, height, width) -> (T, B height width, C)
        return frames.movedim(2, -1).flatten(1, 3)

    output, final = layer(x, as_given(states), lengths=lengths)
    pixels = lengths.repeat_interleave(HEIGHT * WIDTH)
    expected, expected_final = dense(flat(x), as_given([flat(state) for state in states]), lengths=pixels)
    torch.testing.assert_close(flat(output), expected, rtol=0, atol=1e-12)
    for ours, theirs in zip(as_tuple(final), as_tuple(expected_final), strict=True):
        torch.testing.assert_close(flat(ours), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_finite_differences(cell):
    layer = ConvRecurrent(cell, 1, 2, 3, dims=1, dtype=DOUBLE)
    x = torch.randn(3, 1, 1, 4, requires_grad=True, dtype=DOUBLE)
    states = tuple(torch.randn(1, 1, 2, 4, requires_grad=True, dtype=DOUBLE) for _ in layer.cell.states)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *rest):
        given, weights = rest[: len(states)], dict(zip(names, rest[len(states) :], strict=True))
        output, final = torch.func.functional_call(layer, weights, (x, as_given(given)))
        return output, *as_tuple(final)

    assert torch.autograd.gradcheck(run, (x, *states, *layer.parameters()), fast_mode=True)


@pytest.mark.parametrize(
    ("cell", "together"),
    [
        ("gru", (("r", "z", "n"),)),
        ("gru-before", (("r", "z"), ("n",))),
        ("lstm", (("i", "f", "g", "o"),)),
        ("mut3", (("r",), ("z",), ("n",))),
        ("indrnn", ()),
        (gatewise.layer_norm("gru"), (("r", "z", "n"),)),
    ],
    ids=["gru", "gru-before", "lstm", "mut3", "indrnn", "layer norm"],
)
def test_what_multiplies_one_value_is_one_convolution(cell, together, monkeypatch):
    layer = ConvRecurrent(cell, C, H, 3)
    assert layer.connections.together == together
    calls = []
    real = torch.nn.functional.conv2d
    monkeypatch.setitem(convolution._CONVOLVE, 2, lambda *a, **k: (calls.append(a[1].shape), real(*a, **k))[1])
    layer(torch.zeros(T, B, C, HEIGHT, WIDTH))
    assert sorted(calls[1:]) == sorted([(len(gates) * H, H, 3, 3) for gates in together] * T)


def test_a_cell_that_multiplies_what_it_did_not_in_the_trial_is_still_right():
    class Fickle(gatewise.Cell):
        gates = ("a", "b")

        def step(self, x, u, h):
            other = h if bool((h == 0.5).all()) else h * h  # the trial runs on halves
            return torch.tanh(x.a + u.a(h) + x.b + u.b(other))

    class Steady(gatewise.Cell):
        gates = ("a", "b")

        def step(self, x, u, h):
            return torch.tanh(x.a + u.a(h) + x.b + u.b(h * h))

    fickle, steady = ConvRecurrent(Fickle, C, H, 3, dtype=DOUBLE), ConvRecurrent(Steady, C, H, 3, dtype=DOUBLE)
    assert (fickle.connections.together, steady.connections.together) == ((("a", "b"),), (("a",), ("b",)))
    steady.load_state_dict(fickle.state_dict())
    x = torch.randn(T, B, C, HEIGHT, WIDTH, dtype=DOUBLE)
    torch.testing.assert_close(fickle(x)[0], steady(x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_what_stands_around_a_frame(mode):
    """One step of the simplest cell, padded by NumPy."""
    layer = ConvRecurrent("rnn", 1, 1, (3, 5), padding_mode=mode, dtype=DOUBLE)
    x, h = torch.randn(1, 1, 1, HEIGHT, WIDTH, dtype=DOUBLE), torch.randn(1, 1, 1, HEIGHT, WIDTH, dtype=DOUBLE)
    W, U, b, d = (weight.detach().numpy().squeeze() for weight in layer.parameters())
    numpys: Any = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]

    def product(kernel, frame):
        return correlate2d(np.pad(frame.numpy().squeeze(), ((1, 1), (2, 2)), mode=numpys), kernel, mode="valid")

    expected = np.tanh(product(W, x) + b + product(U, h) + d)
    np.testing.assert_allclose(layer(x, h)[0].detach().numpy().squeeze(), expected, atol=1e-12)


def test_a_sequence_that_ends_early_is_as_alone():
    layer = ConvRecurrent("lstm-peephole", C, H, 3, 2, bidirectional=True, dtype=DOUBLE)
    x = torch.randn(T, 2, C, HEIGHT, WIDTH, dtype=DOUBLE)
    x[2:, 1] = torch.nan
    output, final = layer(x, lengths=[T, 2])
    alone, alone_final = layer(x[:2, 1])
    torch.testing.assert_close(output[:2, 1], alone, rtol=0, atol=1e-12)
    assert output[2:, 1].eq(0).all()
    for ours, theirs in zip(final, alone_final, strict=True):
        torch.testing.assert_close(ours[:, 1], theirs, rtol=0, atol=1e-12)
    output.sum().backward()
    assert all(torch.isfinite(torch.as_tensor(weight.grad)).all() for weight in layer.parameters())


def test_batch_first_changes_the_order_alone():
    layer, other = ConvGRU(C, H, 3), ConvGRU(C, H, 3, batch_first=True)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(T, B, C, HEIGHT, WIDTH)
    output, final = layer(x)
    turned, turned_final = other(x.transpose(0, 1))
    torch.testing.assert_close(turned.transpose(0, 1), output, rtol=0, atol=1e-6)
    torch.testing.assert_close(turned_final, final, rtol=0, atol=1e-6)


def test_noise_is_drawn_for_every_pixel_and_dropped_kernels_once_a_call():
    layer = ConvRecurrent("rnn", 1, 1, 3, zoneout=0.5)
    x, h = torch.zeros(1, 1, 1, 40, 40), torch.full((1, 1, 1, 40, 40), 9.0)
    stayed = (layer(x, h)[0] == 9.0).float().mean().item()
    assert abs(stayed - 0.5) < 0.06  # 1,600 draws: four standard deviations are 0.05
    dropping = ConvRecurrent("rnn", 1, 1, 3, weight_drop=0.5, bias=False)
    dropping.get_parameter("weight_ih_l0").data.zero_()
    assert not torch.equal(dropping(x, h)[0], dropping(x, h)[0])
    assert torch.equal(dropping.eval()(x, h)[0], dropping(x, h)[0])


def test_weights_are_drawn_as_torch_draws_a_convolutions():
    layer = ConvRecurrent("gru", 4, 64, 5, 2)
    for name, entering in {"weight_ih_l0": 100, "weight_hh_l0": 1600, "bias_ih_l0": 100, "weight_ih_l1": 1600}.items():
        weight = layer.get_parameter(name)
        assert weight.abs().max() <= entering**-0.5
        assert weight.abs().max() > 0.95 * entering**-0.5


def test_which_says_why_the_reference_runs():
    choice = gatewise.which(ConvGRU(1, 2, 3))
    assert choice.engine == "eager"
    assert choice.reason == "the reference: the equations of 'gru-before' step by step; only 'eager' convolves"
    with pytest.raises(UserError, match="engine 'native' cannot run this: only 'eager' convolves"):
        ConvGRU(1, 2, 3, engine="native")(torch.zeros(2, 1, 1, 4, 4))


REFUSED = [
    ({"kernel_size": 4}, "kernel_size 4: an even kernel has no middle, and the states would not have the frames' size; "
     "use 3 or 5"),
    ({"kernel_size": (3, 2)}, "kernel_size (3, 2): an even kernel has no middle, and the states would not have the "
     "frames' size; use 1 or 3"),
    ({"kernel_size": 0}, "kernel_size: want a whole number above 0, or 2 of them, got 0"),
    ({"kernel_size": (3,)}, "kernel_size: want a whole number above 0, or 2 of them, got (3,)"),
    (
        {"cell": "gru-befor"},
        "no cell is called 'gru-befor': did you mean 'gru-before'? One of your own: import its module, or "
        "--cell-file FILE",
    ),
    ({"dims": 3}, "dims: want 1 (rows of points) or 2 (pictures), got 3"),
    ({"padding_mode": "zero"}, "padding_mode 'zero': did you mean 'zeros'?"),
    ({"in_channels": 0}, "in_channels: want a whole number above 0, got 0"),
    ({"hidden_channels": 2.0}, "hidden_channels: want a whole number above 0, got 2.0"),
    ({"num_layers": True}, "num_layers: want a whole number above 0, got True"),
    ({"dropout": 1.5}, "dropout: want a probability from 0 to 1, got 1.5"),
    ({"engine": "eagre"}, "no engine is called 'eagre': did you mean 'eager'?"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[str(changes) for changes, _ in REFUSED])
def test_bad_arguments_are_named(changes, message):
    arguments = {"cell": "gru", "in_channels": 1, "hidden_channels": 2, "kernel_size": 3, **changes}
    with pytest.raises(UserError) as caught:
        ConvRecurrent(**arguments)
    assert str(caught.value) == message


def test_bad_inputs_are_named():
    layer = ConvRecurrent("lstm", 1, 2, 3)
    zeros = torch.zeros(3, 2, 1, 4, 5)
    state = torch.zeros(1, 2, 2, 4, 5)
    for attempt, message in (
        (
            lambda: layer(zeros[0, 0]),
            "the input has the shape (1, 4, 5): want (T, B, 1, height, width), or one sequence",
        ),
        (lambda: layer(zeros.expand(-1, -1, 3, -1, -1)), "the input has the shape (3, 2, 3, 4, 5): want (T, B, 1,"),
        (lambda: layer(zeros[:0]), "the input has the shape (0, 2, 1, 4, 5)"),
        (lambda: layer(zeros.double()), "the input is torch.float64, the weights are torch.float32: use input.to("),
        (
            lambda: layer(zeros, (state, state[..., :4])),
            "hx: hidden[1] has the shape (1, 2, 2, 4, 4), want (1, 2, 2, 4",
        ),
        (lambda: layer(zeros, lengths=[3, 4]), "lengths: want numbers in 1..3, got 3..4"),
        (lambda: layer(zeros[:, 0], lengths=[3]), "lengths belong to a batch: the input is one sequence"),
        (
            lambda: ConvGRU(1, 2, 5, padding_mode="reflect")(zeros[..., :2, :]),
            "a frame of 2 pixels is too small for padding_mode 'reflect' with a kernel of 5: use 'zeros' or",
        ),
        (lambda: ConvGRU(1, 2, 3, reset="befor"), "reset 'befor': did you mean 'before'?"),
    ):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value).startswith(message), inspect.getsource(attempt)


def test_layers_may_differ_add_their_input_and_learn_their_first_state():
    """As the dense layer does, pixel by pixel."""
    options = {"residual": True, "learned_state": True, "dtype": DOUBLE}
    layer = ConvRecurrent(["gru", "lstm"], C, [H, H], 1, **options)
    dense = Recurrent(["gru", "lstm"], C, [H, H], engine="eager", **options)
    with torch.no_grad():
        for ours, theirs in zip(layer.parameters(), dense.parameters(), strict=True):
            theirs.copy_(ours.normal_().reshape(theirs.shape))
    x = torch.randn(T, B, C, HEIGHT, WIDTH, dtype=DOUBLE)
    output, (bottom, (h, c)) = layer(x)
    expected, (dense_bottom, (dense_h, dense_c)) = dense(x.movedim(2, -1).flatten(1, 3))
    for ours, theirs in ((output, expected), (bottom, dense_bottom), (h, dense_h), (c, dense_c)):
        torch.testing.assert_close(ours.movedim(2, -1).flatten(1, 3), theirs, rtol=0, atol=1e-12)
    again, _ = layer(x, (torch.zeros_like(bottom), (torch.zeros_like(h), torch.zeros_like(c))))
    assert not torch.allclose(again, output)
