"""A Python loop over the time steps: over torch's own cell where it has one, else over the equations."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.case import Case, What
from benchmarks.peers import loops
from benchmarks.peers.peer import Peer
from benchmarks.work import Contestant, Subject, layer_contestant

LOOPS: dict[str, tuple[str, Callable[[int, int], nn.Module]]] = {
    "gru": ("loop over nn.GRUCell", lambda i, h: loops.CellLoop(nn.GRUCell(i, h))),
    "lstm": ("loop over nn.LSTMCell", lambda i, h: loops.CellLoop(nn.LSTMCell(i, h))),
    "rnn": ("loop over nn.RNNCell", lambda i, h: loops.CellLoop(nn.RNNCell(i, h))),
    "gru-before": ("loop over the equations", loops.GRUBeforeLoop),
    "lstm-peephole": ("loop over the equations", loops.PeepholeLoop),
    "min-gru": ("loop over the equations", loops.MinGRULoop),
    "MinimalGate": ("loop over the equations", loops.MinimalGateLoop),
    "SoftLeak": ("loop over the equations", loops.SoftLeakLoop),
}
"""Cell -> what the loop is called, and its module."""


def takes(case: Case) -> bool:
    if case.what.over_a_sequence:
        return case.in_float32 and case.cell_name in LOOPS
    return case.what in (What.STEP, What.GENERATE) and case.cell_name == "gru"


def module_of(subject: Subject) -> tuple[str, nn.Module]:
    """The loop with the shared weights, and what it is called."""
    name, make = LOOPS[subject.case.cell_name]
    module = make(*subject.case.sizes[2:])
    module.load_state_dict(subject.layer.state_dict())
    return name, module


def build(subject: Subject) -> Contestant:
    name, module = module_of(subject)
    if subject.case.what.over_a_sequence:
        return layer_contestant(name, module, subject)
    cell = module.get_submodule("cell")
    return _streaming(cell, subject) if subject.case.what is What.STEP else _generation(name, cell, subject)


def _streaming(cell: nn.Module, subject: Subject) -> Contestant:
    x = subject.x[0]
    carried = None

    def work() -> Tensor:
        nonlocal carried
        with torch.no_grad():
            carried = cell(x, carried)
        return carried

    def answer() -> Tensor:
        nonlocal carried
        carried = None
        return torch.stack([work() for _ in range(3)])

    return Contestant("nn.GRUCell", work, answer)


def _generation(name: str, cell: nn.Module, subject: Subject) -> Contestant:
    """The textbook's: one-hot, cell, head, softmax, a draw, a token at a time."""
    T, _, V, _ = subject.case.sizes
    head = subject.model.head

    def write(greedy: bool) -> Tensor:
        token, state, written = subject.x[0, 0], None, []
        with torch.no_grad():
            for _ in range(T):
                state = cell(F.one_hot(token, V).float().unsqueeze(0), state)
                logits = head(state)[0]
                token = logits.argmax() if greedy else torch.multinomial(logits.softmax(0), 1)[0]
                written.append(int(token))
        return torch.tensor(written)

    return Contestant(name, lambda: write(greedy=False), lambda: write(greedy=True))


PEER = Peer("loop", takes, build)
