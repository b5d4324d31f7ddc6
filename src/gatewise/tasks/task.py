"""What the training loop needs to know of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor


class Task(Protocol):
    """Data to batch to loss to measure.

    Attributes:
        unit: what is counted: "tokens", "frames".
        loss_unit: of the loss: "nats per token".
        batch_size: most rows of a batch.
    """

    unit: str
    loss_unit: str
    batch_size: int

    def batches(self, epoch: int) -> Sequence[Any]:
        """The epoch's batches; the same for the same seed and epoch, whatever came before."""
        ...

    def size(self, batch: Any) -> int:
        """How many units a batch has."""
        ...

    def loss(self, model: Any, batch: Any, state: Any, share: float) -> tuple[Tensor, Any]:
        """The loss of a batch, and the state that the next one begins with (cut off from the graph; None for none).

        Args:
            model: what is trained.
            batch: one of :meth:`batches`.
            state: what the batch before left; None for an epoch's first.
            share: of the budget that is spent, 0 to 1: for what changes on the way.
        """
        ...

    def held_out(self, model: Any) -> Mapping[str, float]:
        """A quick look at what is held out; the smallest ``loss`` is the best. NaN where nothing is held out."""
        ...

    def figures(self, loss: float) -> Mapping[str, float]:
        """What else a loss says: a language model's is also a perplexity."""
        ...
