"""The model that a latent is to beat: the same decoder, told nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.data import Padded
from gatewise.layers import SequenceDecoder
from gatewise.layers.stepping import evaluating
from gatewise.tasks.autoencode import LOOK, AutoencodeTask, in_batches, targets_of


class UnconditionalTask:
    """−log p(x) of a :class:`SequenceDecoder` without a latent, on the batches of an autoencoder's task.

    It sees every word before the one to predict: word dropout would only hold it back.
    """

    def __init__(self, task: AutoencodeTask) -> None:
        self._task = task
        self.batch_size, self.unit, self.loss_unit = task.batch_size, task.unit, task.loss_unit

    def batches(self, epoch: int) -> Sequence[Padded]:
        return self._task.batches(epoch)

    def size(self, batch: Padded) -> int:
        return self._task.size(batch)

    def loss(self, model: Any, batch: Padded, state: Any, share: float) -> tuple[Tensor, None]:
        """Nats per step of a sequence."""
        del state, share
        x, lengths = batch
        likelihood = model.log_likelihood(model.emission.frame(x, lengths))
        return -likelihood.mean() / targets_of(model.emission, lengths).mean(), None

    def held_out(self, model: Any) -> dict[str, float]:
        heldout = self._task.heldout[:LOOK]
        return {"loss": measure_unconditional(model, heldout) if len(heldout) else math.nan}

    def figures(self, loss: float) -> dict[str, float]:
        del loss
        return {}


@torch.inference_mode()
def measure_unconditional(
    decoder: SequenceDecoder, sequences: Sequence[Tensor], progress: Callable[[int], None] | None = None
) -> float:
    """−log p(x) of a decoder without a latent; the mean, nats of a sequence."""
    total = 0.0
    for x, lengths in in_batches(sequences, decoder.emission):
        with evaluating(decoder):
            total -= decoder.log_likelihood(decoder.emission.frame(x, lengths)).double().sum().item()
        if progress is not None:
            progress(len(lengths))
    return total / len(sequences)
