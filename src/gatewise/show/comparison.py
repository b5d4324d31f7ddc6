"""Cells beside each other as a picture: held-out loss with every seed, against the model's speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from gatewise.show.picture import HELDOUT, TRAIN, save_both
from gatewise.training.compare import Result


def draw_comparison(results: Sequence[Result], folder: Path, title: str) -> list[Path]:
    """Draw ``comparison.svg`` and ``comparison.png``: a row a cell, a dot a seed, a line at the mean."""
    figure = Figure(figsize=(8, 1.4 + 0.5 * len(results)), layout="constrained")
    loss, speed = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [3, 2]})
    rows = range(len(results))
    for row, result in zip(rows, results, strict=True):
        loss.plot(result.losses, [row] * len(result.losses), "o", color=HELDOUT, markersize=5, alpha=0.7)
        loss.plot([result.loss] * 2, [row - 0.3, row + 0.3], color=HELDOUT, linewidth=2)
        loss.annotate(f"{result.loss:.3f}", (result.loss, row - 0.32), ha="center", va="bottom", fontsize=8)
    rates = [sum(r.tokens_per_second) / len(r.tokens_per_second) / 1000 for r in results]
    bars = speed.barh(list(rows), rates, color=TRAIN, height=0.5)
    speed.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=8)
    labels = [f"{r.label}\n{r.parameters / 1000:,.0f}k parameters" for r in results]
    loss.set_yticks(list(rows), labels, fontsize=8)
    loss.invert_yaxis()
    loss.margins(x=0.1, y=0.15)
    speed.margins(x=0.2)
    loss.set_xlabel("held-out loss (nats per token): less is better")
    speed.set_xlabel("thousand tokens per second")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    for axes in (loss, speed):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", linewidth=0.5, alpha=0.4)
    return save_both(figure, folder, "comparison")
