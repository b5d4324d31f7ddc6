"""Sizes that cost the same: the search, and the measurement with a clock that is made up."""

import pytest
import torch

from gatewise.tasks import TextTask
from gatewise.training import match, text_settings
from gatewise.training.match import matching_size, step_ratio

SETTINGS = text_settings(hidden=4, batch=2, steps=3, threads=1, embedding=0, engine="eager")


@pytest.mark.parametrize("wanted", [1, 2, 3, 7, 64, 100, 1000])
def test_the_nearest_size_is_found(wanted):
    assert matching_size(lambda hidden: (3 * hidden + hidden**2) / (3 * wanted + wanted**2)) == wanted
    assert matching_size(lambda hidden: hidden / (wanted + 0.4)) == wanted


def test_a_grain_saves_measurements():
    asked = []

    def relative(hidden):
        asked.append(hidden)
        return hidden / 1000

    assert matching_size(relative, 1 / 32) == pytest.approx(1000, rel=1 / 32)
    assert len(asked) == len(set(asked)) < 18


def test_medians_of_steps_in_turns(monkeypatch):
    """The second learner's step takes three times as long as the first's, but for one hiccup each."""
    now, calls = [0.0], []
    took = {"rnn": [9.0, 9.0, 1.0, 50.0, 1.0, 1.0, 1.0], "gru": [9.0, 9.0, 3.0, 3.0, 3.0, 70.0, 3.0]}

    class Pretender:
        def __init__(self, cell):
            self.cell, self.times = cell, iter(took[cell])

        def step(self, batch, lr):
            calls.append(self.cell)
            now[0] += next(self.times)
            return 0.0

    monkeypatch.setattr(match, "_learner", lambda settings, task, size: Pretender(settings.cell))
    task = TextTask(torch.arange(40) % 5, torch.zeros(0, dtype=torch.long), 2, 3)
    first, other = (text_settings(cell=cell) for cell in ("rnn", "gru"))
    assert step_ratio(first, other, task, 5, clock=lambda: now[0]) == 3.0
    assert calls == ["rnn", "gru"] * 7


def test_measuring_uses_up_no_random_numbers():
    task = TextTask(torch.arange(40) % 5, torch.zeros(0, dtype=torch.long), 2, 3)
    torch.manual_seed(3)
    wanted = torch.rand(3)
    torch.manual_seed(3)
    ticks = iter(range(1000))
    assert step_ratio(SETTINGS, SETTINGS, task, 5, clock=lambda: float(next(ticks))) == 1.0
    assert torch.equal(torch.rand(3), wanted)
