"""The learning rate against its closed form, over steps and over the clock."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.training import Source, learner, text_settings, train_text
from gatewise.training import fit as fit_module
from gatewise.training.schedule import Position, Schedule


def closed_form(p, peak, warmup, floor=0.01):
    if p < warmup:
        return peak * p / warmup
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (p - warmup) / (1 - warmup))))


@given(total=st.integers(1, 10_000), share=st.floats(0.001, 1), warmup=st.floats(0, 0.9), peak=st.floats(1e-4, 10))
def test_cosine_after_warm_up_by_steps(total, share, warmup, peak):
    step = max(1, round(share * total))
    schedule = Schedule(peak, total_steps=total, cosine=True, warmup=warmup)
    p = step / total
    if p >= 0.01 * warmup:
        assert schedule.learning_rate(Position(step=step)) == pytest.approx(closed_form(p, peak, warmup), rel=1e-9)


def test_landmarks():
    schedule = Schedule(2.0, total_steps=1000, cosine=True, warmup=0.1)
    rates = [schedule.learning_rate(Position(step=step)) for step in range(1001)]
    assert 0 < rates[0] <= 2.0 * 0.01  # the very first step moves
    assert rates[50] == pytest.approx(1.0)
    assert rates[100] == pytest.approx(2.0)
    assert rates[550] == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert rates[1000] == pytest.approx(0.02)
    assert rates[:101] == sorted(rates[:101])
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_constant_after_warm_up():
    schedule = Schedule(3.0, total_steps=10, warmup=0.5)
    assert [schedule.learning_rate(Position(step=s)) for s in (1, 4, 5, 9, 10)] == pytest.approx([0.6, 2.4, 3, 3, 3])


def test_whichever_budget_is_spent_first():
    schedule = Schedule(1.0, total_steps=100, total_seconds=60)
    assert schedule.progress(Position(step=50, seconds=15)) == 0.5
    assert schedule.progress(Position(step=25, seconds=45)) == 0.75
    assert schedule.progress(Position(step=500, seconds=1)) == 1.0
    assert Schedule(1.0, total_seconds=10).progress(Position(step=10**9)) == 0.0


class Clock:
    """Time that passes one second a training step, and not otherwise."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def rates(monkeypatch):
    """The learning rate of every step taken; each step takes a second."""
    clock, taken, step = Clock(), [], learner.TorchLearner.step
    monkeypatch.setattr(fit_module.time, "perf_counter", clock)

    def watched(self, batch, lr, share):
        clock.now += 1
        taken.append(lr)
        return step(self, batch, lr, share)

    monkeypatch.setattr(learner.TorchLearner, "step", watched)
    return taken


def test_a_minute_is_a_minute(rates, tmp_path, text_file):
    settings = text_settings(minutes=1, hidden=4, batch=4, steps=8, threads=1, warmup=0.2, lr=0.5)
    _, summary = train_text(Source(text_file), settings, tmp_path / "run")
    assert summary["steps"] == len(rates) == 60
    assert summary["seconds"] == 60
    assert summary["tokens_per_second"] == 4 * 8
    assert rates[1:] == pytest.approx([closed_form(s / 60, 0.5, 0.2) for s in range(1, 60)])


def test_steps_count_where_epochs_are_given(rates, tmp_path, text_file):
    settings = text_settings(epochs=3, hidden=4, batch=8, steps=16, threads=1, warmup=0.1, lr=0.5)
    _, summary = train_text(Source(text_file), settings, tmp_path / "run")
    total = len(rates)
    assert total % 3 == 0
    assert summary["steps"] == total
    assert rates[1:] == pytest.approx([closed_form(s / total, 0.5, 0.1) for s in range(1, total)])


def test_epochs_and_minutes_together_end_with_the_first(rates, tmp_path, text_file):
    settings = text_settings(epochs=100, minutes=0.5, hidden=4, batch=4, steps=8, threads=1)
    assert train_text(Source(text_file), settings, tmp_path / "run")[1]["steps"] == 30


def test_the_smallest_budget_is_one_step(tmp_path, text_file):
    settings = text_settings(minutes=1e-9, hidden=4, batch=4, steps=8, threads=1)
    _, summary = train_text(Source(text_file), settings, tmp_path / "run")
    assert summary["steps"] == 1
    assert math.isfinite(summary["train_loss"])
