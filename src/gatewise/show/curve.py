"""The course of a run as a picture: loss against training time, on training and held-out text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from gatewise.show.picture import HELDOUT, TRAIN, along_steps, dress, save_both
from gatewise.training import Run


def draw_curve(rows: Sequence[Mapping[str, str]], folder: Path, title: str, loss_unit: str = "nats per token") -> None:
    """Draw ``metrics.csv`` as ``curve.svg`` and ``curve.png``.

    Args:
        rows: the metrics, as :meth:`gatewise.training.Run.read_metrics` gives them.
        folder: where the pictures go; they are replaced whole.
        title: what the run was.
        loss_unit: of the loss.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    steps = [int(row["step"]) for row in rows]
    for column, label, colour in (("train_loss", "training", TRAIN), ("heldout_loss", "held out (estimate)", HELDOUT)):
        points = [(s, float(row[column])) for s, row in zip(steps, rows, strict=True)]
        points = [(s, v) for s, v in points if math.isfinite(v)]
        if not points:
            continue
        axes.plot(*zip(*points, strict=True), color=colour, marker="o", markersize=3, linewidth=1.6, label=label)
        axes.annotate(
            f"{points[-1][1]:.3f}", points[-1], textcoords="offset points", xytext=(6, 0), va="center", color=colour
        )
    along_steps(axes)
    axes.set_ylabel(f"loss ({loss_unit})")
    dress(axes, title)
    axes.margins(x=0.08)
    if axes.lines:
        axes.legend(frameon=False)
    save_both(figure, folder, "curve")


def draw_run(run: Run, loss_unit: str = "nats per token") -> None:
    """Draw a run's ``curve.svg`` and ``curve.png``."""
    title = f"{run.folder.name}: {run.read_config()['settings']['cell']}"
    draw_curve(run.read_metrics(), run.folder, title, loss_unit)
