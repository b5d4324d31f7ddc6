"""What is compared: for each case, ways of doing the same work; the first is ours, the second the peer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gatewise

Work = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: what is compared, with its sizes (T, B, I, H).
        make: builds the two pieces of work, ours and the peer's.
        peer: what the peer is.
    """

    name: str
    make: Callable[[], tuple[Work, Work]]
    peer: str


def _forward_backward(layer: nn.Module, x: Tensor) -> Work:
    def work() -> None:
        for parameter in layer.parameters():
            parameter.grad = None
        layer(x)[0].sum().backward()

    return work


class CellLoop(nn.Module):
    """The textbook's loop: one ``nn.GRUCell`` call a time step."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(input_size, hidden_size)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        h = x.new_zeros(x.shape[1], self.cell.hidden_size)
        outputs = []
        for x_t in x:
            h = self.cell(x_t, h)
            outputs.append(h)
        return (torch.stack(outputs),)


def _layers(ours: Callable[[int, int], nn.Module], peer: Callable[[int, int], nn.Module], *sizes: int) -> Callable:
    def make() -> tuple[Work, Work]:
        T, B, I, H = sizes
        torch.manual_seed(0)
        x = torch.randn(T, B, I)
        return _forward_backward(ours(I, H), x), _forward_backward(peer(I, H), x)

    return make


def _text_step() -> tuple[Work, Work]:
    """A training step of the recipe d2l: our language model, and the same by hand on torch.nn.GRU."""
    torch.manual_seed(0)
    tokens = torch.randint(0, 28, (36, 32))
    ours = gatewise.LanguageModel(28, "gru", 256)
    theirs = nn.ModuleList([nn.GRU(28, 256), nn.Linear(256, 28)])

    def step(model: nn.Module, forward: Callable[[Tensor], Tensor]) -> Work:
        optimizer = torch.optim.SGD(model.parameters(), 0.1)

        def work() -> None:
            loss = F.cross_entropy(forward(tokens[:-1]).flatten(0, 1), tokens[1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        return work

    def by_hand(x: Tensor) -> Tensor:
        return theirs[1](theirs[0](F.one_hot(x, 28).float())[0])

    return step(ours, lambda x: ours(x)[0]), step(theirs, by_hand)


CASES = [
    Case("gru, engine torch, 35,32,28,256", _layers(gatewise.GRU, nn.GRU, 35, 32, 28, 256), "torch.nn.GRU"),
    Case("lstm, engine torch, 35,32,28,256", _layers(gatewise.LSTM, nn.LSTM, 35, 32, 28, 256), "torch.nn.LSTM"),
    Case(
        "gru, engine eager, 35,32,28,256",
        _layers(lambda i, h: gatewise.GRU(i, h, engine="eager"), CellLoop, 35, 32, 28, 256),
        "loop over nn.GRUCell",
    ),
    Case("text step, recipe d2l, gru", _text_step, "the same on torch.nn.GRU"),
]
