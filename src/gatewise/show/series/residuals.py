"""What is left over: residuals over time, their distribution, and whether one tells of the next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatewise.show.picture import FORECAST, OBSERVED, along_steps, dress, save_both

_MOST_POINTS = 4000


_LAGS = 24
"""That are looked at where there is no season."""


def draw_residuals(
    residuals: np.ndarray, folder: Path, target: str, times: np.ndarray | None = None,
    chains: Sequence[np.ndarray] | None = None, season: int = 1, ahead: str = "",
) -> list[Path]:  # fmt: skip
    """Draw ``residuals.svg`` and ``residuals.png``.

    Three panels: the residuals in order, their histogram beside the normal density of the same mean and deviation, and
    the autocorrelation of ``chains``, of two seasons, with the band ±1.96 / √N in which that of N independent ones
    lies.

    Args:
        residuals: (N,) observed less predicted, in order of time; NaN is left out.
        folder: of the run.
        target: its name.
        times: (N,) of the residuals; numbers from 1 without them.
        chains: for each series one residual a step, as :func:`autocorrelation` has them; None: ``residuals`` are that.
        season: steps of a season; 1 for none.
        ahead: what steps ahead ``chains`` are of, where ``residuals`` are of all.
    """
    known = np.isfinite(residuals)
    left, order = residuals[known].astype(float), np.arange(1, len(residuals) + 1) if times is None else times
    order = order[known]
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=[1, 1.1])
    above = figure.add_subplot(grid[0, :])
    every = max(1, math.ceil(len(left) / _MOST_POINTS))
    above.plot(order[::every], left[::every], ".", color=FORECAST, markersize=3, alpha=0.6, rasterized=True)
    above.axhline(0, color=OBSERVED, linewidth=0.8)
    above.set_ylabel("observed − predicted")
    of_all = " of all steps ahead" if ahead else ""
    dress(above, f"{target}: residuals{of_all}")
    beside = figure.add_subplot(grid[1, 0])
    if len(left) > 1:
        beside.hist(left, bins=min(60, max(8, int(len(left) ** 0.5))), density=True, color=FORECAST, alpha=0.5)
        _draw_normal(beside, left)
    told = f"mean {left.mean():.3g}, deviation {left.std():.3g}{of_all}" if len(left) else "nothing known"
    dress(beside, told)
    _draw_autocorrelation(figure.add_subplot(grid[1, 1]), [residuals] if chains is None else chains, season, ahead)
    return save_both(figure, folder, "residuals")


def _draw_autocorrelation(axes: Axes, chains: Sequence[np.ndarray], season: int, ahead: str) -> None:
    count = sum(int(np.isfinite(chain).sum()) for chain in chains)
    lags = autocorrelation(chains, min(2 * season if season > 1 else _LAGS, count // 2))
    steps = np.arange(1, len(lags) + 1)[~np.isnan(lags)]
    axes.vlines(steps, 0, lags[steps - 1], color=FORECAST, linewidth=max(0.5, min(5, 120 / max(len(lags), 1))))
    axes.axhline(0, color=OBSERVED, linewidth=0.8)
    for sign in (-1, 1):
        axes.axhline(sign * 1.96 / max(count, 1) ** 0.5, color=OBSERVED, linewidth=0.8, linestyle="--")
    along_steps(axes, "lag, steps")
    dress(axes, f"autocorrelation{f', {ahead} ahead' if ahead else ''} ({count:,} residuals)")


def autocorrelation(chains: Sequence[np.ndarray], lags: int) -> np.ndarray:
    """r_k = Σ (v_t − v̄)(v_{t+k} − v̄) / Σ (v_t − v̄)² for k = 1 … lags; zeros where the values do not vary.

    Args:
        chains: for each series its values, one a step, NaN where there is none. Pairs are of one series and really k
            steps apart; the mean and the sum below are over all values there are.
        lags: the longest.

    Returns:
        (lags,), NaN where no pair is so far apart.

    >>> autocorrelation([np.array([1.0, -1.0, 1.0, -1.0])], 2).tolist()
    [-0.75, 0.5]
    >>> autocorrelation([np.array([1.0, np.nan, -1.0]), np.array([0.0])], 2).tolist()
    [nan, -0.5]
    """
    every = np.concatenate([chain[np.isfinite(chain)] for chain in chains]) if len(chains) else np.empty(0)
    total = float(((every - every.mean()) ** 2).sum()) if len(every) else 0.0
    if total == 0:
        return np.zeros(lags)
    centred = [chain - every.mean() for chain in chains]
    found = np.full(lags, np.nan)
    for k in range(1, lags + 1):
        products = np.concatenate([chain[:-k] * chain[k:] for chain in centred])
        if np.isfinite(products).any():
            found[k - 1] = np.nansum(products) / total
    return found


def _draw_normal(axes: Axes, values: np.ndarray) -> None:
    deviation = values.std()
    if deviation > 0:
        points = np.linspace(values.min(), values.max(), 200)
        density = np.exp(-(((points - values.mean()) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))
        axes.plot(points, density, color=OBSERVED, linewidth=1)
