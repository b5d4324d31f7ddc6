"""What models with a latent have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatewise.errors import UserError
from gatewise.layers.emission import Emission
from gatewise.layers.evidence import Gaussian, deviation_of


@dataclass(frozen=True)
class Evidence:
    """What an ELBO is made of, for each sequence of a batch.

    Attributes:
        log_likelihood: log p(x | z) for one z ~ q(z | x), (B,) nats: the reconstruction.
        kl: KL(q(z | x) ‖ p(z)) of each latent dimension, summed over time where there is one a step; (B, Z) nats.
        means: the posteriors' means in units of the prior, (μ_q − μ_p) / σ_p, one a row, (N, Z).
    """

    log_likelihood: Tensor
    kl: Tensor
    means: Tensor

    @property
    def elbo(self) -> Tensor:
        """E_q[log p(x | z)] − KL by one sample, a lower bound of log p(x); (B,) nats."""
        return self.log_likelihood - self.kl.sum(-1)


class LatentModel(nn.Module, ABC):
    """p(x, z) and q(z | x) of sequences x: (T, B) whole numbers or (T, B, d) numbers, with lengths (B,) in 1..T.

    Args:
        latent_size: features of z, Z.

    Attributes:
        emission: what a sequence is made of.

    Raises:
        UserError: no latent.
    """

    emission: Emission

    def __init__(self, latent_size: int) -> None:
        super().__init__()
        if latent_size < 1:
            raise UserError(f"a latent of {latent_size} features: want at least 1")
        self.latent_size = latent_size

    @abstractmethod
    def evidence(
        self, x: Tensor, lengths: Tensor, word_dropout: float = 0.0, generator: torch.Generator | None = None
    ) -> Evidence:
        """The parts of the ELBO, by one sample of z.

        Args:
            x: the sequences.
            lengths: (B,).
            word_dropout: probability that a step's value is blanked out where the decoder hears of it.
            generator: draws z; PyTorch's own if None.
        """

    @abstractmethod
    def log_weights(self, x: Tensor, lengths: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """log p(x, z_k) − log q(z_k | x), (K, B) nats; for :func:`gatewise.layers.importance_bound`."""

    @abstractmethod
    def reconstruct(self, x: Tensor, lengths: Tensor, most: int) -> list[Tensor]:
        """What the decoder writes from the posterior's mean, always the likeliest value; ``most`` steps at most."""

    @abstractmethod
    def sample(
        self, count: int, most: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> list[Tensor]:
        """Sequences of at most ``most`` steps from z ~ p(z), step by step at a temperature; 0 is the likeliest."""


class GaussianHead(nn.Module):
    """Features to a diagonal Gaussian: μ = A f + a, σ = 0.001 + softplus(B f + b), which stays above zero."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * size)

    def forward(self, features: Tensor) -> Gaussian:
        mean, raw = self.linear(features).chunk(2, -1)
        return Gaussian(mean, 2 * deviation_of(raw).log())
