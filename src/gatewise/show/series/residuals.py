"""What is left over: residuals over time, their distribution, and whether one tells of the next."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gatewise.show.picture import FORECAST, OBSERVED, dress, save_both

_MOST_POINTS = 4000


def draw_residuals(residuals: np.ndarray, folder: Path, target: str, times: np.ndarray | None = None) -> list[Path]:
    """Draw ``residuals.svg`` and ``residuals.png``.

    Three panels: the residuals in order, their histogram beside the normal density of the same mean and deviation, and
    their autocorrelation with the band ±1.96 / √N in which that of independent ones lies.

    Args:
        residuals: (N,) observed less predicted, in order of time; NaN is left out.
        folder: of the run.
        target: its name.
        times: (N,) of the residuals; numbers from 1 without them.
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
    dress(above, f"{target}: residuals")
    beside = figure.add_subplot(grid[1, 0])
    if len(left) > 1:
        beside.hist(left, bins=min(60, max(8, int(len(left) ** 0.5))), density=True, color=FORECAST, alpha=0.5)
        _draw_normal(beside, left)
    dress(beside, f"mean {left.mean():.3g}, deviation {left.std():.3g}" if len(left) else "nothing known")
    after = figure.add_subplot(grid[1, 1])
    lags = autocorrelation(left, min(48, len(left) // 2))
    after.bar(range(1, len(lags) + 1), lags, color=FORECAST, width=0.7)
    for sign in (-1, 1):
        after.axhline(sign * 1.96 / max(len(left), 1) ** 0.5, color=OBSERVED, linewidth=0.8, linestyle="--")
    after.set_xlabel("lag")
    dress(after, "autocorrelation")
    return save_both(figure, folder, "residuals")


def autocorrelation(values: np.ndarray, lags: int) -> np.ndarray:
    """r_k = Σ (v_t − v̄)(v_{t+k} − v̄) / Σ (v_t − v̄)² for k = 1 … lags; zeros where the values do not vary.

    >>> autocorrelation(np.array([1.0, -1.0, 1.0, -1.0]), 2).tolist()
    [-0.75, 0.5]
    """
    centred = values - values.mean() if len(values) else values
    total = float((centred**2).sum())
    if total == 0:
        return np.zeros(lags)
    return np.array([float((centred[:-k] * centred[k:]).sum()) / total for k in range(1, lags + 1)])


def _draw_normal(axes: object, values: np.ndarray) -> None:
    deviation = values.std()
    if deviation > 0:
        points = np.linspace(values.min(), values.max(), 200)
        density = np.exp(-(((points - values.mean()) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))
        axes.plot(points, density, color=OBSERVED, linewidth=1)  # type: ignore[attr-defined]
