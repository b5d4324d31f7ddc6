"""What every model with a latent does: no padding is looked at, gradients are true, and types are the weights'."""

import pytest
import torch
from latent_models import LENGTHS, MODELS, TOKENS, V, double, of_tokens, read_by

from gatewise import UserError
from gatewise.layers import SequenceDecoder, SeriesEmission, TokenEmission, importance_bound

every_model = pytest.mark.parametrize("kind", MODELS)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@every_model
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("of", ["tokens", "learned", "unit"])
def test_what_stands_in_the_padding_changes_nothing(kind, cell, of):
    model, x, garbage = read_by(kind, of, cell, layers=2)
    spoiled = x.clone()
    spoiled[2:, 1] = spoiled[1:, 2] = garbage
    results = []
    for version in (x, spoiled):
        model.zero_grad()
        found = model.evidence(version, LENGTHS, 0.0, seeded(2))
        found.elbo.sum().backward()
        results.append([found.log_likelihood, found.kl, found.means, *(p.grad for p in model.parameters())])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


@every_model
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gradients_are_those_of_finite_differences(kind, cell):
    model = of_tokens(kind, cell)

    def bound():
        found = model.evidence(TOKENS, LENGTHS, 0.0, seeded(4))
        weights = model.log_weights(TOKENS, LENGTHS, 3, seeded(4))
        return (found.log_likelihood - 0.7 * found.kl.sum(-1)).sum() + importance_bound(weights).sum()

    bound().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        flat, place = parameter.detach().view(-1), int(parameter.grad.abs().argmax())
        before, step = flat[place].item(), 1e-6
        values = []
        for shift in (step, -step):
            flat[place] = before + shift
            values.append(bound().item())
        flat[place] = before
        difference = (values[0] - values[1]) / (2 * step)
        assert parameter.grad.view(-1)[place].item() == pytest.approx(difference, rel=1e-5, abs=1e-7)


@every_model
@pytest.mark.parametrize("lengths", [[5, 2, 1], [4, 0, 1], [4, 2], [4.0, 2.0, 1.0]])
@pytest.mark.parametrize("of", ["tokens", "learned"])
def test_lengths_that_are_none_are_refused(kind, lengths, of):
    model, x, _ = read_by(kind, of)
    with pytest.raises(UserError, match="lengths: want"):
        model.evidence(x, torch.tensor(lengths))
    with pytest.raises(UserError, match="lengths: want"):
        model.log_weights(x, torch.tensor(lengths), 1)


@pytest.mark.parametrize("lengths", [[5, 2, 1], [4, 0, 1], [4, 2], [4.0, 2.0, 1.0]])
@pytest.mark.parametrize("emission", [TokenEmission(V, 3), SeriesEmission(2)], ids=["tokens", "series"])
def test_lengths_that_are_none_are_refused_by_a_decoder(lengths, emission):
    x = TOKENS if isinstance(emission, TokenEmission) else torch.zeros(4, 3, 2)
    with pytest.raises(UserError, match="lengths: want"):
        SequenceDecoder(emission, "gru", 4, 0).log_likelihood(emission.frame(x, torch.tensor(lengths)))


@every_model
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_series_are_written_in_the_weights_type(kind, dtype):
    model, x, _ = read_by(kind, "learned")
    model = model.to(dtype)
    written = model.reconstruct(x.to(dtype), LENGTHS, 4) + model.sample(3, 4, 1.0, seeded(1)) + model.sample(2, 0)
    assert {one.dtype for one in written} == {dtype}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_without_a_latent_series_are_written_from_zeros_in_the_weights_type(dtype):
    """By teacher forcing the values written are the means of what stands before them."""
    decoder = double(SequenceDecoder(SeriesEmission(2, "unit"), "gru", 6, 0, engine="eager")).to(dtype)
    written = torch.stack(decoder.write(None, 5, count=3), 1)
    assert written.dtype == dtype
    before = torch.cat([torch.zeros(1, 3, 2, dtype=dtype), written[:-1]])
    torch.testing.assert_close(decoder(before).detach(), written)


@every_model
@pytest.mark.parametrize("variance", ["learned", "unit"])
def test_everything_drawn_and_written_lies_where_the_weights_are(kind, variance):
    """On PyTorch's device without numbers, which stands for any but the CPU; a generator is the CPU's."""
    model, x, _ = read_by(kind, variance)
    model, x = model.to("meta"), x.to("meta")
    found = [model.evidence(x, LENGTHS, 0.5, seeded(0)).elbo, model.log_weights(x, LENGTHS, 2, seeded(0))]
    found += model.reconstruct(x, LENGTHS, 3) + model.sample(2, 3, 1.0, seeded(0)) + model.sample(2, 3, 0.0)
    decoder = SequenceDecoder(SeriesEmission(2, variance), "gru", 6, 0, engine="eager").to("meta")
    found += decoder.write(None, 3, 1.0, seeded(0), 2)
    assert {one.device.type for one in found} == {"meta"}


def test_tokens_are_chosen_where_the_weights_are():
    emission = TokenEmission(V, 3, never=1)
    output = torch.zeros(3, V + 1, device="meta")
    for temperature in (0.0, 1.0):
        assert emission.choose(output, temperature, None).device.type == "meta"
    assert emission.start(3, output).device.type == "meta"
    assert emission.ended(torch.tensor([0, V])).tolist() == [False, True]
