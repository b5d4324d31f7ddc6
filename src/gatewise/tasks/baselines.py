"""Forecasts without learning, which every forecast is measured beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from gatewise.data.table.clock import Frequency
from gatewise.errors import UserError

_STEPS_OF_A_CYCLE = {"ms": 1000, "s": 3600, "min": 1440, "h": 24, "d": 7, "mo": 12}
_DAYS_OF_A_WEEK, _WEEKS_OF_A_YEAR = 7, 52


def season_of(frequency: Frequency | None) -> int:
    """How many steps the season has that goes with a frequency: a day of hours or minutes, a week of days, a year of
    weeks or months, an hour of seconds. 1, no season, where none goes with it.

    >>> [season_of(Frequency(count, unit)) for count, unit in ((1, "h"), (15, "min"), (1, "d"), (7, "d"), (3, "mo"))]
    [24, 96, 7, 52, 4]
    >>> season_of(Frequency(1, "y")), season_of(Frequency(7, "h")), season_of(None)
    (1, 1, 1)
    """
    if frequency is None:
        return 1
    if (frequency.unit, frequency.count) == ("d", _DAYS_OF_A_WEEK):
        return _WEEKS_OF_A_YEAR
    cycle = _STEPS_OF_A_CYCLE.get(frequency.unit, 1)
    return 1 if cycle % frequency.count else cycle // frequency.count


def naive(past: Tensor, horizon: int, season: int = 1) -> Tensor:
    """The last value again and again: ŷ_{T+h} = y_T.

    Args:
        past: (L, B, k), without gaps.
        horizon: H, steps to forecast.
        season: is not used.

    Returns:
        (H, B, k).

    >>> import torch
    >>> naive(torch.tensor([1.0, 5.0, 3.0]).reshape(3, 1, 1), horizon=2).flatten().tolist()
    [3.0, 3.0]
    """
    return past[-1:].expand(horizon, -1, -1)


def seasonal_naive(past: Tensor, horizon: int, season: int) -> Tensor:
    """The value of the same step of the last season: ŷ_{T+h} = y_{T+h−m⌈h/m⌉} with m the season.

    Args:
        past: (L, B, k), without gaps; L is at least ``season``.
        horizon: H, steps to forecast.
        season: steps of a season.

    Returns:
        (H, B, k).

    Raises:
        UserError: the past is shorter than a season.

    >>> import torch
    >>> seasonal_naive(torch.tensor([9.0, 1.0, 2.0, 3.0]).reshape(4, 1, 1), horizon=5, season=3).flatten().tolist()
    [1.0, 2.0, 3.0, 1.0, 2.0]
    """
    if len(past) < season:
        raise UserError(f"a season of {season} steps is longer than the {len(past)} steps that are looked back on")
    return past[[len(past) - season + step % season for step in range(horizon)]]


def drift(past: Tensor, horizon: int, season: int = 1, steps: Tensor | None = None) -> Tensor:
    """The line through the first and the last value, gone on with: ŷ_{T+h} = y_T + h (y_T − y_1) / (T − 1).

    Args:
        past: (L, B, k), without gaps.
        horizon: H, steps to forecast.
        season: is not used.
        steps: (B, k), T − 1, how far the first value lies back; None: the past has all steps between.

    Returns:
        (H, B, k).

    >>> import torch
    >>> drift(torch.tensor([1.0, 9.0, 3.0]).reshape(3, 1, 1), horizon=2).flatten().tolist()
    [4.0, 5.0]
    """
    between = max(1, len(past) - 1) if steps is None else steps.clamp(min=1)
    slope = (past[-1:] - past[:1]) / between
    ahead = past.new_tensor(range(1, horizon + 1)).reshape(-1, 1, 1)
    return past[-1:] + ahead * slope


BASELINES: Mapping[str, Callable[[Tensor, int, int], Tensor]] = {
    "naive": naive, "seasonal_naive": seasonal_naive, "drift": drift,
}  # fmt: skip
"""By name: (the targets' own past, horizon, season) -> forecast."""
