"""The streams of a stack whose layers differ, one behind the other: each layer steps in its own kernel."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

from gatewise.engines import Stack, States
from gatewise.engines.streaming import Head, Lexicon, Manner, Streams
from gatewise.layers.states import StateLayout

_IN_USE = 3  # what a stream says to a second thread


class Chain:
    """See :class:`gatewise.engines.streaming.Stream`. The layers of a residual stack cannot be chained."""

    def __init__(
        self, engine: Streams, stack: Stack, layout: StateLayout, batch: int, lexicon: Lexicon | None, head: Head | None
    ) -> None:
        last = len(stack.layers) - 1
        self._streams = [
            engine.open(layer, batch, lexicon if k == 0 else None, head if k == last else None)
            for k, layer in enumerate(stack.layers)
        ]
        like = next(iter(part for part in vars(stack.weights[0][0]).values() if isinstance(part, Tensor)))
        between = [
            stream.read()[0] for stream in self._streams[:-1]
        ]  # an output is as large as its layer's first state
        self._between = [like.detach().new_empty(state.shape[1:]) for state in between]
        self._scores = like.detach().new_empty(batch, 0 if head is None else len(head.weight))
        self._layout, self._busy, self._failed = layout, threading.Lock(), self._streams[0]
        steps = [stream.step for stream in self._streams]
        places = [buffer.data_ptr() for buffer in self._between]
        self._lower = list(zip(steps, places, strict=False))
        self._top = steps[-1]

    def step(self, x: int, output: int) -> int:
        if not self._busy.acquire(blocking=False):
            return _IN_USE
        try:
            for step, place in self._lower:
                outcome = step(x, place)
                if outcome:
                    return outcome
                x = place
            return self._top(x, output)
        finally:
            self._busy.release()

    def fail(self, outcome: int) -> NoReturn:
        self._failed.fail(outcome)

    def read(self) -> States:
        return self._layout.of_layers([stream.read() for stream in self._streams])

    def write(self, states: States | None) -> None:
        each: Sequence[States | None] = [None] * len(self._streams) if states is None else self._layout.by_layer(states)
        for stream, own in zip(self._streams, each, strict=True):
            stream.write(own)

    def choose(self, scores: Tensor, manner: Manner, uniform: float) -> int | None:
        return self._streams[-1].choose(scores, manner, uniform)

    def generate(self, given: Tensor, uniforms: Tensor, manner: Manner) -> tuple[Tensor, bool]:
        for token in given:
            self._read_token(token)
        tokens = torch.empty(len(uniforms), dtype=torch.int64)
        for i, uniform in enumerate(uniforms.tolist()):
            if i:
                self._read_token(tokens[i - 1])
            token = self.choose(self._scores[0], manner, uniform)
            if token is None:
                return tokens[:i], False
            tokens[i] = token
        return tokens, True

    def _read_token(self, token: Tensor) -> None:
        outcome = self.step(token.data_ptr(), self._scores.data_ptr())
        if outcome:
            self.fail(outcome)
