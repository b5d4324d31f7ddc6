"""A confusion matrix: what each class was taken for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gatewise.show.picture import dress, save_both


def draw_confusion(counts: np.ndarray, classes: Sequence[str], folder: Path, title: str) -> list[Path]:
    """Draw ``confusion.svg`` and ``confusion.png``: a row a true class, in shares of the row.

    Args:
        counts: (K, K) how many of the row's class were taken for the column's.
        classes: K names.
        folder: of the run.
        title: such as "test: accuracy 0.97, macro-F1 0.96".
    """
    counts = np.asarray(counts)
    size = len(classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(4.0, 0.42 * size + 1.8)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    turned = size > 8 or max(map(len, classes)) > 4
    axes.set_xticks(range(size), classes, rotation=90 if turned else 0, fontsize=8, parse_math=False)
    axes.set_yticks(range(size), classes, fontsize=8, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if size <= 30:
        for row, column in zip(*np.nonzero(counts), strict=True):
            # The number of cases where few of them fit, shares in hundredths otherwise.
            said = str(counts[row, column]) if size <= 12 else f"{100 * shares[row, column]:.0f}"
            colour = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, said, ha="center", va="center", fontsize=7, color=colour)
    dress(axes, title if size <= 12 else f"{title} (numbers in %)", grid="")
    return save_both(figure, folder, "confusion")
