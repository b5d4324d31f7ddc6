"""Divergences and bounds against torch.distributions, samples and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gatewise import UserError
from gatewise.layers import Gaussian, active_units, divergence, free_bits, importance_bound, mutual_information
from gatewise.layers.evidence import drop_words


def gaussian(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)]
    return Gaussian(draw[0], draw[1])


def as_torch(g):
    return Normal(g.mean, (g.log_variance / 2).exp())


def test_the_divergence_is_that_of_torch_distributions():
    q, p = gaussian(1, 5, 3), gaussian(2, 5, 3)
    torch.testing.assert_close(divergence(q, p), kl_divergence(as_torch(q), as_torch(p)), atol=1e-12, rtol=0)


def test_the_divergence_is_the_mean_of_the_log_ratio():
    q, p = gaussian(1, 3), gaussian(2, 3)
    many = Gaussian(q.mean.expand(200_000, 3), q.log_variance.expand(200_000, 3))
    z = many.draw(torch.Generator().manual_seed(0))
    ratio = q.log_density(z) - p.log_density(z)
    error = ratio.std() / len(z) ** 0.5
    assert abs(ratio.mean() - divergence(q, p).sum()) < 4 * error


def test_the_log_density_is_that_of_torch_distributions():
    q = gaussian(3, 4, 6)
    z = gaussian(4, 4, 6).mean
    torch.testing.assert_close(q.log_density(z), as_torch(q).log_prob(z).sum(-1), atol=1e-12, rtol=0)


def test_draws_have_the_mean_and_variance_and_pass_gradients():
    mean = torch.tensor([1.0, -2.0], requires_grad=True)
    log_variance = torch.tensor([0.5, -1.0], requires_grad=True)
    z = Gaussian(mean.expand(100_000, 2), log_variance.expand(100_000, 2)).draw(torch.Generator().manual_seed(0))
    np.testing.assert_allclose(z.mean(0).detach(), mean.detach(), atol=0.02)
    np.testing.assert_allclose(z.var(0).detach(), log_variance.detach().exp(), rtol=0.02)
    z.square().mean(0).sum().backward()  # E z² = μ² + σ²: by μ it is 2 μ, by log σ² it is σ²
    assert mean.grad is not None
    assert log_variance.grad is not None
    np.testing.assert_allclose(mean.grad, 2 * mean.detach(), atol=0.05)
    np.testing.assert_allclose(log_variance.grad, log_variance.detach().exp(), atol=0.05)


def test_free_bits_hold_the_mean_of_each_dimension_not_each_sequence():
    kl = torch.tensor([[0.0, 4.0, 0.1], [1.0, 0.0, 0.1]], requires_grad=True)
    price = free_bits(kl, 0.6)
    assert price.item() == pytest.approx(0.6 + 2.0 + 0.6)
    price.backward()
    assert kl.grad is not None
    assert kl.grad.tolist() == [[0.0, 0.5, 0.0], [0.0, 0.5, 0.0]]  # below λ nothing pulls
    assert free_bits(kl, 0.0).item() == pytest.approx(kl.sum(1).mean().item())
    with pytest.raises(UserError, match="free bits"):
        free_bits(kl, -0.1)


class LinearGaussian:
    """p(z) = N(0, 1), p(x | z) = N(a z + b, s²), so p(x) = N(b, a² + s²); q is not the posterior."""

    a, b, s = 1.5, 0.3, 0.7

    def __init__(self, x):
        self.x = x
        self.q = Gaussian(0.5 * x[:, None], torch.full((len(x), 1), math.log(0.3), dtype=x.dtype))

    def log_evidence(self):
        return Normal(self.b, (self.a**2 + self.s**2) ** 0.5).log_prob(self.x)

    def log_weights(self, samples, seed):
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for _ in range(samples):
            z = self.q.draw(generator)
            likelihood = Normal(self.a * z[:, 0] + self.b, self.s).log_prob(self.x)
            rows.append(likelihood + Normal(0.0, 1.0).log_prob(z[:, 0]) - self.q.log_density(z))
        return torch.stack(rows)

    def elbo(self):
        """By hand: E_q[log p(x|z)] = log N(x; a μ + b, s²) − a² σ² / 2 s²."""
        mean, variance = self.q.mean[:, 0], self.q.log_variance[:, 0].exp()
        likelihood = Normal(self.a * mean + self.b, self.s).log_prob(self.x) - self.a**2 * variance / (2 * self.s**2)
        return likelihood - 0.5 * (mean**2 + variance - 1 - variance.log())


def test_the_importance_bound_rises_from_the_elbo_to_the_evidence():
    model = LinearGaussian(torch.tensor([-2.0, 0.1, 1.7], dtype=torch.float64).repeat(4000))
    truth = model.log_evidence().mean().item()
    bounds = {k: importance_bound(model.log_weights(k, seed=k)).mean().item() for k in (1, 4, 16, 128)}
    assert bounds[1] == pytest.approx(model.elbo().mean().item(), abs=0.03)
    assert bounds[1] < bounds[4] < bounds[16] < bounds[128] < truth + 0.002
    assert bounds[128] == pytest.approx(truth, abs=0.02)
    assert truth - bounds[1] > 0.15


def test_one_sample_of_the_importance_bound_is_the_sample_itself():
    weights = torch.tensor([[1.5, -300.0]])
    assert importance_bound(weights).tolist() == [1.5, -300.0]
    two = torch.tensor([[0.0], [math.log(3.0)]])
    assert importance_bound(two).item() == pytest.approx(math.log(2.0))


def test_active_units_vary_over_the_data():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(5000, 4, generator=generator) * torch.tensor([1.0, 0.13, 0.07, 0.0]) + 5.0
    assert active_units(means) == 2  # variances 1, 0.017, 0.005, 0
    assert active_units(means[:1]) is None


def test_mutual_information_of_posteriors_far_apart_and_of_equal_ones():
    apart = Gaussian(100.0 * torch.arange(50.0).unsqueeze(1), torch.zeros(50, 1))
    assert mutual_information(apart) == pytest.approx(math.log(50), abs=1e-4)  # z tells which of 50
    many = Gaussian(100.0 * torch.arange(2500.0).unsqueeze(1), torch.zeros(2500, 1))
    assert mutual_information(many) == pytest.approx(math.log(2048), abs=1e-4)  # as many as are looked at
    same = Gaussian(torch.zeros(50, 1), torch.zeros(50, 1))
    assert mutual_information(same) == pytest.approx(0.0, abs=1e-4)


def test_mutual_information_of_a_gaussian_channel():
    """x ~ N(0, 3), z = x + N(0, 1): I = ½ log(1 + 3)."""
    generator = torch.Generator().manual_seed(1)
    x = 3**0.5 * torch.randn(3000, 1, generator=generator)
    assert mutual_information(Gaussian(x, torch.zeros(3000, 1)), generator) == pytest.approx(
        0.5 * math.log(4), abs=0.05
    )


def test_words_are_dropped_at_their_rate_by_the_seed():
    tokens = torch.arange(1, 20_001).view(100, 200)
    dropped = drop_words(tokens, 0.3, 0, torch.Generator().manual_seed(5))
    gone = dropped == 0
    assert gone.double().mean().item() == pytest.approx(0.3, abs=0.015)
    assert torch.equal(dropped[~gone], tokens[~gone])
    assert torch.equal(dropped, drop_words(tokens, 0.3, 0, torch.Generator().manual_seed(5)))
    assert torch.equal(drop_words(tokens, 0.0, 0), tokens)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan, True, "0.3"])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(UserError, match="word dropout"):
        drop_words(torch.tensor([1]), rate, 0)
