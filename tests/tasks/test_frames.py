"""The frames task: its sequences, its scores against plain sums, its baselines."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gatewise.data import Clip
from gatewise.layers import FrameForecaster
from gatewise.tasks.frames import BASELINES, Digits, FramesTask, Score, Windows, copy_last, mean_given, predict
from gatewise.tasks.similarity import ssim


def clip(name: str, first: int, count: int) -> Clip:
    """A video whose every frame is its own number."""
    numbers = torch.arange(first, first + count).float().reshape(-1, 1, 1, 1) / 1000
    return Clip(name, numbers.expand(-1, 1, 2, 3))


@pytest.fixture
def windows() -> Windows:
    return Windows([clip("a", 0, 9), clip("b", 100, 7)], [clip("c", 500, 13)], steps=5, batch_size=3, seed=4)


def first_numbers(batch: torch.Tensor) -> list[int]:
    return (batch[0, :, 0, 0, 0] * 1000).round().int().tolist()


def test_every_stretch_of_the_training_videos_comes_once_an_epoch(windows):
    batches = windows.batches(0)
    starts = [n for batch in batches for n in first_numbers(batch)]
    possible = [0, 1, 2, 3, 4, 100, 101, 102]  # two batches of three fit
    assert len(batches) == 2
    assert len(set(starts)) == 6
    assert set(starts) <= set(possible)
    for batch in batches:
        torch.testing.assert_close(batch, batch[:1] + torch.arange(5).reshape(-1, 1, 1, 1, 1) / 1000)


def test_an_epoch_is_the_same_whenever_it_is_asked_for(windows):
    again = Windows(windows.train, windows.heldout, 5, 3, seed=4)
    for epoch in (0, 3):
        for one, other in zip(windows.batches(epoch), again.batches(epoch), strict=True):
            assert torch.equal(one, other)
    order = [[n for batch in windows.batches(e) for n in first_numbers(batch)] for e in range(4)]
    assert len({tuple(o) for o in order}) > 1
    later = list(windows.batches(2))[1:]
    assert all(torch.equal(one, other) for one, other in zip(windows.batches(2)[1:], later, strict=True))


def test_held_out_stretches_do_not_overlap_and_are_never_trained_on(windows):
    assert first_numbers(windows.held_out) == [500, 505]
    many = Windows(windows.train, [clip("c", 0, 1000)], 5, 3, most=4)
    assert first_numbers(many.held_out) == [0, 330, 660, 995]


def test_a_batch_has_no_more_rows_than_there_are_stretches(windows):
    few = Windows([clip("a", 0, 6)], windows.heldout, steps=5, batch_size=64)
    assert [batch.shape[1] for batch in few.batches(0)] == [2]
    assert FramesTask(few, 3, 2).batch_size == 2


def test_digits_differ_from_batch_to_batch_and_epoch_to_epoch():
    digits = Digits(steps=3, batch_size=2, count=3)
    marks = [batch.sum().item() for epoch in range(2) for batch in digits.batches(epoch)]
    assert len(set(marks)) == 6
    assert marks[4] == digits.batches(1)[1].sum().item()
    assert digits.held_out.shape == (3, 200, 1, 32, 32)
    assert torch.equal(digits.held_out, Digits(3, 2, seed=9).held_out)  # so that runs can be compared


def test_a_score_is_the_plain_mean_over_pixels_and_sequences():
    predicted, truth = torch.rand(3, 4, 2, 12, 13), torch.rand(3, 4, 2, 12, 13)
    score = Score.of(predicted, truth)
    squares = (predicted.double().numpy() - truth.double().numpy()) ** 2
    np.testing.assert_allclose(score.mse, squares.mean(), rtol=1e-5)
    np.testing.assert_allclose(score.mse_by_horizon, squares.mean((1, 2, 3, 4)), rtol=1e-5)
    alike = [[ssim(predicted[t, n], truth[t, n]).item() for n in range(4)] for t in range(3)]
    np.testing.assert_allclose(score.ssim_by_horizon, np.mean(alike, 1), rtol=1e-4)
    np.testing.assert_allclose(score.ssim, np.mean(alike), rtol=1e-4)


def test_baselines_know_the_given_frames_alone():
    given = torch.arange(3.0).reshape(3, 1, 1, 1, 1).expand(-1, 2, 1, 4, 4) * 10
    assert copy_last(given, 2).eq(20).all()
    assert mean_given(given, 2).eq(10).all()
    assert all(guess(given, 5).shape == (5, 2, 1, 4, 4) for guess in BASELINES.values())


def test_the_loss_is_the_cross_entropy_of_the_frames_to_come():
    task = FramesTask(Digits(steps=5, batch_size=2, held=3), inputs=3, outputs=2)
    model, batch = FrameForecaster(1, "gru", 4, 1), task.batches(0)[0]
    loss, state = task.loss(model, batch, None, 1.0)
    chance, truth = model(batch[:3], 2).double(), batch[3:].double()
    expected = -(truth * chance.log() + (1 - truth) * (1 - chance).log()).mean()
    assert abs(loss.item() - expected.item()) < 1e-5
    assert state is None
    assert task.size(batch) == 10


def test_the_horizon_grows_over_the_first_half_of_the_budget():
    task = FramesTask(Digits(steps=8, batch_size=2, held=3), inputs=3, outputs=5)
    model, batch = FrameForecaster(1, "gru", 4, 1), task.batches(0)[0]

    def horizon(share):
        loss, _ = task.loss(model, batch, None, share)
        for steps in range(1, 6):
            chance, truth = model(batch[:3], steps), batch[3 : 3 + steps]
            if abs(loss.item() - F.binary_cross_entropy(chance, truth).item()) < 1e-6:
                return steps
        return None

    assert [horizon(share) for share in (0.0, 0.13, 0.26, 0.38, 0.5, 1.0)] == [2, 3, 4, 5, 5, 5]
    one = FramesTask(Digits(steps=4, batch_size=2, held=3), inputs=3, outputs=1)
    assert one.loss(model, one.batches(0)[0], None, 0.0)[0].isfinite()


def test_a_look_and_a_measure_are_of_the_held_out_sequences():
    task = FramesTask(Digits(steps=5, batch_size=2, held=3), inputs=3, outputs=2)
    model = FrameForecaster(1, "gru", 4, 1, dropout=0.5)
    look, (score, baselines) = task.held_out(model), task.measure(model)
    assert model.training
    predicted, truth = predict(model, task.heldout[:3], 2), task.heldout[3:]
    assert abs(look["mse"] - F.mse_loss(predicted, truth).item()) < 1e-6
    assert abs(score.mse - look["mse"]) < 1e-6
    assert (
        abs(baselines["copy_last"].mse - F.mse_loss(task.heldout[2:3].expand(2, -1, -1, -1, -1), truth).item()) < 1e-6
    )
