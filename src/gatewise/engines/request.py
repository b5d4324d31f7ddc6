"""What an engine is asked to run: a stack of one cell's layers over a batch of sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.cells import Cell, Connections

States = tuple[Tensor, ...]


@dataclass(frozen=True)
class Weights:
    """The weights of one layer in one direction; gates are stacked in the order of the cell's declaration.

    Attributes:
        input: W, (input gates x hidden, input), None where no gate sees the input.
        recurrent: U, (dense gates x hidden, state), None where no gate has a recurrent product.
        input_bias: b, (input gates x hidden,), or None.
        recurrent_bias: b', (dense gates x hidden,), or None.
        projection: (projected, hidden), or None (Sak et al. 2014).
        diag: (diagonal gates, hidden), or None.
        vector: (vectors, hidden), or None.
    """

    input: Tensor | None
    recurrent: Tensor | None
    input_bias: Tensor | None
    recurrent_bias: Tensor | None
    projection: Tensor | None
    diag: Tensor | None
    vector: Tensor | None


@dataclass(frozen=True)
class Request:
    """One cell, its weights for every layer and direction (``weights[layer][direction]``), and how they are stacked."""

    cell: Cell
    connections: Connections
    weights: tuple[tuple[Weights, ...], ...]
    bias: bool
    dropout: float
    training: bool


class Engine(Protocol):
    """Something that runs a cell over time."""

    name: str

    def refuses(self, request: Request) -> str | None:
        """Why this engine cannot run the request, or None if it can."""
        ...

    def describe(self, request: Request) -> str:
        """What runs the request, for ``which``."""
        ...

    def run(self, request: Request, x: Tensor, lengths: Tensor | None, states: States) -> tuple[Tensor, States]:
        """Run the stack.

        Args:
            request: cell, weights, stacking.
            x: (T, B, input).
            lengths: (B,) steps of each sequence, on the CPU, each in 1..T; None when all are T long.
            states: for each state (layers x directions, B, size), layer by layer, forward before reverse.

        Returns:
            The last layer's output (T, B, directions x output), zero after a sequence's end, and the states after
            each sequence's last step (the first step, for the reverse direction).
        """
        ...


Scan = Callable[[Request, Weights, Tensor, Tensor | None, States, bool], tuple[Tensor, States]]
"""One layer in one direction: (request, weights, x, lengths, states, reverse) -> (output, final states)."""


def run_stack(scan: Scan, request: Request, x: Tensor, lengths: Tensor | None, states: States) -> tuple[Tensor, States]:
    """Layers over layers and directions side by side, from a ``scan`` that runs one of them."""
    finals: list[States] = []
    for layer, directions in enumerate(request.weights):
        if layer > 0 and request.dropout > 0 and request.training:
            x = F.dropout(x, request.dropout)
        outputs = []
        for direction, weights in enumerate(directions):
            initial = tuple(state[layer * len(directions) + direction] for state in states)
            output, final = scan(request, weights, x, lengths, initial, direction == 1)
            outputs.append(output)
            finals.append(final)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
    return x, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
