"""How far a run has come, and the learning rate that goes with it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: finished passes over the training data.
        batch: finished batches of the pass under way.
        step: finished batches in all.
        units: what the task counts, trained on: tokens, frames.
        seconds: time spent, evaluations and checkpoints included, over all sittings.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    units: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """Budget and learning rate.

    lr(p) = peak * max(p / warmup, 1/100) while p < warmup, then
    peak * (floor + (1 − floor) (1 + cos(π q)) / 2), with q the share of the rest that is done (Loshchilov and Hutter
    2017, arXiv:1608.03983), or peak throughout if not ``cosine``. p is the share of the budget that is spent: of steps
    or of wall-clock time, whichever is further.

    Attributes:
        peak: largest learning rate.
        total_steps: steps in all; 0 where time alone counts.
        total_seconds: wall-clock budget; 0 where steps alone count.
        cosine: whether the rate falls.
        warmup: share of the run in which it rises.
        floor: last learning rate over the peak.

    Example:
        >>> schedule = Schedule(peak=1.0, total_steps=100, cosine=True)
        >>> [round(schedule.learning_rate(Position(step=s)), 3) for s in (0, 50, 100)]
        [1.0, 0.505, 0.01]
    """

    peak: float
    total_steps: int = 0
    total_seconds: float = 0.0
    cosine: bool = False
    warmup: float = 0.0
    floor: float = 0.01

    def progress(self, position: Position) -> float:
        """The share of the budget that is spent, 0..1: of steps or of time, whichever is further."""
        shares = [0.0]
        if self.total_steps:
            shares.append(position.step / self.total_steps)
        if self.total_seconds:
            shares.append(position.seconds / self.total_seconds)
        return min(1.0, max(shares))

    def learning_rate(self, position: Position) -> float:
        p = self.progress(position)
        if p < self.warmup:
            # From a hundredth of the peak on, so that the very first step moves.
            return self.peak * max(p, 1e-2 * self.warmup) / self.warmup
        if not self.cosine:
            return self.peak
        q = (p - self.warmup) / (1 - self.warmup)
        return self.peak * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * q)) / 2)
