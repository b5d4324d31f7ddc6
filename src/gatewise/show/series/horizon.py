"""How the error grows with the distance of what is forecast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from gatewise.show.picture import FORECAST, OTHERS, dress, save_both


def draw_horizon(
    errors: Mapping[str, Sequence[float]],
    folder: Path,
    metric: str,
    step: str = "step",
    coverage: Sequence[float] | None = None,
    wanted: float | None = None,
) -> list[Path]:
    """Draw ``horizon.svg`` and ``horizon.png``: a line a method, the forecast's own first.

    Args:
        errors: method -> (H,) its error so many steps ahead; the first is the model.
        folder: of the run.
        metric: what the error is: "RMSE of pm2.5".
        step: what a step is: "1h".
        coverage: (H,) share of what came that lay within the interval; a second panel.
        wanted: the share that was meant to.
    """
    figure = Figure(figsize=(8, 3.8 if coverage is None else 5.6), layout="constrained")
    ratios = [1] if coverage is None else [2, 1]
    panels = figure.subplots(len(ratios), 1, squeeze=False, sharex=True, height_ratios=ratios)[:, 0]
    for place, (name, values) in enumerate(errors.items()):
        ahead = range(1, len(values) + 1)
        colour, width = (FORECAST, 2.0) if place == 0 else (OTHERS[(place - 1) % len(OTHERS)], 1.2)
        marker = "o" if len(values) <= 24 else None
        panels[0].plot(ahead, values, color=colour, linewidth=width, marker=marker, markersize=3, label=name)
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel(metric, parse_math=False)
    panels[0].legend(frameon=False, fontsize=9)
    dress(panels[0], "error by steps ahead")
    if coverage is not None:
        panels[1].plot(range(1, len(coverage) + 1), coverage, color=FORECAST, linewidth=1.6)
        if wanted is not None:
            panels[1].axhline(wanted, color="black", linewidth=0.8, linestyle="--")
            panels[1].annotate(f"wanted {wanted:.0%}", (1, wanted), (0, -10), textcoords="offset points", fontsize=8)
        panels[1].set_ylim(0, 1.05)
        panels[1].set_ylabel("coverage")
        dress(panels[1], "share of what came within the interval")
    panels[-1].set_xlabel(f"steps ahead ({step})" if step != "step" else "steps ahead")
    return save_both(figure, folder, "horizon")
