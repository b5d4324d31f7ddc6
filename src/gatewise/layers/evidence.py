"""The quantities of variational autoencoders, as functions of tensors: divergences, bounds, what a latent carries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.errors import UserError

ACTIVE = 0.01
"""The variance of its mean over the data above which a latent unit counts as active (Burda et al. 2015)."""

MOST_INFORMED = 2048
"""The most sequences that :func:`mutual_information` sets beside each other."""


@dataclass(frozen=True)
class Gaussian:
    """Normal distributions with a diagonal covariance, one a row.

    Attributes:
        mean: (..., Z).
        log_variance: (..., Z), log σ².
    """

    mean: Tensor
    log_variance: Tensor

    def draw(self, generator: torch.Generator | None = None) -> Tensor:
        """z = μ + σ ε with ε ~ N(0, I): a sample through which gradients flow (Kingma and Welling 2013)."""
        return self.mean + (self.log_variance / 2).exp() * normal_like(self.mean, generator)

    def log_density(self, z: Tensor) -> Tensor:
        """log N(z; μ, σ²), summed over the last dimension: (..., Z) -> (...)."""
        squares = (z - self.mean).square() * (-self.log_variance).exp()
        return -0.5 * (squares + self.log_variance + math.log(2 * math.pi)).sum(-1)

    @classmethod
    def standard_like(cls, other: Tensor) -> Gaussian:
        """N(0, I) of a shape."""
        return cls(torch.zeros_like(other), torch.zeros_like(other))


def drawn_on(x: Tensor, generator: torch.Generator | None) -> torch.device:
    """The device on which to draw for x: the generator's, so that a seed draws the same wherever the weights are."""
    return x.device if generator is None else generator.device


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """ε ~ N(0, I) of the shape, type and device of x."""
    where = drawn_on(x, generator)
    return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=where).to(x.device)


def deviation_of(raw: Tensor) -> Tensor:
    """σ = 0.001 + softplus(s): a standard deviation that stays above zero."""
    return 1e-3 + F.softplus(raw)


def divergence(q: Gaussian, p: Gaussian) -> Tensor:
    """KL(q ‖ p) of each dimension in nats, (..., Z): ½ (log σ_p²/σ_q² + (σ_q² + (μ_q − μ_p)²) / σ_p² − 1).

    Example:
        >>> zero = torch.zeros(2)
        >>> divergence(Gaussian(torch.tensor([0.0, 2.0]), zero), Gaussian(zero, zero)).tolist()
        [0.0, 2.0]
    """
    squares = (q.mean - p.mean).square()
    ratio = (q.log_variance.exp() + squares) * (-p.log_variance).exp()
    return 0.5 * (p.log_variance - q.log_variance + ratio - 1)


def free_bits(kl: Tensor, least: float) -> Tensor:
    """Σ_d max(λ, mean over the batch of KL_d): below λ nats a dimension costs nothing more (Kingma et al. 2016).

    The paper, arXiv:1606.04934, takes groups of dimensions; a group here is one dimension.

    Args:
        kl: (B, Z) nats.
        least: λ, nats of a dimension that are free.

    Raises:
        UserError: ``least`` is negative.

    Example:
        >>> free_bits(torch.tensor([[0.1, 3.0], [0.1, 1.0]]), 0.5).item()
        2.5
    """
    if not least >= 0:
        raise UserError(f"free bits: {least} nats of a dimension; want a number of at least 0")
    return kl.mean(0).clamp_min(least).sum()


def importance_bound(log_weights: Tensor) -> Tensor:
    """log (1/K) Σ_k p(x, z_k) / q(z_k | x): a lower bound of log p(x) that rises with K (Burda et al. 2015).

    K = 1 is one sample of the ELBO; arXiv:1509.00519.

    Args:
        log_weights: (K, B), log p(x | z_k) + log p(z_k) − log q(z_k | x).

    Returns:
        (B,) nats.
    """
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def active_units(means: Tensor, threshold: float = ACTIVE) -> int | None:
    """How many latent units say something: those whose mean, E_q[z], has a variance above 0.01 over the data.

    Args:
        means: (N, Z), the mean of q(z | x) for each of N sequences.
        threshold: the variance above which a unit is active (Burda et al. 2015).

    Returns:
        Their number; None where N < 2, which have no variance.

    Example:
        >>> active_units(torch.tensor([[1.0, 0.02], [-1.0, 0.01], [0.5, 0.03]]))
        1
    """
    return int((means.double().var(0) > threshold).sum()) if len(means) > 1 else None


def mutual_information(posteriors: Gaussian, generator: torch.Generator | None = None) -> float:
    """I(x; z) = E_x KL(q(z|x) ‖ p(z)) − KL(q(z) ‖ p(z)) in nats (Hoffman and Johnson 2016), by one sample each.

    It is E[log q(z_n | x_n) − log (1/N) Σ_m q(z_n | x_m)]: what z tells of *which* sequence it came from. The prior
    drops out. N sequences can show at most log N nats. All are set beside all, so of more than 2,048 sequences
    it is that of 2,048 spread over them.

    Args:
        posteriors: q(z | x) of N sequences, (N, Z).
        generator: draws the samples.
    """
    count = min(len(posteriors.mean), MOST_INFORMED)
    chosen = torch.arange(count) * len(posteriors.mean) // count
    posteriors = Gaussian(posteriors.mean[chosen], posteriors.log_variance[chosen])
    z = posteriors.draw(generator)
    own = posteriors.log_density(z)
    each = [
        torch.logsumexp(posteriors.log_density(row), 0)  # (N,): this z under every sequence's posterior
        for row in z
    ]
    return (own - (torch.stack(each) - math.log(len(z)))).mean().item()


def drop_words(tokens: Tensor, rate: float, blank: int, generator: torch.Generator | None = None) -> Tensor:
    """Tokens with ``blank`` in place of each with probability ``rate``: word dropout (Bowman et al. 2015).

    A decoder that cannot lean on the words before must ask the latent; arXiv:1511.06349. This is no dropout of
    features, and has nothing to do with Gal's "variational dropout", which is ``recurrent_dropout`` here.

    Raises:
        UserError: ``rate`` is outside [0, 1].

    Example:
        >>> drop_words(torch.tensor([[4, 5], [6, 7]]), 1.0, blank=0).tolist()
        [[0, 0], [0, 0]]
    """
    check_probability(rate, "word dropout")
    if not rate:
        return tokens
    gone = torch.rand(tokens.shape, generator=generator, device=drawn_on(tokens, generator)) < rate
    return tokens.masked_fill(gone.to(tokens.device), blank)


def check_probability(value: float, name: str) -> None:
    """Raise if a value is no probability."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{name}: {value}; want a probability, at least 0 and at most 1")
