"""Every cell's step against its formula in NumPy, alone and as the only step of a layer on every engine."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gatewise import CELLS, Recurrent
from gatewise.cells import resolve
from gatewise.engines import ENGINES

B, I, H = 3, 4, 7


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def rnn(a, U, b, p, h):
    return (np.tanh(a["h"] + h @ U["h"].T + b["h"]),)


def rnn_relu(a, U, b, p, h):
    return (np.maximum(0, a["h"] + h @ U["h"].T + b["h"]),)


def gru(a, U, b, p, h):
    r = sigmoid(a["r"] + h @ U["r"].T + b["r"])
    z = sigmoid(a["z"] + h @ U["z"].T + b["z"])
    n = np.tanh(a["n"] + r * (h @ U["n"].T + b["n"]))
    return (n - z * n + z * h,)


def gru_before(a, U, b, p, h):
    r = sigmoid(a["r"] + h @ U["r"].T + b["r"])
    z = sigmoid(a["z"] + h @ U["z"].T + b["z"])
    n = np.tanh(a["n"] + (r * h) @ U["n"].T + b["n"])
    return (n - z * n + z * h,)


def lstm(a, U, b, p, h, c):
    i, f, o = (sigmoid(a[gate] + h @ U[gate].T + b[gate]) for gate in "ifo")
    c = f * c + i * np.tanh(a["g"] + h @ U["g"].T + b["g"])
    return o * np.tanh(c), c


def lstm_peephole(a, U, b, p, h, c):
    i, f = (sigmoid(a[gate] + h @ U[gate].T + b[gate] + p[gate] * c) for gate in "if")
    c = f * c + i * np.tanh(a["g"] + h @ U["g"].T + b["g"])
    o = sigmoid(a["o"] + h @ U["o"].T + b["o"] + p["o"] * c)
    return o * np.tanh(c), c


FORMULAS: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {
    "rnn": rnn, "rnn-relu": rnn_relu, "gru": gru, "gru-before": gru_before, "lstm": lstm,
    "lstm-peephole": lstm_peephole,
}  # fmt: skip


def weights_of(cell, seed=0):
    """W x + b, U, b' and p for each gate, and the states: all random, float64."""
    rng = np.random.default_rng(seed)
    a = {gate: rng.normal(size=(B, H)) for gate in cell.gates}
    U = {gate: rng.normal(size=(H, H)) / 2 for gate in cell.gates}
    b = {gate: rng.normal(size=H) for gate in cell.gates}
    p = {gate: rng.normal(size=H) for gate in cell.gates}
    return a, U, b, p, [rng.normal(size=(B, H)) for _ in cell.states]


@pytest.mark.parametrize("name", CELLS)
def test_a_step_is_its_formula(name):
    cell = resolve(name)
    a, U, b, p, states = weights_of(cell)

    def tensor(value):
        return torch.from_numpy(value)

    products = {g: lambda v, g=g: v @ tensor(U[g]).T + tensor(b[g]) for g in cell.gates}
    diagonals = {g: lambda v, g=g: v * tensor(p[g]) for g in cell.gates}
    x = SimpleNamespace(**{gate: tensor(value) for gate, value in a.items()})
    u = SimpleNamespace(**products, diag=SimpleNamespace(**diagonals))
    actual = cell.advance(x, u, tuple(map(tensor, states)))
    expected = FORMULAS[name](a, U, b, p, *states)
    assert len(actual) == len(expected)
    for value, formula in zip(actual, expected, strict=True):
        assert np.abs(value.numpy() - formula).max() <= 1e-12


RUNS = [
    (name, engine.name) for name in CELLS for engine in ENGINES if not engine.refuses(Recurrent(name, I, H).request())
]


@pytest.mark.parametrize(("name", "engine"), RUNS)
def test_one_step_of_a_layer_is_the_formula(name, engine):
    layer = Recurrent(name, I, H, dtype=torch.float64, engine=engine)
    cell = layer.cell
    _, U, b, p, states = weights_of(cell, seed=1)
    rng = np.random.default_rng(2)
    W, c, x = rng.normal(size=(len(cell.gates), H, I)), rng.normal(size=(len(cell.gates), H)), rng.normal(size=(B, I))
    given = {
        "weight_ih_l0": W.reshape(-1, I),
        "weight_hh_l0": np.concatenate([U[gate] for gate in cell.gates]),
        "bias_ih_l0": c.reshape(-1),
        "bias_hh_l0": np.concatenate([b[gate] for gate in cell.gates]),
    }
    if layer.connections.diag:
        given["weight_diag_l0"] = np.stack([p[gate] for gate in layer.connections.diag])
    layer.load_state_dict({key: torch.from_numpy(value) for key, value in given.items()})

    hx = tuple(torch.from_numpy(state)[None] for state in states)
    output, final = layer(torch.from_numpy(x)[None], hx[0] if len(hx) == 1 else hx)
    a = {gate: x @ W[k].T + c[k] for k, gate in enumerate(cell.gates)}
    expected = FORMULAS[name](a, U, b, p, *states)
    assert np.abs(output[0].detach().numpy() - expected[0]).max() <= 1e-12
    for value, formula in zip(final if len(hx) > 1 else (final,), expected, strict=True):
        assert np.abs(value[0].detach().numpy() - formula).max() <= 1e-12


def test_every_cell_names_its_equation_and_its_paper():
    for name in FORMULAS:
        assert CELLS[name].name == name
        assert "h_t = " in (CELLS[name].__doc__ or "")
        assert any(year in CELLS[name].paper for year in ("1990", "1997", "2002", "2014", "2015"))


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
