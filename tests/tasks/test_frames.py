"""The frames task: its sequences, its scores against plain sums, its baselines."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gatewise.data import Clip, moving_digits
from gatewise.layers import FrameForecaster
from gatewise.tasks import frames
from gatewise.tasks.frames import (
    BASELINES,
    Digits,
    FramesTask,
    Score,
    Windows,
    constant_velocity,
    copy_last,
    mean_given,
    predict,
)
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
    assert sorted(starts) == [0, 1, 2, 3, 4, 100, 101, 102]
    assert [batch.shape[1] for batch in batches] == [3, 3, 2]
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


def test_a_look_and_a_measure_are_of_sequences_of_their_own():
    task = FramesTask(Digits(steps=5, batch_size=2, held=3), inputs=3, outputs=2)
    model = FrameForecaster(1, "gru", 4, 1, dropout=0.5)
    look, (score, baselines) = task.held_out(model), task.measure(model)
    assert model.training
    predicted, truth = predict(model, task.look[:3], 2), task.look[3:]
    assert abs(look["mse"] - F.mse_loss(predicted, truth).item()) < 1e-6
    assert abs(look["loss"] - F.binary_cross_entropy(predicted, truth).item()) < 1e-5
    predicted, truth = predict(model, task.heldout[:3], 2), task.heldout[3:]
    assert abs(score.mse - F.mse_loss(predicted, truth).item()) < 1e-6
    assert (
        abs(baselines["copy_last"].mse - F.mse_loss(task.heldout[2:3].expand(2, -1, -1, -1, -1), truth).item()) < 1e-6
    )
    mean = torch.stack(list(task.batches(0)[:20])).mean((0, 1, 2))
    assert abs(baselines["train_mean"].mse - ((mean - truth) ** 2).mean().item()) < 1e-6


def test_a_sure_mistake_has_its_whole_loss():
    """−log(1 − σ(20)) = 20 + log(1 + e⁻²⁰); from σ(20), which float32 rounds, it is 18 and less."""
    task = FramesTask(Windows([clip("a", 0, 9)], [Clip("b", torch.zeros(9, 1, 2, 3))], 5, 3), inputs=3, outputs=2)
    model = FrameForecaster(1, "gru", 4, 1)
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.constant_(model.head.bias, 20.0)  # type: ignore[arg-type]
    assert abs(task.held_out(model)["loss"] - 20) < 1e-5


def test_what_weights_are_chosen_with_is_not_what_is_measured():
    digits = Digits(steps=3, batch_size=2, count=3)
    look = digits.look
    assert look.shape == (3, 50, 1, 32, 32)
    others = torch.cat([digits.held_out, *digits.batches(0), *digits.batches(1)], 1)
    assert (look[0].flatten(1)[:, None] - others[0].flatten(1)).abs().amax(-1).min() > 0
    windows = Windows([clip("a", 0, 9)], [clip("c", 500, 13)], 5, 3, chosen_on=[clip("b", 100, 16)])
    assert first_numbers(windows.look) == [100, 105, 110]
    few = Windows([clip("a", 0, 9)], [clip("c", 0, 1000)], 5, 3)
    assert len(first_numbers(few.look)) == 50
    assert (first_numbers(few.look)[0], first_numbers(few.look)[-1]) == (0, 995)


def test_the_mean_is_of_the_training_frames(windows):
    numbers = [*range(9), *range(100, 107)]
    torch.testing.assert_close(windows.mean, torch.full((1, 2, 3), sum(numbers) / len(numbers) / 1000))


@pytest.mark.parametrize("velocity", [(0, 0), (1, 0), (-1, 2), (3, -2), (5, 5)], ids=str)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_block_of_constant_speed_is_foretold(velocity, count):
    frames = torch.zeros(count + 3, 2, 3, 60, 62)
    for t in range(count + 3):
        for n, sign in enumerate((1, -1)):  # each sequence has a motion of its own
            y, x = 28 + sign * velocity[0] * (t - 3), 28 + sign * velocity[1] * (t - 3)
            frames[t, n, :, y : y + 4, x : x + 5] = torch.rand(4, 5, generator=torch.Generator().manual_seed(n))
    assert torch.equal(constant_velocity(frames[:count], 3), frames[count:])


def test_one_frame_has_no_motion_and_a_border_is_repeated():
    one = torch.rand(1, 2, 1, 6, 7)
    assert torch.equal(constant_velocity(one, 3), one.expand(3, -1, -1, -1, -1))
    ramp = torch.arange(20.0).expand(1, 1, 6, -1)  # a slope that moves by a pixel a step
    moved = constant_velocity(torch.stack([ramp, ramp - 1, ramp - 2]).clamp(0) / 20, 2) * 20
    torch.testing.assert_close(moved[1, 0, 0, 0], (torch.arange(20.0) - 4).clamp(0))


def test_digits_are_learned_from_one_part_and_measured_on_the_other():
    digits = Digits(steps=3, batch_size=2, seed=5, held=4)
    assert torch.equal(digits.held_out, moving_digits(4, 3, 32, 2, "test", seed=0))
    assert torch.equal(digits.batches(0)[0], moving_digits(2, 3, 32, 2, "train", seed=5 * 1_000_003 + 1))
    assert torch.equal(digits.look, moving_digits(50, 3, 32, 2, "train", seed=-1))


def test_large_frames_are_measured_few_at_a_time(monkeypatch):
    monkeypatch.setattr(frames, "_MOST_PIXELS", 2 * 16**2 + 1)
    model, given, seen = FrameForecaster(1, hidden_channels=2).eval(), torch.rand(3, 5, 1, 16, 16), []
    together, logits = predict(model, given, 2, seen.append), model.logits(given, 2)
    assert seen == [2, 2, 1]
    torch.testing.assert_close(together, logits.sigmoid())
    monkeypatch.setattr(frames, "_MOST_PIXELS", 1)
    assert torch.equal(predict(model, given[:, :1], 2, seen.append), predict(model, given, 2)[:, :1])
