"""The sequence VAE against integrals, hand-made sums and what is written."""

import math

import numpy as np
import pytest
import torch
from latent_models import LENGTHS, TOKENS, V, double, read_by

from gatewise import UserError
from gatewise.layers import (
    SequenceDecoder,
    SequenceVAE,
    SeriesEmission,
    TokenEmission,
    importance_bound,
)


def token_vae(cell="gru", latent=2, layers=1, bidirectional=True, scale=0.8):
    return double(SequenceVAE(TokenEmission(V, 3), cell, 6, latent, layers, bidirectional, engine="eager"), scale)


def softmax(o):
    e = np.exp(o - o.max())
    return e / e.sum()


def gru_step(x, h, weights):
    """torch.nn.GRU's equations, one row."""
    W, U, b, c = weights
    i, g = W @ x + b, U @ h + c
    H = len(h)
    r, z = (1 / (1 + np.exp(-(i[k * H : (k + 1) * H] + g[k * H : (k + 1) * H]))) for k in range(2))
    n = np.tanh(i[2 * H :] + r * g[2 * H :])
    return (1 - z) * n + z * h


def numpy_of(module):
    return {name: tensor.detach().numpy() for name, tensor in module.named_parameters()}


def log_likelihood_by_hand(model, sequence, z):
    """Σ_t log p(x_t | x_<t, z) and the end, from the formula: BEGIN and the words in, the words and END out."""
    p = numpy_of(model.decoder)
    weights = tuple(p[f"recurrent.{n}_l0"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h = np.tanh(p["initial.weight"] @ z + p["initial.bias"])
    total = 0.0
    for seen, wanted in zip([V + 1, *sequence], [*sequence, V], strict=True):
        h = gru_step(np.concatenate([p["emission.embedding.weight"][seen], z]), h, weights)
        total += math.log(softmax(p["head.weight"] @ h + p["head.bias"])[wanted])
    return total


def test_the_reconstruction_is_the_sum_of_each_words_cross_entropy():
    model = token_vae()
    z = torch.randn(3, 2, dtype=torch.float64)
    found = model.log_likelihood(TOKENS, LENGTHS, z)
    for row, length in enumerate(LENGTHS.tolist()):
        wanted = log_likelihood_by_hand(model, TOKENS[:length, row].tolist(), z[row].numpy())
        assert found[row].item() == pytest.approx(wanted, abs=1e-10)


def test_the_posterior_reads_each_sequence_from_both_ends():
    model = token_vae()
    p = numpy_of(model)
    q = model.posterior(TOKENS, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        ends = []
        for suffix, order in (("", slice(None)), ("_reverse", slice(None, None, -1))):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = tuple(p[f"encoder.{n}_l0{suffix}"] for n in names)
            h = np.zeros(6)
            for token in TOKENS[:length, row].tolist()[order]:
                h = gru_step(p["decoder.emission.embedding.weight"][token], h, weights)
            ends.append(h)
        mean, raw = np.split(p["head.linear.weight"] @ np.concatenate(ends) + p["head.linear.bias"], 2)
        np.testing.assert_allclose(q.mean[row].detach(), mean, atol=1e-10)
        sigma = 0.001 + np.log1p(np.exp(raw))
        np.testing.assert_allclose((q.log_variance[row] / 2).exp().detach(), sigma, atol=1e-10)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_posterior_comes_from_the_topmost_layer(bidirectional):
    model = token_vae(layers=2, bidirectional=bidirectional)
    embedding = model.get_parameter("decoder.emission.embedding.weight")
    output, _ = model.encoder(TOKENS, lengths=LENGTHS, embedding=embedding)
    ends = output[LENGTHS - 1, torch.arange(3), :6]
    if bidirectional:
        ends = torch.cat([ends, output[0, :, 6:]], -1)
    torch.testing.assert_close(model.posterior(TOKENS, LENGTHS).mean, model.head(ends).mean)


def log_evidence(log_likelihood):
    """log ∫ p(x | z) N(z; 0, 1) dz by the trapezium rule; ``log_likelihood`` takes many z, (G, 1)."""
    z = torch.linspace(-9, 9, 3001, dtype=torch.float64)
    log_prior = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
    joint = log_likelihood(z.unsqueeze(1)) + log_prior
    return (torch.logsumexp(joint, 0) + math.log(18 / 3000)).item()


@pytest.mark.parametrize("kind", ["tokens", "series"])
def test_the_bounds_stay_below_the_integral_and_reach_it(kind):
    if kind == "tokens":
        model, x = token_vae(latent=1, scale=0.5), torch.tensor([[3], [0], [2]])
    else:
        model = double(SequenceVAE(SeriesEmission(2), "gru", 4, 1, engine="eager"), 0.3)
        x = torch.randn(3, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    length = torch.tensor([3])

    def likelihood(z):
        return model.log_likelihood(x.expand(3, len(z), *x.shape[2:]), length.expand(len(z)), z)

    many = x.repeat(1, 400, *[1] * (x.dim() - 2)), length.repeat(400)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        truth = log_evidence(likelihood)
        elbo = torch.stack([model.evidence(*many, generator=generator).elbo for _ in range(20)]).mean().item()
        weights = model.log_weights(*many, 512, generator)
        # By integration again: E_q[log p(x | z)] − KL, with q's density on the same grid.
        q = model.posterior(x, length)
        z = torch.linspace(-9, 9, 3001, dtype=torch.float64).unsqueeze(1)
        density = q.log_density(z).exp()
        log_prior = -0.5 * z[:, 0].square() - 0.5 * math.log(2 * math.pi)
        exact = (density * (likelihood(z) + log_prior - q.log_density(z))).sum().item() * 18 / 3000
    elbo_too = weights.mean().item()  # every sample of the bound with K = 1
    bounds = [importance_bound(weights[:k]).mean().item() for k in (1, 16, 512)]
    assert exact < truth
    assert elbo == pytest.approx(exact, abs=0.1)
    assert elbo_too == pytest.approx(exact, abs=0.05)
    assert bounds[0] < bounds[1] < bounds[2] <= truth + 0.01
    assert truth - bounds[2] < 0.5 * (truth - bounds[0]) + 0.01


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("of", ["tokens", "learned", "unit"])
def test_a_sequence_beside_longer_ones_is_as_alone(cell, of):
    model, x, _ = read_by("vae", of, cell, layers=2)
    together, alone = model.evidence(x, LENGTHS).kl[1], model.evidence(x[:2, 1:2], LENGTHS[1:2]).kl[0]
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("cell", "sizes"), [(["lstm", "gru"], [6, 4]), ("gru", [5, 7]), ("lstm", [4, 4])], ids=["cells", "sizes", "alike"]
)
def test_the_latent_starts_every_state_of_layers_that_differ(cell, sizes):
    """Each number of each state is one row of the map: with rows apart by a sign, so are they."""
    model = double(SequenceVAE(TokenEmission(V, 3), cell, sizes, 2, engine="eager"))
    z = torch.randn(3, 2, dtype=torch.float64)
    layer, initial = model.decoder.recurrent, model.decoder.initial
    assert initial is not None
    flat = layer.layout.given(model.decoder.initial_state(z))
    wanted = torch.tanh(z @ initial.weight.T + initial.bias)
    start = 0
    for state, (_, rows, size) in zip(flat, layer.layout.rows, strict=True):
        for row in range(rows):
            torch.testing.assert_close(state[row], wanted[:, start : start + size])
            start += size
    assert start == wanted.shape[1]
    found = model.evidence(TOKENS, LENGTHS)
    found.elbo.sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum()) for p in model.parameters())
    assert len(model.sample(2, most=4)) == 2


def test_series_are_gaussian_with_the_decoders_variance_or_one():
    x = torch.randn(3, 2, 2, dtype=torch.float64)
    framed = SeriesEmission(2).frame(x, torch.tensor([3, 2]))
    output = torch.randn(3, 2, 4, dtype=torch.float64)
    sigma = 0.001 + np.log1p(np.exp(output[..., 2:].numpy()))
    squares = ((framed.targets.numpy() - output[..., :2].numpy()) / sigma) ** 2
    wanted = (-0.5 * squares - np.log(sigma) - 0.5 * np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(SeriesEmission(2).log_probability(output, framed.targets), wanted, atol=1e-12)
    unit = SeriesEmission(2, "unit").log_probability(output[..., :2], framed.targets)
    squares = (framed.targets.numpy() - output[..., :2].numpy()) ** 2
    np.testing.assert_allclose(unit, (-0.5 * squares - 0.5 * np.log(2 * np.pi)).sum(-1), atol=1e-12)
    assert torch.equal(framed.inputs[1:], framed.targets[:-1])
    assert not framed.inputs[0].any()


def test_word_dropout_hides_words_from_the_decoder_alone_and_not_the_beginning():
    model = token_vae()
    seen = []
    model.decoder.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    torch.manual_seed(0)
    posterior = model.posterior(TOKENS, LENGTHS)
    model.evidence(TOKENS, LENGTHS, word_dropout=1.0)
    assert seen[0][0].tolist() == [V + 1] * 3
    assert bool((seen[0][1:] == V + 2).all())
    assert torch.equal(model.posterior(TOKENS, LENGTHS).mean, posterior.mean)


def test_what_is_written_is_the_likeliest_word_at_every_step():
    model = token_vae("lstm", layers=2)
    z = model.posterior(TOKENS, LENGTHS).mean.detach()
    texts = model.reconstruct(TOKENS, LENGTHS, most=12)
    for row, text in enumerate(texts):
        text = text.tolist()
        assert len(text) <= 12
        inputs = torch.tensor([[V + 1], *([token] for token in text)])
        output = model.decoder(inputs, z[row : row + 1])[:, 0]
        likeliest = output.argmax(-1).tolist()
        assert likeliest[: len(text)] == text
        if len(text) < 12:
            assert likeliest[len(text)] == V  # the end


def test_samples_follow_the_seed_and_the_model():
    model = token_vae()
    one, same, other = (
        [t.tolist() for t in model.sample(20, 9, 1.0, torch.Generator().manual_seed(s))] for s in (1, 1, 2)
    )
    assert one == same
    assert one != other
    draws = model.decoder.write(torch.zeros(4000, 2, dtype=torch.float64), 1, 1.0, torch.Generator().manual_seed(0))
    first = torch.tensor([int(t[0]) if len(t) else V for t in draws])
    output = model.decoder(torch.tensor([[V + 1]]), torch.zeros(1, 2, dtype=torch.float64))[0, 0]
    found = torch.bincount(first, minlength=V + 1) / 4000
    np.testing.assert_allclose(found, output.softmax(-1).detach(), atol=0.03)


def test_without_a_latent_it_is_a_language_model():
    decoder = double(SequenceDecoder(TokenEmission(V, 3), "gru", 6, 0, engine="eager"))
    framed = decoder.emission.frame(TOKENS, LENGTHS)
    everything = 0.0  # all texts of at most two words, and their ends: what is left must go on
    with torch.no_grad():
        texts = [[a, b] for a in range(V) for b in range(V)]
        for words in (1, 2):
            lines = torch.tensor(texts)[:, :words].unique(dim=0).T
            everything += (
                decoder.log_likelihood(decoder.emission.frame(lines, torch.full((lines.shape[1],), words)))
                .exp()
                .sum()
                .item()
            )
        output = decoder(framed.inputs[:1, :1])[0, 0].softmax(-1)
    assert 0 < everything < 1 - output[V].item()
    assert decoder.log_likelihood(framed).shape == (3,)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="latent of 0"):
        SequenceVAE(TokenEmission(V, 3), "gru", 4, 0)
    with pytest.raises(UserError, match="did you mean 'learned'"):
        SeriesEmission(2, "learnt")
    with pytest.raises(UserError, match="whole numbers"):
        token_vae().posterior(torch.zeros(3, 2), torch.tensor([3, 3]))
    with pytest.raises(UserError, match="outside 0"):
        token_vae().posterior(torch.tensor([[V + 1]]), torch.tensor([1]))
    with pytest.raises(UserError, match=r"outside 0 \.\.\. 4"):  # the end is no token that a line has
        token_vae().posterior(torch.tensor([[V]]), torch.tensor([1]))
    assert TokenEmission(V, 3).frame(torch.tensor([[0], [V]]), torch.tensor([1])).targets.tolist() == [[0], [V], [V]]
    with pytest.raises(UserError, match="gruu"):
        SequenceVAE(TokenEmission(V, 3), "gruu", 4, 2)


@pytest.mark.parametrize("lengths", [[4, 2, 1], [1, 1, 1]])
def test_the_native_engine_agrees(lengths, native):
    torch.manual_seed(0)
    reference = SequenceVAE(TokenEmission(V, 3), "gru", 6, 2, engine="eager")
    native = SequenceVAE(TokenEmission(V, 3), "gru", 6, 2, engine="native")
    native.load_state_dict(reference.state_dict())
    found = [
        m.evidence(TOKENS, torch.tensor(lengths), 0.0, torch.Generator().manual_seed(1)).elbo
        for m in (reference, native)
    ]
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-5)
