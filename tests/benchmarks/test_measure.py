"""Rounds, turns and spreads; no time is judged."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from benchmarks.measure import Plan, Spread, Times, measure
from benchmarks.work import Contestant


def test_everyone_takes_a_turn_in_every_round():
    calls: list[str] = []

    def contestant(name: str) -> Contestant:
        return Contestant(name, lambda: calls.append(name), lambda: torch.zeros(()))

    names = ["a", "b", "c"]
    rounds = 12
    times = measure([contestant(name) for name in names], Plan(rounds, sample_seconds=0.0), lambda done, of: None)
    assert times.rounds == rounds
    assert times.calls == [1, 1, 1]
    turns = calls[-3 * rounds :]  # what comes before warms up
    orders = [tuple(turns[i : i + 3]) for i in range(0, 3 * rounds, 3)]
    assert all(sorted(order) == names for order in orders)
    assert len(Counter(orders)) > 2, "always in the same order"


def test_a_ratio_is_taken_within_a_round():
    slow_moment = Times([[1.0, 10.0, 1.0], [3.0, 30.0, 3.0]], [1, 1])
    assert slow_moment.ratio(1, 0) == Spread(3.0, 3.0, 3.0)
    assert slow_moment.spread(0) == Spread(1.0, 1.0, 5.5)


@pytest.mark.parametrize("values", [[2.0], [1.0, 2.0, 3.0]])
def test_the_median_lies_between_the_quartiles(values):
    spread = Spread.of(values)
    assert spread.low <= spread.median == 2.0 <= spread.high
