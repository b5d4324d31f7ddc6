"""Forecasts against what came, with their intervals and the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gatewise.show.picture import FORECAST, OBSERVED, OTHERS, dress, save_both


@dataclass(frozen=True)
class Forecast:
    """One target from one origin, in the file's units.

    Attributes:
        past: (L,) what was known of the target.
        predicted: (H,).
        observed: (H,) what came; None where nobody knows yet. NaN breaks the line.
        past_times: (L,) ``datetime64``, or step numbers.
        times: (H,) of the forecast.
        low: (H,) lower end of the interval; None without intervals.
        high: (H,) its upper end.
        baselines: name -> (H,).
        title: what sets it apart: "the median error", "origin 2014-01-03 00:00".
    """

    past: np.ndarray
    predicted: np.ndarray
    past_times: np.ndarray
    times: np.ndarray
    observed: np.ndarray | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    baselines: Mapping[str, np.ndarray] = field(default_factory=dict)
    title: str = ""


def draw_forecasts(
    forecasts: Sequence[Forecast], folder: Path, target: str, interval: str = "", name: str = "forecast"
) -> list[Path]:
    """Draw ``NAME.svg`` and ``NAME.png``: a panel a forecast, below each other.

    Args:
        forecasts: one or more, of one target.
        folder: of the run.
        target: its name and unit.
        interval: what the shaded band is: "90 % interval".
        name: of the files.
    """
    figure = Figure(figsize=(9, 2.5 * len(forecasts) + 0.6), layout="constrained")
    panels = figure.subplots(len(forecasts), 1, squeeze=False)[:, 0]
    for axes, forecast in zip(panels, forecasts, strict=True):
        _draw(axes, forecast, interval)
        axes.set_ylabel(target, parse_math=False)
        dress(axes, forecast.title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6), frameon=False, fontsize=9)
    return save_both(figure, folder, name)


def _draw(axes: Axes, forecast: Forecast, interval: str) -> None:
    # As much of the past as three horizons: the eye compares what came with what went before.
    shown = max(3 * len(forecast.predicted), 12)
    past, past_times = forecast.past[-shown:], forecast.past_times[-shown:]
    axes.plot(past_times, past, color=OBSERVED, linewidth=1.2, label="observed")
    if forecast.observed is not None:
        # From the last known value on, so that the line does not break at the origin.
        times = np.concatenate([past_times[-1:], forecast.times])
        axes.plot(times, np.concatenate([past[-1:], forecast.observed]), color=OBSERVED, linewidth=1.2)
    for (name, values), colour in zip(forecast.baselines.items(), OTHERS, strict=False):
        axes.plot(forecast.times, values, color=colour, linewidth=1, linestyle="--", label=name)
    if forecast.low is not None and forecast.high is not None:
        axes.fill_between(
            forecast.times, forecast.low, forecast.high, color=FORECAST, alpha=0.18, linewidth=0,
            label=interval or "interval",
        )  # fmt: skip
    marker = "o" if len(forecast.predicted) <= 24 else None
    axes.plot(
        forecast.times, forecast.predicted, color=FORECAST, linewidth=1.6, marker=marker, markersize=3, label="forecast"
    )
    axes.axvline(past_times[-1], color=OBSERVED, linewidth=0.6, linestyle=":")  # type: ignore[arg-type]
    axes.margins(x=0.01)
