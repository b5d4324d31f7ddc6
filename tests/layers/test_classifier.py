"""The classifier of sequences against its formulas in NumPy: poolings, unequal lengths, both directions, dropout."""

from typing import Any

import numpy as np
import pytest
import torch

from gatewise import UserError
from gatewise.layers.classifier import POOLINGS, Pooling, SequenceClassifier

LENGTHS = [5, 1, 3]


@pytest.fixture
def outputs():
    return torch.randn(5, 3, 4, dtype=torch.float64)


def members(model: SequenceClassifier) -> list[Any]:
    """Its networks, whose parts are not told by the type of a list of modules."""
    return list(model.members)


def by_hand(pooling: Pooling, outputs: np.ndarray, lengths: list[int]) -> np.ndarray:
    """A sequence at a time, of its own steps alone."""
    weights = {name: value.detach().numpy() for name, value in pooling.named_parameters()}
    found = []
    for place, length in enumerate(lengths):
        h = outputs[:length, place]
        if pooling.kind == "last":
            half = h.shape[1] // 2
            found.append(np.concatenate([h[-1][:half], h[0][half:]]) if pooling.bidirectional else h[-1])
        elif pooling.kind == "mean":
            found.append(h.mean(0))
        elif pooling.kind == "statistics":
            found.append(np.concatenate([h.mean(0), np.sqrt(h.var(0) + 1e-5)]))
        else:
            scores = np.tanh(h @ weights["inner.weight"].T + weights["inner.bias"]) @ weights["score.weight"][0]
            a = np.exp(scores) / np.exp(scores).sum()
            found.append((a[:, None] * h).sum(0))
    return np.stack(found)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", POOLINGS)
def test_every_pooling_is_its_formula_over_a_sequences_own_steps(kind, bidirectional, outputs):
    pooling = Pooling(kind, 4, bidirectional).double()
    found = pooling(outputs, torch.tensor(LENGTHS))
    assert found.shape == (3, pooling.output_size)
    np.testing.assert_allclose(found.detach().numpy(), by_hand(pooling, outputs.numpy(), LENGTHS), atol=1e-10)


@pytest.mark.parametrize("kind", POOLINGS)
def test_what_stands_behind_an_end_changes_nothing(kind):
    torch.manual_seed(0)
    model = SequenceClassifier(2, 3, "lstm", 5, 2, bidirectional=True, pooling=kind, engine="eager").eval()
    x, lengths = torch.randn(6, 4, 2), torch.tensor([6, 2, 4, 1])
    together = model(x, lengths)
    for place, length in enumerate(lengths.tolist()):
        alone = model(x[:length, place : place + 1], torch.tensor([length]))
        torch.testing.assert_close(together[place : place + 1], alone, atol=1e-6, rtol=1e-5)
    spoiled = x.clone()
    spoiled[4:, 2] = torch.nan
    torch.testing.assert_close(model(spoiled, lengths), together, atol=0, rtol=0)
    model(spoiled, lengths).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_logits_are_those_of_torch_nn():
    torch.manual_seed(0)
    model = SequenceClassifier(3, 4, "gru", 6, bidirectional=True, pooling="last", engine="eager")
    peer = torch.nn.GRU(3, 6, bidirectional=True)
    peer.load_state_dict(members(model)[0].layers.state_dict())
    x = torch.randn(7, 2, 3)
    _, final = peer(x)
    wanted = torch.cat([final[0], final[1]], -1) @ members(model)[0].head.weight.T + members(model)[0].head.bias
    torch.testing.assert_close(model(x, torch.tensor([7, 7])), wanted, atol=1e-6, rtol=1e-5)


def test_attention_weights_add_up_to_one_and_gradients_agree_with_differences():
    pooling = Pooling("attention", 4).double()
    outputs = torch.randn(5, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = pooling.weights(outputs, torch.tensor(LENGTHS))
    torch.testing.assert_close(weights.sum(0), torch.ones(3, dtype=torch.float64))
    assert (weights[1:, 1] == 0).all()
    assert torch.autograd.gradcheck(lambda h: pooling(h, torch.tensor(LENGTHS)), (outputs,))


def test_a_channel_is_dropped_for_a_whole_sequence_while_training():
    model = SequenceClassifier(50, 2, "rnn", 3, channel_dropout=0.4, engine="eager")
    seen = []
    members(model)[0].layers.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x, lengths = torch.ones(6, 20, 50), torch.full((20,), 6)
    model(x, lengths)
    model.eval()(x, lengths)
    assert seen[0].unique().tolist() == [0.0, pytest.approx(1 / 0.6)]
    assert (seen[0] == seen[0][:1]).all()  # for all steps alike
    assert 0.3 < (seen[0] == 0).float().mean() < 0.5
    assert (seen[1] == 1).all()


def test_the_probability_of_several_members_is_the_mean_of_theirs():
    model = SequenceClassifier(2, 4, hidden_size=3, members=3, engine="eager").eval()
    x, lengths = torch.randn(5, 6, 2), torch.tensor([5, 2, 5, 1, 3, 4])
    each = [member(x, lengths) for member in members(model)]
    assert not torch.equal(each[0], each[1])  # they begin apart
    wanted = torch.stack([logits.softmax(-1) for logits in each]).mean(0)
    torch.testing.assert_close(model(x, lengths).softmax(-1), wanted)
    torch.testing.assert_close(model(x, lengths).exp().sum(-1), torch.ones(6))


def test_noise_is_added_while_training_anew_for_every_member():
    model = SequenceClassifier(3, 2, "rnn", 3, members=2, input_noise=0.5, engine="eager")
    seen = []
    for member in members(model):
        member.layers.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x, lengths = torch.ones(50, 40, 3), torch.full((40,), 50)
    model(x, lengths)
    model.eval()(x, lengths)
    assert abs(seen[0].std().item() - 0.5) < 0.02
    assert abs(seen[0].mean().item() - 1.0) < 0.02
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], x)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="pooling 'lsat': did you mean 'last'"):
        SequenceClassifier(2, 3, pooling="lsat")
    for classes in (1, True, 2.5):
        with pytest.raises(UserError, match="classes: want a whole number of at least 2"):
            SequenceClassifier(2, classes)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="members: want a whole number of at least 1, got 0"):
        SequenceClassifier(2, 3, members=0)
    with pytest.raises(UserError, match=r"lengths: want numbers in 1..4, got 0..4"):
        SequenceClassifier(2, 3, engine="eager")(torch.zeros(4, 2, 2), torch.tensor([4, 0]))
