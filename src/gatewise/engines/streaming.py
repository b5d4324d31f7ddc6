"""What an engine may offer beside running a batch: a stack that goes on step by step, its states kept between calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol, runtime_checkable

from torch import Tensor

from gatewise.engines.request import Request, States


@dataclass(frozen=True)
class Lexicon:
    """The inputs are tokens rather than numbers.

    Attributes:
        size: how many tokens there are, V.
        embedding: (V, I): the rows that tokens stand for; None: one-hot vectors, and V is the input's size.
    """

    size: int
    embedding: Tensor | None


@dataclass(frozen=True)
class Head:
    """Scores from the last layer's output: weight (V, H), bias (V,) or None."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True)
class Manner:
    """How a token is chosen from scores; see :class:`gatewise.tasks.Sampling`, which says what each means.

    Attributes:
        never: a token that is not chosen, or None.
    """

    temperature: float
    top_k: int
    top_p: float
    greedy: bool
    never: int | None


class Stream(Protocol):
    """A stack with weights as they were when it was opened, and its states. For one thread at a time.

    Raises:
        IndexError: a token outside the vocabulary.
        RuntimeError: another thread is using it.
    """

    @property
    def step(self) -> Callable[[int, int], int]:
        """One step: from the addresses of x (B, I), or of tokens (B,), and of the output (B, H), or the scores (B, V).

        Returns 0 if all went well, else what to give to :meth:`fail`.
        """
        ...

    def fail(self, outcome: int) -> NoReturn:
        """Raise the error that a step's outcome stands for."""
        ...

    def read(self) -> States:
        """The states, (layers, B, H) each; of layers that differ as their own layout has them."""
        ...

    def write(self, states: States | None) -> None:
        """Go on from other states; None: zero."""
        ...

    def choose(self, scores: Tensor, manner: Manner, uniform: float) -> int | None:
        """The token for scores (V,) and a number in [0, 1), None where a score is not a number."""
        ...

    def generate(self, given: Tensor, uniforms: Tensor, manner: Manner) -> tuple[Tensor, bool]:
        """Read tokens, then write one for each uniform number in [0, 1): see ``gatewise.tasks.sampling.choose``.

        The last token that is written is not read. B is 1.

        Returns:
            The tokens, and whether the scores stayed numbers: if not, the tokens end where they were no more.
        """
        ...


@runtime_checkable
class Streams(Protocol):
    """An engine that can open a stream for any request it does not refuse, in one direction."""

    def open(self, request: Request, batch: int, lexicon: Lexicon | None, head: Head | None) -> Stream: ...
