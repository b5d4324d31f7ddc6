"""``torch.nn.GRU``, ``LSTM`` and ``RNN``."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.case import Case, What
from benchmarks.ours import RATE
from benchmarks.peers.peer import Peer
from benchmarks.work import Contestant, Subject, layer_contestant
from gatewise.layers import detach

MODULES: dict[str, Callable[[int, int], nn.RNNBase]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


def takes(case: Case) -> bool:
    return case.cell_name in MODULES and case.what is not What.GENERATE


def build(subject: Subject) -> Contestant:
    module = MODULES[subject.case.cell_name](*subject.case.sizes[2:])
    name = f"torch.nn.{type(module).__name__}"
    module.load_state_dict(subject.layer.state_dict())
    if subject.case.what is What.TEXT:
        return _text_step(name, module, subject)
    if subject.case.what is What.STEP:
        return _streaming(f"{name}, T = 1", module, subject)
    return layer_contestant(name, module, subject)


def _streaming(name: str, module: nn.RNNBase, subject: Subject) -> Contestant:
    x = subject.x

    def steps(count: int) -> Tensor:
        state, outputs = None, []
        with torch.no_grad():
            for _ in range(count):
                output, state = module(x, state)
                outputs.append(output[0])
        return torch.stack(outputs)

    carried = None

    def work() -> None:
        nonlocal carried
        with torch.no_grad():
            _, carried = module(x, carried)

    return Contestant(name, work, lambda: steps(3))


def _text_step(name: str, recurrent: nn.RNNBase, subject: Subject) -> Contestant:
    """A step of the textbook's language model as one writes it by hand: one-hot, clipping, SGD, carried state."""
    V, H = subject.case.sizes[2:]
    head = nn.Linear(H, V)
    head.load_state_dict(subject.model.head.state_dict())
    parameters = [*recurrent.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, RATE)
    inputs, targets = subject.x[:-1], subject.x[1:]
    state = None

    def work() -> float:
        nonlocal state
        output, following = recurrent(F.one_hot(inputs, V).float(), state)
        loss = F.cross_entropy(head(output).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        state = detach(following)
        return loss.item()

    return Contestant(f"{name} by hand", work, lambda: torch.tensor([work(), work()]))


PEER = Peer("torch.nn", takes, build)
