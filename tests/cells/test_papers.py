"""Every cell over several steps against NumPy oracles, each written from its paper.

An oracle is a function of x_t and the states h_{t-1}, c_{t-1} (rows are samples), and of the weights by gate: matrices
W and U, the bias b beside W and d beside U, the diagonal p. A cell without an oracle fails: bring one.
"""

import inspect
import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy import maximum, ndarray, tanh

from gatewise import CELLS, Recurrent

T, B, I, H = 6, 3, 4, 7


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def rnn(x, h, W, U, b, d):
    """Elman 1990."""
    return (tanh(x @ W["h"].T + b["h"] + h @ U["h"].T + d["h"]),)


def rnn_relu(x, h, W, U, b, d):
    """Le, Jaitly and Hinton 2015."""
    return (maximum(0, x @ W["h"].T + b["h"] + h @ U["h"].T + d["h"]),)


def indrnn(x, h, W, b, p):
    """Li et al. 2018: a rectifier, the recurrent product by elements."""
    return (maximum(0, x @ W["h"].T + b["h"] + p["h"] * h),)


def gru(x, h, W, U, b, d):
    """cuDNN's: the reset gate after the product and its bias."""
    r = sigmoid(x @ W["r"].T + b["r"] + h @ U["r"].T + d["r"])
    z = sigmoid(x @ W["z"].T + b["z"] + h @ U["z"].T + d["z"])
    n = tanh(x @ W["n"].T + b["n"] + r * (h @ U["n"].T + d["n"]))
    return (n - z * n + z * h,)


def gru_before(x, h, W, U, b, d):
    """Cho et al. 2014: the reset gate before the product."""
    r = sigmoid(x @ W["r"].T + b["r"] + h @ U["r"].T + d["r"])
    z = sigmoid(x @ W["z"].T + b["z"] + h @ U["z"].T + d["z"])
    n = tanh(x @ W["n"].T + b["n"] + (r * h) @ U["n"].T + d["n"])
    return (n - z * n + z * h,)


def lstm(x, h, c, W, U, b, d):
    """Gers et al. 2000."""
    i, f, o = (sigmoid(x @ W[gate].T + b[gate] + h @ U[gate].T + d[gate]) for gate in "ifo")
    c = f * c + i * tanh(x @ W["g"].T + b["g"] + h @ U["g"].T + d["g"])
    return o * tanh(c), c


def lstm_peephole(x, h, c, W, U, b, d, p):
    """Gers, Schraudolph and Schmidhuber 2002: i and f see the old memory, o the new one."""
    i, f = (sigmoid(x @ W[gate].T + b[gate] + h @ U[gate].T + d[gate] + p[gate] * c) for gate in "if")
    c = f * c + i * tanh(x @ W["g"].T + b["g"] + h @ U["g"].T + d["g"])
    o = sigmoid(x @ W["o"].T + b["o"] + h @ U["o"].T + d["o"] + p["o"] * c)
    return o * tanh(c), c


def gru_memory_cell(x, h, c, W, U, b, d):
    """The tutorial's: c = z c + (1 − z) c~, h = tanh(c)."""
    r = sigmoid(x @ W["r"].T + b["r"] + h @ U["r"].T + d["r"])
    z = sigmoid(x @ W["z"].T + b["z"] + h @ U["z"].T + d["z"])
    c_new = tanh(x @ W["n"].T + b["n"] + (r * h) @ U["n"].T + d["n"])
    c = z * c + (1 - z) * c_new
    return tanh(c), c


def forget_gate_gru(x, h, W, U, b, d):
    """The tutorial's LSTM-GRU: h = f h + z n."""
    r, z, f = (sigmoid(x @ W[gate].T + b[gate] + h @ U[gate].T + d[gate]) for gate in "rzf")
    n = tanh(x @ W["n"].T + b["n"] + r * (h @ U["n"].T + d["n"]))
    return (f * h + z * n,)


def cifg(x, h, c, W, U, b, d):
    """Greff et al. 2017: the LSTM without peepholes, with f = 1 − i."""
    i, o = (sigmoid(x @ W[gate].T + b[gate] + h @ U[gate].T + d[gate]) for gate in "io")
    f = 1 - i
    c = f * c + i * tanh(x @ W["g"].T + b["g"] + h @ U["g"].T + d["g"])
    return o * tanh(c), c


def mgu(x, h, W, U, b, d):
    """Zhou et al. 2016: h = (1 − f) h + f h~, h~ of f h."""
    f = sigmoid(x @ W["f"].T + b["f"] + h @ U["f"].T + d["f"])
    n = tanh(x @ W["n"].T + b["n"] + (f * h) @ U["n"].T + d["n"])
    return (h + f * (n - h),)


def ugrnn(x, h, W, U, b, d):
    """Collins et al. 2017: h = g h + (1 − g) c, where the gate g keeps."""
    g = sigmoid(x @ W["z"].T + b["z"] + h @ U["z"].T + d["z"])
    c = tanh(x @ W["n"].T + b["n"] + h @ U["n"].T + d["n"])
    return (c + g * (h - c),)


def li_gru(x, h, W, U, b, d):
    """Ravanelli et al. 2018, without batch normalisation: h = z h + (1 − z) h~."""
    z = sigmoid(x @ W["z"].T + b["z"] + h @ U["z"].T + d["z"])
    n = maximum(0, x @ W["n"].T + b["n"] + h @ U["n"].T + d["n"])
    return (n + z * (h - n),)


def min_gru(x, h, W, b):
    """Feng et al. 2024: h = (1 − z) h + z h~, the candidate without tanh."""
    z = sigmoid(x @ W["z"].T + b["z"])
    return (h + z * (x @ W["n"].T + b["n"] - h),)


def min_lstm(x, h, W, b):
    """Feng et al. 2024: f and i divided by their sum."""
    f = sigmoid(x @ W["f"].T + b["f"])
    i = sigmoid(x @ W["i"].T + b["i"])
    return ((f * h + i * (x @ W["n"].T + b["n"])) / (f + i),)


def sru(x, h, c, W, b, p):
    """Lei et al. 2018: both gates see the old memory; a projected highway."""
    f = sigmoid(x @ W["f"].T + p["f"] * c + b["f"])
    r = sigmoid(x @ W["r"].T + p["r"] * c + b["r"])
    c = f * c + (1 - f) * (x @ W["n"].T + b["n"])
    return r * c + (1 - r) * (x @ W["s"].T + b["s"]), c


def mut1(x, h, W, U, b, d):
    """Jozefowicz et al. 2015, tanh(x) projected; z takes in."""
    z = sigmoid(x @ W["z"].T + b["z"])
    r = sigmoid(x @ W["r"].T + b["r"] + h @ U["r"].T + d["r"])
    return (tanh((r * h) @ U["n"].T + d["n"] + tanh(x @ W["n"].T + b["n"])) * z + h * (1 - z),)


def mut2(x, h, W, U, b, d):
    """Jozefowicz et al. 2015, x in r projected."""
    z = sigmoid(x @ W["z"].T + b["z"] + h @ U["z"].T + d["z"])
    r = sigmoid(x @ W["r"].T + b["r"] + h @ U["r"].T + d["r"])
    return (tanh((r * h) @ U["n"].T + d["n"] + x @ W["n"].T + b["n"]) * z + h * (1 - z),)


def mut3(x, h, W, U, b, d):
    """Jozefowicz et al. 2015: z of tanh(h)."""
    z = sigmoid(x @ W["z"].T + b["z"] + tanh(h) @ U["z"].T + d["z"])
    r = sigmoid(x @ W["r"].T + b["r"] + h @ U["r"].T + d["r"])
    return (tanh((r * h) @ U["n"].T + d["n"] + x @ W["n"].T + b["n"]) * z + h * (1 - z),)


ORACLES: dict[str, Callable[..., tuple[ndarray, ...]]] = {
    "rnn": rnn, "rnn-relu": rnn_relu, "indrnn": indrnn, "gru": gru, "gru-before": gru_before, "lstm": lstm,
    "lstm-peephole": lstm_peephole, "gru-memory-cell": gru_memory_cell, "forget-gate-gru": forget_gate_gru,
    "cifg": cifg, "mgu": mgu, "ugrnn": ugrnn, "li-gru": li_gru, "min-gru": min_gru, "min-lstm": min_lstm, "sru": sru,
    "mut1": mut1, "mut2": mut2, "mut3": mut3,
}  # fmt: skip


def random_layer(name: str) -> tuple[Recurrent, dict[str, dict[str, ndarray]]]:
    """A layer, and its weights as the oracles take them: part -> gate -> numbers."""
    layer = Recurrent(name, I, H, dtype=torch.float64, engine="eager")
    rng, used = np.random.default_rng(0), layer.connections
    stacks = {"W": ("weight_ih_l0", used.input), "U": ("weight_hh_l0", used.dense), "b": ("bias_ih_l0", used.input),
              "d": ("bias_hh_l0", used.dense), "p": ("weight_diag_l0", used.diag)}  # fmt: skip
    weights: dict[str, dict[str, ndarray]] = {}
    for part, (stack, gates) in stacks.items():
        if gates:
            parameter = layer.get_parameter(stack)
            value = rng.normal(size=tuple(parameter.shape)) / 2
            parameter.data = torch.from_numpy(value)
            blocks = value if part == "p" else np.split(value, len(gates))
            weights[part] = dict(zip(gates, blocks, strict=True))
    assert len(weights) == len(list(layer.parameters()))
    return layer, weights


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_its_papers(name):
    """Every state after every step: the run is repeated to every length, for only the first state is an output."""
    layer, weights = random_layer(name)
    rng = np.random.default_rng(1)
    x, states = rng.normal(size=(T, B, I)), tuple(rng.normal(size=(B, H)) for _ in layer.cell.states)
    oracle = ORACLES[name]
    assert set(inspect.signature(oracle).parameters) == {"x", *layer.cell.states, *weights}

    given = tuple(torch.from_numpy(state)[None] for state in states)
    outputs = []
    for t in range(T):
        states = oracle(x[t], *states, **weights)
        outputs.append(states[0])
        output, final = layer(torch.from_numpy(x[: t + 1]), given[0] if len(given) == 1 else given)
        actual = (output, *((final,) if len(given) == 1 else final))
        expected = (np.stack(outputs), *(state[None] for state in states))
        for value, formula in zip(actual, expected, strict=True):
            assert np.abs(value.detach().numpy() - formula).max() <= 1e-12


def test_every_cell_names_its_equation_and_its_paper():
    for name in ORACLES:
        assert CELLS[name].name == name
        assert "h_t = " in (CELLS[name].__doc__ or "")
        assert re.search(r" (19|20)\d\d\b", CELLS[name].paper)


@pytest.mark.parametrize("scale", [1, 10, 1000])
def test_a_memory_within_one_keeps_the_output_within_tanh_of_one(scale):
    """gru-memory-cell: c_t lies between c_{t-1} and n, so |c_0| <= 1 gives |h_t| <= tanh 1, whatever x and h_0."""
    layer, _ = random_layer("gru-memory-cell")
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(scale)
        x = scale * torch.randn(200, 8, I, generator=generator, dtype=torch.float64)
        h = scale * torch.randn(1, 8, H, generator=generator, dtype=torch.float64)
        c = 2 * torch.rand(1, 8, H, generator=generator, dtype=torch.float64) - 1
        output, (_, c) = layer(x, (h, c))
    bound = np.tanh(1) * (1 + 1e-15)
    assert 0.9 * bound < output.abs().max() <= bound
    assert c.abs().max() <= 1 + 1e-15


@pytest.mark.parametrize(
    ("name", "gates", "states", "diag"),
    [
        ("rnn", "h", "h", ""),
        ("gru", "rzn", "h", ""),
        ("gru-before", "rzn", "h", ""),
        ("lstm", "ifgo", "hc", ""),
        ("lstm-peephole", "ifgo", "hc", "ifo"),
    ],
)
def test_gates_stand_in_torchs_order(name, gates, states, diag):
    layer = Recurrent(name, I, H)
    used = layer.connections
    assert layer.cell.gates == used.input == used.dense == tuple(gates)
    assert layer.cell.states == tuple(states)
    assert used.diag == tuple(diag)
    assert used.vector == ()
