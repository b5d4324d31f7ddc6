"""The text task: batches of an epoch, and the two ways of measuring."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise import LanguageModel
from gatewise.tasks import TextTask, stream_loss

V = 6


def ids_of(n, seed=0):
    return torch.randint(0, V, (n,), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    model = LanguageModel(V, "lstm", 5, 2, embedding_size=3, dropout=0.5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
    return model.train()


@given(
    extra=st.integers(0, 200), b=st.integers(1, 5), t=st.integers(1, 9), kind=st.sampled_from(["sequential", "random"])
)
@settings(max_examples=60, deadline=None)
def test_every_epoch_has_the_same_number_of_batches_of_text(extra, b, t, kind):
    task = TextTask(torch.arange((b + 1) * t + 1 + extra), torch.arange(0), b, t, kind, seed=3)
    counts = set()
    for epoch in range(8):
        batches = task.batches(epoch)
        counts.add(len(batches))
        for inputs, targets in batches:
            assert inputs.shape == targets.shape == (t, b)
            assert torch.equal(targets, inputs + 1)
            assert torch.equal(inputs[1:], targets[:-1])
    assert len(counts) == 1
    assert min(counts) >= 1


def test_sequential_batches_go_on_where_the_last_ended():
    task = TextTask(torch.arange(500), torch.arange(0), 4, 7, "sequential", seed=0)
    for epoch in range(5):
        batches = list(task.batches(epoch))
        for (_, targets), (following, _) in itertools.pairwise(batches):
            assert torch.equal(targets[-1], following[0])


def test_epochs_differ_and_seeds_differ_and_nothing_else_matters():
    def first(seed, epoch):
        torch.rand(1)
        return TextTask(torch.arange(999), torch.arange(0), 4, 50, "random", seed).batches(epoch)[0][0]

    assert torch.equal(first(1, 5), first(1, 5))
    assert not torch.equal(first(1, 5), first(1, 6))
    assert not torch.equal(first(1, 5), first(2, 5))
    first((1 << 63) - 1, 10**6)  # no seed is too large


def token_by_token(model, ids):
    """The loss of ids[1:], one token after the other, nothing clever."""
    model.eval()
    total, state = 0.0, None
    with torch.no_grad():
        for seen, wanted in itertools.pairwise(ids):
            logits, state = model(seen.view(1, 1), state)
            total += F.cross_entropy(logits[0], wanted.view(1)).item()
    model.train()
    return total / (len(ids) - 1)


@pytest.mark.parametrize("size", [2, 3, 1024, 1025, 1026, 2500])
def test_stream_loss_is_the_plain_loop(model, size):
    ids = ids_of(size)
    done = []
    assert stream_loss(model, ids, done.append) == pytest.approx(token_by_token(model, ids), abs=1e-6)
    assert sum(done) == size - 1
    assert model.training  # put back


def test_heldout_loss_counts_its_first_token(model):
    train, heldout = ids_of(100, 1), ids_of(300, 2)
    task = TextTask(train, heldout, 2, 5)
    wanted = token_by_token(model, torch.cat([train[-1:], heldout]))
    assert task.heldout_loss(model) == pytest.approx(wanted, abs=1e-6)


def test_heldout_loss_of_one_token_and_of_none(model):
    train = ids_of(100, 1)
    one = TextTask(train, torch.tensor([4]), 2, 5)
    assert one.heldout_loss(model) == pytest.approx(token_by_token(model, torch.tensor([int(train[-1]), 4])), abs=1e-6)
    none = TextTask(train, torch.zeros(0, dtype=torch.long), 2, 5)
    assert math.isnan(none.heldout_loss(model))
    assert math.isnan(none.quick_loss(model))


@pytest.mark.parametrize("size", [200, 1000, 5000])
def test_the_quick_estimate_is_the_mean_over_streams_that_start_at_zero(model, size):
    heldout = ids_of(size, 2)
    task = TextTask(ids_of(100), heldout, 2, 5)
    streams = max(1, min(64, (size - 1) // 256))
    length = (size - 1) // streams
    losses = [token_by_token(model, heldout[s * length : (s + 1) * length + 1]) for s in range(streams)]
    assert task.quick_loss(model) == pytest.approx(sum(losses) / streams, abs=1e-5)
