"""The VRNN against its paper's formulas in NumPy, with the same noise."""

import math

import numpy as np
import pytest
import torch
from latent_models import LENGTHS, double

from gatewise.layers import VRNN, SeriesEmission, TokenEmission, importance_bound

V, H, Z = 4, 5, 2
TOKENS = torch.tensor([[0, 3, 2], [3, 1, 2], [2, 2, 0], [1, 0, 0]])


def vrnn(emission, cell="gru", seed=0, scale=0.6):
    return double(VRNN(emission, cell, H, Z, engine="eager"), scale, seed)


class ByHand:
    """Chung et al. 2015, equations 5 to 11, for one sequence, with the noise of each step given."""

    def __init__(self, model):
        self.p = {name: tensor.detach().numpy() for name, tensor in model.named_parameters()}

    def relu(self, name, value):
        return np.maximum(self.p[f"{name}.0.weight"] @ value + self.p[f"{name}.0.bias"], 0)

    def gaussian(self, name, h):
        value = self.p[f"{name}.1.linear.weight"] @ self.relu(f"{name}.0", h) + self.p[f"{name}.1.linear.bias"]
        mean, raw = np.split(value, 2)
        return mean, 0.001 + np.log1p(np.exp(raw))

    def recur(self, x, h):
        p = self.p
        i = p["recurrent.weight_ih_l0"] @ x + p["recurrent.bias_ih_l0"]
        g = p["recurrent.weight_hh_l0"] @ h + p["recurrent.bias_hh_l0"]
        r, z = (1 / (1 + np.exp(-(i[k * H : (k + 1) * H] + g[k * H : (k + 1) * H]))) for k in range(2))
        n = np.tanh(i[2 * H :] + r * g[2 * H :])
        return (1 - z) * n + z * h

    def walk(self, features, targets, noise, log_probability):
        """(Σ log p(x_t | …), Σ KL_t of each dimension, Σ log p(z_t) − log q(z_t))."""
        h, likelihood, kl, ratio = np.zeros(H), 0.0, np.zeros(Z), 0.0
        for x, target, epsilon in zip(features, targets, noise, strict=True):
            x = self.relu("features_x", x)
            m_p, s_p = self.gaussian("prior", h)
            m_q, s_q = self.gaussian("encoder", np.concatenate([x, h]))
            z = m_q + s_q * epsilon
            of_z = self.relu("features_z", z)
            hidden = self.relu("decoder.0", np.concatenate([of_z, h]))
            likelihood += log_probability(self.p["decoder.1.weight"] @ hidden + self.p["decoder.1.bias"], target)
            kl += np.log(s_p / s_q) + (s_q**2 + (m_q - m_p) ** 2) / (2 * s_p**2) - 0.5
            ratio += (-0.5 * ((z - m_p) / s_p) ** 2 - np.log(s_p) + 0.5 * epsilon**2 + np.log(s_q)).sum()
            h = self.recur(np.concatenate([x, of_z]), h)
        return likelihood, kl, ratio


def noise_of(steps, batch, seed):
    """What a model draws: a step after the other, all rows at once."""
    generator = torch.Generator().manual_seed(seed)
    return np.stack([torch.randn(batch, Z, generator=generator, dtype=torch.float64).numpy() for _ in range(steps)])


def log_softmax(output, target):
    return output[target] - math.log(np.exp(output).sum())


def log_normal(output, target):
    mean, raw = np.split(output, 2)
    sigma = 0.001 + np.log1p(np.exp(raw))
    return (-0.5 * ((target - mean) / sigma) ** 2 - np.log(sigma) - 0.5 * math.log(2 * math.pi)).sum()


def test_tokens_are_those_of_the_papers_formulas():
    model = vrnn(TokenEmission(V, 3))
    hand = ByHand(model)
    found = model.evidence(TOKENS, LENGTHS, 0.0, torch.Generator().manual_seed(7))
    weights = model.log_weights(TOKENS, LENGTHS, 1, torch.Generator().manual_seed(7))
    noise = noise_of(5, 3, 7)
    for row, length in enumerate(LENGTHS.tolist()):
        written = [*TOKENS[:length, row].tolist(), V]  # and the end
        features = [hand.p["emission.embedding.weight"][token] for token in written]
        likelihood, kl, ratio = hand.walk(features, written, noise[: length + 1, row], log_softmax)
        assert found.log_likelihood[row].item() == pytest.approx(likelihood, abs=1e-10)
        np.testing.assert_allclose(found.kl[row].detach(), kl, atol=1e-10)
        assert importance_bound(weights)[row].item() == pytest.approx(likelihood + ratio, abs=1e-10)


def test_series_are_those_of_the_papers_formulas():
    model = vrnn(SeriesEmission(2), scale=0.4)
    hand = ByHand(model)
    x = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = model.evidence(x, LENGTHS, 0.0, torch.Generator().manual_seed(7))
    noise = noise_of(4, 3, 7)
    for row, length in enumerate(LENGTHS.tolist()):
        values = list(x[:length, row].numpy())
        likelihood, kl, _ = hand.walk(values, values, noise[:length, row], log_normal)
        assert found.log_likelihood[row].item() == pytest.approx(likelihood, abs=1e-10)
        np.testing.assert_allclose(found.kl[row].detach(), kl, atol=1e-10)
    assert len(found.means) == int(LENGTHS.sum())  # padding is no datum


def test_layers_may_differ():
    model = VRNN(TokenEmission(V, 3), ["lstm", "gru"], [6, H], Z, engine="eager")
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert shapes["features_x.0.weight"] == (H, 3)
    assert shapes["recurrent.weight_ih_l1"] == (3 * H, 6)
    assert model.evidence(TOKENS, LENGTHS).elbo.shape == (3,)
    assert len(model.sample(2, 5)) == 2


def test_a_learned_start_is_what_prior_and_encoder_hear_first():
    model = VRNN(TokenEmission(V, 3), "lstm", H, Z, learned_state=True, engine="eager")
    assert not model.start(2)[0].any()
    with torch.no_grad():
        model.recurrent.get_parameter("initial_h_l0").fill_(0.5)
    assert bool((model.start(2)[0] == 0.5).all())
    model.evidence(TOKENS, LENGTHS).elbo.sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum()) for p in model.recurrent.parameters())


def test_word_dropout_hides_words_from_the_recurrence_and_not_from_the_encoder():
    """The first step hears of nothing before it: its part of the KL stays, the others' changes."""
    model = vrnn(TokenEmission(V, 3))
    one_step = TOKENS[:1, :1], torch.tensor([1])
    seeds = [torch.Generator().manual_seed(3) for _ in range(4)]
    plain, dropped = (model.evidence(TOKENS, LENGTHS, rate, s) for rate, s in zip((0.0, 1.0), seeds[:2], strict=True))
    assert not torch.allclose(plain.kl, dropped.kl)
    assert torch.equal(plain.means[:3], dropped.means[:3])  # step 0 of the three rows
    assert not torch.allclose(plain.means[3:], dropped.means[3:])
    assert model.evidence(*one_step, 0.0, seeds[2]).kl.shape == (1, Z)


def test_samples_come_from_prior_and_decoder():
    model = vrnn(SeriesEmission(1, "unit"))
    draws = model.sample(4000, 1, 1.0, torch.Generator().manual_seed(0))
    first = torch.stack(draws)[:, 0, 0]
    hand = ByHand(model)
    mean, sigma = hand.gaussian("prior", np.zeros(H))
    generator = np.random.default_rng(0)
    outputs = [
        hand.p["decoder.1.weight"]
        @ hand.relu("decoder.0", np.concatenate([hand.relu("features_z", mean + sigma * e), np.zeros(H)]))
        + hand.p["decoder.1.bias"]
        for e in generator.standard_normal((4000, Z))
    ]
    wanted = np.concatenate(outputs) + generator.standard_normal(4000)
    assert first.mean().item() == pytest.approx(wanted.mean(), abs=5 * wanted.std() / 4000**0.5)
    assert first.std().item() == pytest.approx(wanted.std(), rel=0.06)
    again = model.sample(4000, 1, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(torch.stack(again)[:, 0, 0], first)


def test_a_reconstruction_is_the_decoders_likeliest_words_under_the_posteriors_means():
    model = vrnn(TokenEmission(V, 3))
    hand = ByHand(model)
    rows = model.reconstruct(TOKENS, LENGTHS, most=10)
    embedding = hand.p["emission.embedding.weight"]
    for row, length in enumerate(LENGTHS.tolist()):
        h, wanted = np.zeros(H), []
        for token in [*TOKENS[:length, row].tolist(), V]:
            shown = hand.relu("features_x", embedding[token])
            mean, _ = hand.gaussian("encoder", np.concatenate([shown, h]))
            of_z = hand.relu("features_z", mean)
            hidden = hand.relu("decoder.0", np.concatenate([of_z, h]))
            wanted.append(int((hand.p["decoder.1.weight"] @ hidden + hand.p["decoder.1.bias"]).argmax()))
            if wanted[-1] == V:
                break
            h = hand.recur(np.concatenate([hand.relu("features_x", embedding[wanted[-1]]), of_z]), h)
        assert rows[row].tolist()[: length + 1] == [token for token in wanted if token != V]


def test_a_lines_reconstruction_is_its_own_whatever_stands_beside_it():
    model = vrnn(TokenEmission(V, 3), seed=3, scale=1.5)
    with torch.no_grad():
        dict(model.named_parameters())["decoder.1.bias"][V] -= 50.0  # it never ends by itself
    beside = model.reconstruct(TOKENS, LENGTHS, 80)
    assert [len(text) for text in beside] == [5, 3, 2]  # one more than the line has
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model.reconstruct(TOKENS[:length, row : row + 1], LENGTHS[row : row + 1], 80)[0]
        assert torch.equal(beside[row], alone)
