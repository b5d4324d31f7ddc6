"""Observed against predicted, target by target: on the diagonal is right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gatewise.show.picture import FORECAST, OBSERVED, dress, save_both

_MOST_POINTS = 4000


def draw_observed(
    targets: Mapping[str, tuple[np.ndarray, np.ndarray]], folder: Path, words: Mapping[str, str] | None = None
) -> list[Path]:
    """Draw ``observed.svg`` and ``observed.png``.

    Args:
        targets: name -> (observed (N,), predicted (N,)) in the file's units; pairs with a NaN are left out. Of many
            pairs every so many-th is drawn.
        folder: of the run.
        words: name -> what its panel says, such as "R² 0.91".
    """
    columns = min(3, len(targets))
    rows = math.ceil(len(targets) / columns)
    figure = Figure(figsize=(3.6 * columns + 0.4, 3.6 * rows + 0.2), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, (observed, predicted)) in zip(panels, targets.items(), strict=False):
        both = np.stack([observed, predicted], -1).astype(float)
        both = both[np.isfinite(both).all(-1)]
        shown = both[:: max(1, math.ceil(len(both) / _MOST_POINTS))]
        axes.scatter(*shown.T, s=6, color=FORECAST, alpha=0.35, linewidths=0, rasterized=True)
        if len(both):
            low, high = both.min(), both.max()
            axes.plot([low, high], [low, high], color=OBSERVED, linewidth=1)
        axes.set_xlabel("observed")
        axes.set_ylabel("predicted")
        axes.set_aspect("equal", adjustable="datalim")
        said = (words or {}).get(name, "")
        dress(axes, f"{name}: {said}" if said else name, grid="both")
    for axes in panels[len(targets) :]:
        axes.set_visible(False)
    return save_both(figure, folder, "observed")
