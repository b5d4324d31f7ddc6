"""Layers that differ: each a request of its own, all run by the same engine, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from gatewise.engines.request import Engine, Input, Request, States, Weights


@dataclass(frozen=True)
class Stack:
    """What one request cannot hold: layers of several cells or sizes, or such as add their input to their output.

    Attributes:
        layers: from the lowest up, each with the weights of one layer.
        dropout: on the input of every layer but the first, while ``training``.
        residual: the output of every layer but the first is its cell's output and its input before dropout, added.
    """

    layers: tuple[Request, ...]
    dropout: float
    training: bool
    residual: bool

    @property
    def weights(self) -> tuple[tuple[Weights, ...], ...]:
        return tuple(layer.weights[0] for layer in self.layers)


def refusal(engine: Engine, asked: Request | Stack) -> str | None:
    """Why an engine cannot run what is asked, or None if it can: all layers, or none."""
    if isinstance(asked, Request):
        return engine.refuses(asked)
    reasons = map(engine.refuses, asked.layers)
    return next((f"layer {k}: {reason}" for k, reason in enumerate(reasons) if reason), None)


def overtaking(overtakes: Callable[[str, Request], str | None], name: str, asked: Request | Stack) -> str | None:
    """Why an engine is better than the engine ``name`` for what is asked, all of its layers; None if it is not."""
    reasons = [overtakes(name, one) for one in (asked.layers if isinstance(asked, Stack) else (asked,))]
    return reasons[0] if all(reasons) else None


def description(engine: Engine, asked: Request | Stack) -> str:
    """What runs the layers, for ``which``."""
    if isinstance(asked, Request):
        return engine.describe(asked)
    each = dict.fromkeys(map(engine.describe, asked.layers))
    added = ", their inputs added" if asked.residual else ""
    return f"layer by layer{added}: {', '.join(each)}"


def run_layers(
    engine: Engine, stack: Stack, x: Input, lengths: Tensor | None, states: Sequence[States]
) -> tuple[Tensor, list[States]]:
    """As :meth:`Engine.run`, with the states of each layer by themselves: (directions, B, size)."""
    finals: list[States] = []
    for k, (layer, initial) in enumerate(zip(stack.layers, states, strict=True)):
        given = F.dropout(x, stack.dropout, stack.training) if k and isinstance(x, Tensor) else x
        output, final = engine.run(layer, given, lengths, initial)
        x = output + x if stack.residual and k and isinstance(x, Tensor) else output
        finals.append(final)
    assert isinstance(x, Tensor)
    return x, finals
