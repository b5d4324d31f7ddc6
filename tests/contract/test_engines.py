"""Every engine against the reference, and proof that the comparison sees what it is there to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
import torch
from comparison import KERNELS, STRUCTURES, Setting, assert_engine_agrees_with_reference
from torch import Tensor

from gatewise import Cell
from gatewise.cells import resolve
from gatewise.engines import ENGINES, Request, States, Weights
from gatewise.engines.eager import EagerEngine

UNEQUAL = (4, 7, 1, 7, 2)
SETTINGS = [
    Setting(hidden, dtype, 1, lengths, layers, bidirectional)
    for hidden, dtype, lengths, (layers, bidirectional) in product(
        (17, 33), (torch.float64, torch.float32), (None, UNEQUAL), ((1, False), (2, True))
    )
]
SEVERAL_THREADS = [
    Setting(hidden, dtype, 2, lengths)
    for hidden, dtype, lengths in product((17, 33), (torch.float64, torch.float32), (None, UNEQUAL))
]


FEW = [
    Setting(17, torch.float64, 1, UNEQUAL, 2, True),
    Setting(33, torch.float32),
    Setting(33, torch.float64, 2, UNEQUAL),
]
"""For cells that share their kinds of connections with others."""

CASES = [
    (cell, engine, setting)
    for cell, engine in KERNELS
    if engine != "eager"
    for setting in (SETTINGS + SEVERAL_THREADS if cell in STRUCTURES else FEW)
]


@pytest.mark.parametrize(("cell", "engine", "setting"), CASES, ids=str)
def test_engine_agrees_with_the_reference(cell, engine, setting):
    assert_engine_agrees_with_reference(cell, engine, setting)


Change = Callable[[Request, States], tuple[Request, States]]


class ChangedEngine(EagerEngine):
    """The reference, with its request changed on the way in."""

    name = "changed"

    def __init__(self, change: Change) -> None:
        self.change = change

    def run(self, request: Request, x: Tensor, lengths: Tensor | None, states: States) -> tuple[Tensor, States]:  # type: ignore
        request, states = self.change(request, states)
        return super().run(request, x, lengths, states)


def with_weights(request: Request, change: Callable[[Weights], Weights]) -> Request:
    return replace(request, weights=tuple(tuple(change(w) for w in layer) for layer in request.weights))


def nothing(request: Request, states: States) -> tuple[Request, States]:
    return request, states


def recurrent_matrix_transposed(request: Request, states: States) -> tuple[Request, States]:
    def transposed(w: Weights) -> Weights:
        assert w.recurrent is not None
        return replace(w, recurrent=torch.cat([block.T for block in w.recurrent.chunk(len(request.connections.dense))]))

    return with_weights(request, transposed), states


def first_two_gates_swapped(request: Request, states: States) -> tuple[Request, States]:
    """r and z, or i and f."""

    def swapped(stack: Tensor | None) -> Tensor | None:
        if stack is None:
            return None
        first, second, *others = stack.chunk(len(request.cell.gates))
        return torch.cat([second, first, *others])

    parts = ("input", "recurrent", "input_bias", "recurrent_bias")
    return with_weights(request, lambda w: replace(w, **{part: swapped(getattr(w, part)) for part in parts})), states


def reset_on_the_other_side(request: Request, states: States) -> tuple[Request, States]:
    return replace(request, cell=resolve({"gru": "gru-before", "gru-before": "gru"}[request.cell.name])), states


class FlippedGRU(Cell):
    gates = ("r", "z", "n")

    def step(self, x, u, h):
        r = torch.sigmoid(x.r + u.r(h))
        z = torch.sigmoid(x.z + u.z(h))
        n = torch.tanh(x.n + r * u.n(h))
        return z * n + (1 - z) * h


def update_gate_flipped(request: Request, states: States) -> tuple[Request, States]:
    return replace(request, cell=FlippedGRU()), states


def initial_state_ignored(request: Request, states: States) -> tuple[Request, States]:
    return request, tuple(torch.zeros_like(state) for state in states)


def initial_state_without_gradient(request: Request, states: States) -> tuple[Request, States]:
    return request, tuple(state.detach() for state in states)


def recurrent_bias_without_gradient(request: Request, states: States) -> tuple[Request, States]:
    def detached(w: Weights) -> Weights:
        assert w.recurrent_bias is not None
        return replace(w, recurrent_bias=w.recurrent_bias.detach())

    return with_weights(request, detached), states


@pytest.fixture
def engine_with():
    """Puts the reference with a change into the table, as the engine "changed"."""
    before = list(ENGINES)
    yield lambda change: ENGINES.append(ChangedEngine(change))  # type: ignore
    ENGINES[:] = before


FAULTS = [
    *product(["gru", "gru-before", "lstm"], [recurrent_matrix_transposed, first_two_gates_swapped]),
    *product(["gru", "gru-before"], [reset_on_the_other_side]),
    ("gru", update_gate_flipped),
    *product(["rnn", "gru", "lstm"], [initial_state_ignored, initial_state_without_gradient]),
    *product(["gru", "lstm-peephole"], [recurrent_bias_without_gradient]),
]


@pytest.mark.parametrize("setting", [SETTINGS[0], SETTINGS[-1]], ids=str)
@pytest.mark.parametrize(("cell", "fault"), FAULTS)
def test_a_faulty_engine_is_caught(cell, fault, setting, engine_with):
    engine_with(fault)
    with pytest.raises(AssertionError, match="differs by"):
        assert_engine_agrees_with_reference(cell, "changed", setting)


@pytest.mark.parametrize("setting", [SETTINGS[0], SETTINGS[-1]], ids=str)
@pytest.mark.parametrize("cell", sorted({cell for cell, _ in FAULTS}))
def test_an_engine_without_fault_is_not_caught(cell, setting, engine_with):
    engine_with(nothing)
    assert_engine_agrees_with_reference(cell, "changed", setting)
