"""The text task: predict the next token, in windows that carry the state or do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.data import random_offset, random_partition, sequential_partition
from gatewise.layers import LanguageModel, detach

Batch = tuple[Tensor, Tensor]

_MOST_SCORES = 1 << 24  # at a time: 64 MB of them


def perplexity(loss: float) -> float:
    """exp(loss) of a loss in nats per token: as uncertain as a choice among so many; inf where that overflows.

    >>> perplexity(0.0), round(perplexity(math.log(28)), 6)
    (1.0, 28.0)
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


class TextTask:
    """Next-token prediction on a training text, measured on a held-out one.

    Args:
        train: token ids of the training text, (N,).
        heldout: token ids of the held-out text, (M,); may be empty.
        batch_size: rows of a batch, B.
        num_steps: tokens of a window, T: how far back the truncated gradient reaches.
        partition: "sequential" carries the state from window to window, "random" starts every window at zero.
        seed: fixes every epoch's offset and order.

    Example:
        >>> import torch
        >>> task = TextTask(torch.arange(100) % 7, torch.arange(20) % 7, batch_size=2, num_steps=5)
        >>> inputs, targets = task.batches(epoch=0)[0]
        >>> inputs.shape, torch.equal(inputs[1:], targets[:-1])
        (torch.Size([5, 2]), True)
    """

    unit = "tokens"
    loss_unit = "nats per token"

    def __init__(
        self,
        train: Tensor,
        heldout: Tensor,
        batch_size: int,
        num_steps: int,
        partition: str = "sequential",
        seed: int = 0,
    ) -> None:
        self.train, self.heldout = train, heldout
        self.batch_size, self.num_steps = batch_size, num_steps
        self.partition, self.seed = partition, seed
        self.batches(0)  # a text too short for one batch is refused here

    @property
    def carries_state(self) -> bool:
        return self.partition == "sequential"

    def batches(self, epoch: int) -> Sequence[Batch]:
        """The epoch's batches, (T, B) each; the same for the same seed and epoch, whatever came before.

        Every epoch has as many as fit behind the largest offset, so that epochs can be counted in steps.
        """
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % (1 << 63))
        if self.partition == "random":
            batches = random_partition(self.train, self.batch_size, self.num_steps, generator)
        else:
            longest = len(self.train) - 1 - self.batch_size * self.num_steps
            offset = min(random_offset(self.num_steps, generator), max(longest, 0))
            batches = sequential_partition(self.train, self.batch_size, self.num_steps, offset)
        return batches[: max(1, (len(self.train) - self.num_steps) // (self.batch_size * self.num_steps))]

    def size(self, batch: Batch) -> int:
        return batch[1].numel()

    def loss(self, model: LanguageModel, batch: Batch, state: Any, share: float = 0.0) -> tuple[Tensor, Any]:
        """Mean cross-entropy of a batch in nats per token, and the state to carry on (cut off from the graph)."""
        del share  # the same loss from the first step to the last
        inputs, targets = batch
        logits, state = model(inputs, state if self.carries_state else None)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten()), detach(state)

    def held_out(self, model: LanguageModel) -> Mapping[str, float]:
        return {"loss": self.quick_loss(model)}

    def figures(self, loss: float) -> Mapping[str, float]:
        return {"perplexity": perplexity(loss)}

    def quick_loss(self, model: LanguageModel, streams: int = 64, most: int = 1 << 15) -> float:
        """An estimate of :func:`heldout_loss`, many streams at a time: each stream starts from a zero state."""
        ids = self.heldout[: most + 1]
        streams = max(1, min(streams, (len(ids) - 1) // 256))
        length = (len(ids) - 1) // streams
        if length < 1:
            return math.nan
        rows = torch.arange(length).unsqueeze(1) + torch.arange(streams) * length
        return _pass_over(model, ids[rows], ids[rows + 1], chunk=256)

    def heldout_loss(self, model: LanguageModel, progress: Callable[[int], None] | None = None) -> float:
        """One pass over the whole held-out text with carried state; nats per token, every token counted.

        The state starts at zero; the token before the held-out text, the training text's last, is the first input.
        """
        ids = torch.cat([self.train[-1:], self.heldout]) if len(self.heldout) else self.heldout
        return stream_loss(model, ids, progress)


def stream_loss(model: LanguageModel, ids: Tensor, progress: Callable[[int], None] | None = None) -> float:
    """Mean cross-entropy of ids[1:], nats per token, in one pass with carried state from zero; NaN without any.

    Args:
        model: the language model.
        ids: (N,) tokens of one running text; the first is context only.
        progress: called with the number of tokens just done.
    """
    if len(ids) < 2:
        return math.nan
    return _pass_over(model, ids[:-1].unsqueeze(1), ids[1:].unsqueeze(1), chunk=1024, progress=progress)


@torch.inference_mode()
def _pass_over(
    model: LanguageModel, inputs: Tensor, targets: Tensor, chunk: int, progress: Callable[[int], None] | None = None
) -> float:
    training = model.training
    model.eval()
    total, state = 0.0, None
    chunk = max(1, min(chunk, _MOST_SCORES // (inputs.shape[1] * model.vocabulary_size)))
    for x, y in zip(inputs.split(chunk), targets.split(chunk), strict=True):
        logits, state = model(x, state)
        total += F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum").item()
        if progress is not None:
            progress(y.numel())
    model.train(training)
    return total / targets.numel()
