"""Forecasts with their uncertainty: quantiles, and intervals that cover as much as they say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.errors import UserError


def pinball(truth: Tensor, predicted: Tensor, quantiles: Tensor) -> Tensor:
    """The quantile loss (Koenker and Bassett 1978): max(q (y − ŷ), (q − 1) (y − ŷ)), least at the q-quantile of y.

    Args:
        truth: y (..., 1) or (...) against (..., q).
        predicted: ŷ (..., q).
        quantiles: (q,).

    Returns:
        (..., q); with q = ½ half the absolute error.

    >>> pinball(torch.tensor([[3.0]]), torch.tensor([[1.0, 4.0]]), torch.tensor([0.25, 0.75])).tolist()
    [[0.5, 0.25]]
    """
    over = truth - predicted
    return torch.maximum(quantiles * over, (quantiles - 1) * over)


def parse_quantiles(text: str) -> tuple[float, ...]:
    """From "0.1,0.5,0.9"; none from "".

    Raises:
        UserError: not numbers, not between 0 and 1, not in rising order.

    >>> parse_quantiles("0.1,0.5,0.9")
    (0.1, 0.5, 0.9)
    """
    if not text:
        return ()
    try:
        quantiles = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--quantiles {text}: want numbers with commas between, as in 0.1,0.5,0.9") from None
    outside = [q for q in quantiles if not 0 < q < 1]
    if outside:
        raise UserError(f"--quantiles {text}: {outside[0]:g} is not between 0 and 1; want some as in 0.1,0.5,0.9")
    if any(one >= other for one, other in itertools.pairwise(quantiles)):
        raise UserError(f"--quantiles {text}: want them in rising order, each once: {_sorted(quantiles)}")
    return quantiles


def _sorted(quantiles: Sequence[float]) -> str:
    return ",".join(f"{q:g}" for q in sorted(set(quantiles)))


def conformal_radius(scores: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """How far the ends of an interval lie from the forecast so that it covers ``level`` (Vovk et al. 2005; Lei et al.
    2018): the ⌈(n + 1) level⌉-th smallest of n scores. Then P(next score <= radius) >= level, if the scores and the
    next one are exchangeable.

    n scores vouch for at most n / (n + 1). Where ``level`` is more than that, the largest score is taken.

    Args:
        scores: (N, ...), such as |y − ŷ|; NaN ones are not counted.
        level: of the interval, 0 to 1.

    Returns:
        The radius (...), NaN where there is no score at all, and the level that is vouched for (...), which is
        ``level`` where there are enough scores.

    >>> radius, vouched = conformal_radius(np.arange(1.0, 20.0), 0.9)
    >>> float(radius), float(vouched)
    (18.0, 0.9)
    """
    ordered = np.sort(scores, axis=0)  # NaN comes last
    count = np.isfinite(ordered).sum(0)
    rank = np.ceil((count + 1) * level - 1e-9).astype(int)
    place = np.clip(np.minimum(rank, count) - 1, 0, None)
    radius = np.take_along_axis(ordered, place[None], axis=0)[0]
    return radius, np.where(rank > count, count / (count + 1), level)


@dataclass(frozen=True)
class Intervals:
    """Intervals around forecasts, one width for each step of the horizon and each target, fitted on the validation
    part.

    Without quantiles: ŷ ± radius, with radius the conformal quantile of |y − ŷ|. With quantiles, of which the outermost
    two are ŷ_low and ŷ_high: [ŷ_low − radius, ŷ_high + radius], with radius that of max(ŷ_low − y, y − ŷ_high)
    (conformalised quantile regression: Romano, Patterson and Candès 2019); it may be below 0.

    Where there are too few windows to vouch for ``level`` at every step by itself, the scores of all steps are taken
    together: a target's intervals then have one radius, and cover ``level`` over the horizon rather than at each step.

    Attributes:
        level: share of the truth that they are to cover.
        radius: (H, k) in standardised units.
        vouched: (H, k), the share that so many validation windows can vouch for: ``level``, or less.
        together: whether the steps were taken together.

    Example:
        >>> truth = np.arange(1.0, 10.0).reshape(1, 9, 1)  # nine windows of one step of one target
        >>> intervals = Intervals.fitted(truth, np.zeros((1, 9, 1, 1)), level=0.8)
        >>> low, high = intervals.around(np.full((1, 1, 1, 1), 20.0))
        >>> float(low[0, 0, 0]), float(high[0, 0, 0])
        (12.0, 28.0)
    """

    level: float
    radius: np.ndarray
    vouched: np.ndarray
    together: bool = False

    @classmethod
    def fitted(cls, truth: np.ndarray, predicted: np.ndarray, level: float) -> Intervals:
        """From the validation part: truth (H, N, k), NaN where unknown, forecasts (H, N, k, q)."""
        low, high = predicted[..., 0], predicted[..., -1]
        scores = np.maximum(low - truth, truth - high)  # |y - ŷ| where both are one forecast
        radius, vouched = conformal_radius(np.moveaxis(scores, 1, 0), level)
        if (vouched >= level).all():
            return cls(level, radius, vouched)
        horizon, _, targets = truth.shape
        pooled = conformal_radius(scores.reshape(-1, targets), level)
        radius, vouched = (np.broadcast_to(part, (horizon, targets)) for part in pooled)
        return cls(level, radius, vouched, together=True)

    def around(self, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lower and the upper ends (H, N, k) around forecasts (H, N, k, q), of which the middle one is inside."""
        low, high = (predicted[..., place] + side * self.radius[:, None] for place, side in ((0, -1), (-1, 1)))
        # A negative radius may be more than half the distance between two quantiles, or leave the forecast outside.
        count = predicted.shape[-1]
        middle = predicted[..., (count - 1) // 2 : count // 2 + 1].mean(-1)
        return np.minimum(low, middle), np.maximum(high, middle)

    def to_config(self) -> dict[str, Any]:
        """As plain numbers, for a file's metadata."""
        parts = {"radius": self.radius.tolist(), "vouched": self.vouched.tolist()}
        return {"level": self.level, **parts, "together": self.together}

    @classmethod
    def from_config(cls, config: dict[str, Any], horizon: int, targets: int) -> Intervals:
        """The inverse of :meth:`to_config`.

        Raises:
            UserError: it is malformed.
        """
        try:
            level = float(config["level"])
            radius, vouched = (np.asarray(config[name], np.float64) for name in ("radius", "vouched"))
            together = bool(config["together"])
        except (KeyError, TypeError, ValueError):
            raise UserError("its intervals are malformed; use another copy") from None
        if {radius.shape, vouched.shape} != {(horizon, targets)} or not 0 < level < 1 or np.isinf(radius).any():
            raise UserError("its intervals are malformed; use another copy")
        return cls(level, radius, vouched, together)


def coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray, level: float) -> dict[str, Any]:
    """How much of the truth intervals cover, and how wide they are; measured, whatever was promised.

    Args:
        truth: (H, N, k), NaN where unknown, which is not counted.
        low: (H, N, k), the lower ends.
        high: (H, N, k), the upper ends.
        level: what was to be covered.

    Returns:
        ``level``, ``coverage`` and ``mean_width`` over all, and by step of the horizon ``coverage_per_horizon`` and
        ``mean_width_per_horizon``; NaN where nothing is known.
    """
    known = ~np.isnan(truth) & ~np.isnan(low)
    inside, width = known & (low <= truth) & (truth <= high), np.where(known, high - low, 0.0)
    counts, total = known.sum((1, 2)), int(known.sum())
    with np.errstate(invalid="ignore"):
        by_step = [(part.sum((1, 2)) / counts).tolist() for part in (inside, width)]
    return {
        "level": level,
        "coverage": inside.sum().item() / total if total else math.nan,
        "mean_width": width.sum().item() / total if total else math.nan,
        "coverage_per_horizon": by_step[0],
        "mean_width_per_horizon": by_step[1],
    }
