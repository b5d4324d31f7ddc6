"""What an engine is asked to run: a stack of one cell's layers over a batch of sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.cells import Cell, Connections
from gatewise.engines.convolution import Convolution

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
        masks: what was drawn for each of the cell's masks, true where it is its scale: (T, B, hidden), or (1, B,
            hidden) for the whole sequence. Without any a mask is its mean.
    """

    input: Tensor | None
    recurrent: Tensor | None
    input_bias: Tensor | None
    recurrent_bias: Tensor | None
    projection: Tensor | None
    diag: Tensor | None
    vector: Tensor | None
    masks: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Request:
    """One cell, its weights for every layer and direction (``weights[layer][direction]``), and how they are stacked.

    With ``bf16`` both factors of every matrix product are rounded to bfloat16, and its sum is float32. ``steps`` and
    ``rows`` are the input's T and B, None where no input is known yet: they say nothing about what can be run, only
    about what runs it best. With a ``convolution`` it takes the matrix products' place: the matrices are kernels, every
    step is a picture, and the input and the states have its pixels before their last axis.
    """

    cell: Cell
    connections: Connections
    weights: tuple[tuple[Weights, ...], ...]
    bias: bool
    dropout: float
    training: bool
    bf16: bool = False
    steps: int | None = None
    rows: int | None = None
    convolution: Convolution | None = None

    @property
    def some_weight(self) -> Tensor | None:
        """One of the weights, for their type and device; None where a cell has none at all."""
        parts = vars(self.weights[0][0]).values()
        return next((part for part in parts if isinstance(part, Tensor)), None)


@dataclass(frozen=True)
class Tokens:
    """An input of whole numbers: each stands for a row of ``embedding``, or for a one-hot vector.

    Attributes:
        index: (T, B).
        vocabulary: how many tokens there are; the input's size, where there is no embedding.
        embedding: (vocabulary, I), or None.
    """

    index: Tensor
    vocabulary: int
    embedding: Tensor | None

    @property
    def shape(self) -> torch.Size:
        return self.index.shape

    def dense(self, dtype: torch.dtype) -> Tensor:
        """The same input as numbers, (T, B, I)."""
        if self.embedding is not None:
            return F.embedding(self.index, self.embedding)
        # F.one_hot makes whole numbers of eight bytes, to be copied once more.
        x = torch.zeros(*self.index.shape, self.vocabulary, dtype=dtype, device=self.index.device)
        return x.scatter_(-1, self.index.unsqueeze(-1), 1.0)


Input = Tensor | Tokens


class Engine(Protocol):
    """Something that runs a cell over time."""

    name: str

    def refuses(self, request: Request) -> str | None:
        """Why this engine cannot run the request, or None if it can."""
        ...

    def describe(self, request: Request) -> str:
        """What runs the request, for ``which``."""
        ...

    def run(self, request: Request, x: Input, lengths: Tensor | None, states: States) -> tuple[Tensor, States]:
        """Run the stack.

        Args:
            request: cell, weights, stacking.
            x: (T, B, input), or tokens.
            lengths: (B,) steps of each sequence, on the CPU, each in 1..T; None when all are T long.
            states: for each state (layers x directions, B, size), layer by layer, forward before reverse.

        Returns:
            The last layer's output (T, B, directions x output), zero after a sequence's end, and the states after
            each sequence's last step (the first step, for the reverse direction).
        """
        ...


class Overtaking(Engine, Protocol):
    """An engine that runs some requests better than one that stands before it in the table."""

    def overtakes(self, name: str, request: Request) -> str | None:
        """What makes this engine the better one for the request, beside the engine ``name``; None if it is not."""
        ...


Scan = Callable[[Request, Weights, Input, Tensor | None, States, bool], tuple[Tensor, States]]
"""One layer in one direction: (request, weights, x, lengths, states, reverse) -> (output, final states), with states
of (1, B, size)."""


def run_stack(scan: Scan, request: Request, x: Input, lengths: Tensor | None, states: States) -> tuple[Tensor, States]:
    """Layers over layers and directions side by side, from a ``scan`` that runs one of them."""
    finals: list[States] = []
    single = len(request.weights) == len(request.weights[0]) == 1
    for layer, directions in enumerate(request.weights):
        if layer > 0 and request.dropout > 0 and request.training:
            assert isinstance(x, Tensor)
            x = F.dropout(x, request.dropout)
        outputs = []
        for direction, weights in enumerate(directions):
            place = layer * len(directions) + direction
            initial = states if single else tuple(state[place : place + 1] for state in states)
            output, final = scan(request, weights, x, lengths, initial, direction == 1)
            outputs.append(output)
            finals.append(final)
        x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
    assert isinstance(x, Tensor)
    return x, finals[0] if single else tuple(torch.cat(parts) for parts in zip(*finals, strict=True))
