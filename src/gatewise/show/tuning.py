"""A search as a picture: what each trial came to, and how that goes with every setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from gatewise.show.picture import FORECAST, OTHERS, TRAIN, dress, save_both

_COLUMNS = 3
_WIDE = 30
"""A range from which on powers of ten alone are written under its axis: more would not fit."""
_DIVERGED, _PRUNED = OTHERS[-1], OTHERS[2]


def draw_search(
    trials: Sequence[int], values: Sequence[float], pruned: Sequence[bool], settings: Mapping[str, Sequence[float]],
    scales: Mapping[str, str], folder: Path, title: str,
) -> list[Path]:  # fmt: skip
    """Draw ``study.svg`` and ``study.png``: values over the trials with the best so far, then a panel a setting.

    Args:
        trials: the numbers of those that are done.
        values: what each came to, less is better; infinity where it diverged.
        pruned: which of them were stopped early.
        settings: name -> what each trial had; the best trial is marked.
        scales: name -> ``log`` or ``linear``.
        folder: where they go.
        title: what was searched.
    """
    rows = math.ceil(len(settings) / _COLUMNS)
    figure = Figure(figsize=(9, 3.2 + 2.3 * rows), layout="constrained")
    grid = figure.add_gridspec(rows + 1, _COLUMNS, height_ratios=[1.3, *[1.0] * rows])
    finite = [v for v in values if math.isfinite(v)]
    top = _top(finite)
    shown = [min(v, top) for v in values]
    marks = [_mark(v, p, top) for v, p in zip(values, pruned, strict=True)]
    complete = [v if math.isfinite(v) and not p else math.inf for v, p in zip(values, pruned, strict=True)]
    best = min(range(len(values)), key=lambda i: (complete[i], trials[i]), default=None)
    if best is not None and not math.isfinite(complete[best]):
        best = None
    course = figure.add_subplot(grid[0, :])
    _scatter(course, trials, shown, marks)
    running = [v if math.isfinite(v) else math.nan for v in accumulate(complete, min)]
    course.step(trials, running, where="post", color=FORECAST, linewidth=1.6, label="best so far", zorder=1)
    course.xaxis.set_major_locator(MaxNLocator(integer=True))
    course.set_xlabel("trial")
    course.set_ylabel("held-out loss")
    dress(course, title)
    course.legend(frameon=False, fontsize=8, ncols=4)
    for place, (name, tried) in enumerate(settings.items()):
        axes = figure.add_subplot(grid[1 + place // _COLUMNS, place % _COLUMNS])
        _scatter(axes, tried, shown, marks)
        if best is not None:
            _ring(axes, tried[best], shown[best])
        axes.set_xscale(scales[name])
        if scales[name] == "log":
            _few_ticks(axes, tried)
        axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
        axes.margins(x=0.15, y=0.1)
        axes.set_xlabel(name.replace("_", " "))
        dress(axes, "")
    return save_both(figure, folder, "study")


def _ring(axes: Axes, across: float, up: float) -> None:
    """Marks the best trial."""
    axes.plot([across], [up], "o", markersize=10, markerfacecolor="none", markeredgecolor=FORECAST)
    axes.annotate(f"{across:.3g}", (across, up), (7, 5), textcoords="offset points", fontsize=8)


def _few_ticks(axes: Axes, tried: Sequence[float]) -> None:
    """So that what stands under a logarithmic axis has room."""
    wide = max(tried, default=1.0) > _WIDE * min(tried, default=1.0)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5), numticks=5))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _top(finite: Sequence[float]) -> float:
    """The highest value that is drawn where it is: one that is far off would press all others flat."""
    if not finite:
        return 1.0
    ordered = sorted(finite)
    middle, low = ordered[len(ordered) // 2], ordered[0]
    return min(ordered[-1], middle + 4 * (middle - low)) if middle > low else ordered[-1]


def _mark(value: float, pruned: bool, top: float) -> str:
    if not math.isfinite(value):
        return "diverged"
    return "off the picture" if value > top else "pruned" if pruned else "complete"


_STYLES = {
    "complete": {"marker": "o", "color": TRAIN},
    "pruned": {"marker": "x", "color": _PRUNED},
    "off the picture": {"marker": "^", "color": TRAIN},
    "diverged": {"marker": "^", "color": _DIVERGED},
}


def _scatter(axes: Axes, across: Sequence[float], up: Sequence[float], marks: Sequence[str]) -> None:
    for name, style in _STYLES.items():
        points = [(x, y) for x, y, mark in zip(across, up, marks, strict=True) if mark == name]
        if points:
            axes.scatter(*zip(*points, strict=True), s=22, alpha=0.8, label=name, zorder=2, **style)
