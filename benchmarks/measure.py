"""Times of several contestants, taken in turns, so that a slow moment meets all of them alike."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from benchmarks.work import Contestant

YARDSTICK_SIZE = 2048
YARDSTICK_FLOPS = 2 * YARDSTICK_SIZE**3
SETTLE_SECONDS = 0.02
"""Threads of a pool that has just worked wait busily for more, libgomp's for some 10 ms, and would take the next
contestant's processors."""


class Spread(NamedTuple):
    """The median and the quartiles."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        if len(values) == 1:
            return Spread(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, low, high)


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: turns of each contestant; 0 is as many as fit into ``seconds``, within ``least`` and ``most``.
        sample_seconds: a turn is so many calls that it takes at least as long.
        seconds: for all rounds of a case.
    """

    rounds: int = 0
    sample_seconds: float = 0.01
    seconds: float = 8.0
    least: int = 9
    most: int = 41


QUICK = Plan(sample_seconds=0.003, seconds=1.0, least=5, most=9)


@dataclass(frozen=True)
class Times:
    """Seconds for one piece of work, round by round, by the contestant's place in the list."""

    seconds: list[list[float]]
    calls: list[int]

    @property
    def rounds(self) -> int:
        return len(self.seconds[0])

    def spread(self, contestant: int) -> Spread:
        return Spread.of(self.seconds[contestant])

    def ratio(self, slow: int, fast: int) -> Spread:
        """How many times as long ``slow`` takes, by the pairs of one round."""
        return Spread.of([s / f for s, f in zip(self.seconds[slow], self.seconds[fast], strict=True)])


def yardstick(dtype: torch.dtype) -> Contestant:
    """A large matrix product by PyTorch: what this machine can do in this moment."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(YARDSTICK_SIZE, YARDSTICK_SIZE, generator=generator).to(dtype) for _ in "ab")
    out = torch.empty_like(a)
    return Contestant("yardstick", lambda: torch.mm(a, b, out=out), lambda: out)


def measure(contestants: Sequence[Contestant], plan: Plan, progress: Callable[[int, int], None]) -> Times:
    """Warm everyone up, then round after round, each in an order of its own: nobody always follows the same one."""
    once = [_warm(contestant) for contestant in contestants]
    calls = [max(1, math.ceil(plan.sample_seconds / seconds)) for seconds in once]
    rounds = plan.rounds or _fitting(plan, sum(c * s + SETTLE_SECONDS for c, s in zip(calls, once, strict=True)))
    taken: list[list[float]] = [[] for _ in contestants]
    order, pool = list(range(len(contestants))), ""
    draw = random.Random(0)
    gc.collect()
    gc.disable()  # else a contestant pays for the litter of another
    try:
        for done in range(rounds):
            progress(done, rounds)
            draw.shuffle(order)
            for i in order:
                if contestants[i].pool != pool:
                    time.sleep(SETTLE_SECONDS)
                    pool = contestants[i].pool
                    contestants[i].work()  # wakes the pool's threads, untimed
                taken[i].append(_timed(contestants[i], calls[i]))
            gc.collect(0)
    finally:
        gc.enable()
    return Times(taken, calls)


def _fitting(plan: Plan, round_seconds: float) -> int:
    return max(plan.least, min(plan.most, int(plan.seconds / round_seconds)))


def _timed(contestant: Contestant, calls: int) -> float:
    work = contestant.work
    start = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - start) / calls


def _warm(contestant: Contestant, times: int = 2) -> float:
    time.sleep(SETTLE_SECONDS)
    for _ in range(times):
        contestant.work()
    return _timed(contestant, 1)
