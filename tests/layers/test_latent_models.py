"""What every model with a latent does: no padding is looked at, and gradients are true."""

import pytest
import torch
from latent_models import LENGTHS, MODELS, TOKENS, V, of_tokens, read_by

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
