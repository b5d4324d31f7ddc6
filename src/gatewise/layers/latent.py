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
        emission: what a sequence is made of, :class:`TokenEmission` or :class:`SeriesEmission`.
        cell: name, class or instance of a cell, of all recurrent layers; or a list of them, one a layer.
        hidden_size: units of a layer, H; or a list, one a layer.
        latent_size: features of z, Z.
        num_layers: recurrent layers; by default as many as are listed, or 1.
        dropout: on what enters the layers that write and before the head, while training.
        options: of the recurrent layers, as :class:`gatewise.Recurrent` has them.

    These are every model's; this class itself takes ``latent_size`` alone.

    Shapes:
        ``model.evidence(x, lengths) -> Evidence``: x (T, B) whole numbers or (T, B, d) numbers, lengths (B,) in 1..T.

    Attributes:
        emission: what a sequence is made of.

    Raises:
        UserError: no latent; a batch of another kind than the emission's, or lengths outside 1 ... T.
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
            x: the sequences, (T, B) or (T, B, d).
            lengths: (B,).
            word_dropout: probability that a step's value is blanked out where what writes hears of it.
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
