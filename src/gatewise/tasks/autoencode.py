"""The autoencoding task: sequences to latents and back, on the evidence lower bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gatewise.data import Bunches, Padded
from gatewise.errors import UserError
from gatewise.layers import (
    Emission,
    LatentModel,
    active_units,
    check_probability,
    free_bits,
)
from gatewise.layers.stepping import evaluating
from gatewise.tasks.annealing import Annealing

LOOK = 1024  # held-out sequences of a quick look
_MEASURED = 128  # sequences of a batch while measuring
_MOST_SCORES = 1 << 25  # of such a batch: 128 MB of them


@dataclass(frozen=True)
class Objective:
    """What is minimised: −E_q[log p(x | z)] + w(share) Σ_d max(λ, KL_d), the decoder's words partly blanked out.

    Attributes:
        annealing: the weight w of the KL term over the training.
        free_bits: λ, nats of a latent dimension that cost nothing.
        word_dropout: probability that the decoder does not see the word before.

    Raises:
        UserError: a rate outside [0, 1], a negative λ.
    """

    annealing: Annealing = field(default_factory=Annealing)
    free_bits: float = 0.8
    word_dropout: float = 0.1

    def __post_init__(self) -> None:
        check_probability(self.word_dropout, "--word-dropout")
        if not 0 <= self.free_bits < math.inf:
            raise UserError(f"--free-bits {self.free_bits}: want nats of a latent dimension, at least 0")


class AutoencodeTask:
    """Training a variational model of sequences of their own, measured on held-out ones.

    Args:
        train: sequences to learn, (n_i,) tokens or (n_i, d) numbers each.
        heldout: sequences to measure on; may be empty.
        batch_size: sequences of a batch, B.
        objective: what is minimised.
        unit: what the steps of a sequence are called.
        seed: fixes every epoch's batches.

    Example:
        >>> import torch
        >>> from gatewise.layers import SequenceVAE, TokenEmission
        >>> lines = [torch.tensor([0, 1, 2]), torch.tensor([2, 1])]
        >>> task = AutoencodeTask(lines, lines, 2)
        >>> model = SequenceVAE(TokenEmission(3, 4), "gru", hidden_size=5, latent_size=2)
        >>> loss, _ = task.loss(model, task.batches(0)[0], None, share=0.5)
        >>> sorted(task.held_out(model))
        ['active_units', 'elbo', 'kl', 'loss', 'reconstruction']
    """

    def __init__(
        self,
        train: Sequence[Tensor],
        heldout: Sequence[Tensor],
        batch_size: int,
        objective: Objective | None = None,
        unit: str = "tokens",
        seed: int = 0,
    ) -> None:
        self.train, self.heldout = train, heldout
        self.batch_size, self.seed = batch_size, seed
        self.objective = objective or Objective()
        self.unit = unit
        self.loss_unit = f"nats per {unit.removesuffix('s')}"

    def batches(self, epoch: int) -> Sequence[Padded]:
        """The epoch's batches; the same for the same seed and epoch, whatever came before."""
        return Bunches.drawn(self.train, self.batch_size, epoch_generator(self.seed, epoch))

    def size(self, batch: Padded) -> int:
        """Steps of a batch, padding not counted."""
        return int(batch[1].sum())

    def loss(self, model: Any, batch: Padded, state: Any, share: float) -> tuple[Tensor, None]:
        """The objective in nats per step of a sequence; ``share`` of the training is behind."""
        del state  # no sequence goes on from another
        x, lengths = batch
        objective = self.objective
        found = model.evidence(x, lengths, objective.word_dropout)
        price = objective.annealing(share) * free_bits(found.kl, objective.free_bits)
        return (price - found.log_likelihood.mean()) / targets_of(model.emission, lengths).mean(), None

    def held_out(self, model: Any) -> dict[str, float]:
        """A quick look at the full bound, without annealing, free bits or word dropout, on at most 1,024 sequences.

        ``loss`` is −ELBO in nats per step; the rest is in nats of a sequence.
        """
        if not len(self.heldout):
            return {"loss": math.nan}
        figures = measure(model, self.heldout[:LOOK]).figures()
        return {name: value for name, value in figures.items() if value is not None}

    def figures(self, loss: float) -> dict[str, float]:
        """Nothing: the annealed objective says nothing else."""
        del loss
        return {}


@dataclass(frozen=True)
class Measured:
    """The parts of the ELBO over many sequences, nats of a sequence.

    Attributes:
        reconstruction: −E_q[log p(x | z)], the mean.
        kl: KL(q(z | x) ‖ p(z)), the mean, of each latent dimension, (Z,).
        active: latent units whose mean varies over the data; None where a single mean cannot vary.
        steps: the mean number of a sequence's targets.
    """

    reconstruction: float
    kl: Tensor
    active: int | None
    steps: float

    @property
    def elbo(self) -> float:
        return -self.reconstruction - self.kl.sum().item()

    def figures(self) -> dict[str, Any]:
        return {
            "loss": -self.elbo / self.steps, "elbo": self.elbo, "reconstruction": self.reconstruction,
            "kl": self.kl.sum().item(), "active_units": self.active,
        }  # fmt: skip


@torch.inference_mode()
def measure(model: LatentModel, sequences: Sequence[Tensor], progress: Callable[[int], None] | None = None) -> Measured:
    """The ELBO's parts by one sample of z for each sequence; the same numbers on every call."""
    generator = torch.Generator().manual_seed(0)
    likelihoods, kls, means, steps = [], [], [], 0.0
    for x, lengths in in_batches(sequences, model.emission):
        with evaluating(model):
            found = model.evidence(x, lengths, generator=generator)
        likelihoods.append(found.log_likelihood.double())
        kls.append(found.kl.double())
        means.append(found.means)
        steps += targets_of(model.emission, lengths).sum().item()
        if progress is not None:
            progress(len(lengths))
    reconstruction = -torch.cat(likelihoods).mean().item()
    return Measured(reconstruction, torch.cat(kls).mean(0), active_units(torch.cat(means)), steps / len(sequences))


def in_batches(sequences: Sequence[Tensor], emission: Emission) -> Sequence[Padded]:
    """Batches to measure on, none with more scores than memory has room for."""
    longest = max(map(len, sequences)) + 1
    return Bunches.in_order(sequences, max(1, min(_MEASURED, _MOST_SCORES // (longest * emission.output_size))))


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """Draws an epoch's batches."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % (1 << 63))


def targets_of(emission: Emission, lengths: Tensor) -> Tensor:
    """What is predicted of each sequence: its steps, and its end where the model finds it."""
    return (lengths + emission.finds_end).double()
