"""The pictures of a regression run."""

from __future__ import annotations

import numpy as np
import polars as pl

from gatewise.data.table.clock import Frequency
from gatewise.show.curve import draw_run
from gatewise.show.series.observed import draw_observed
from gatewise.show.series.residuals import draw_residuals
from gatewise.tasks.baselines import season_of
from gatewise.tasks.scores import scores
from gatewise.training import Run
from gatewise.training.checkpoint import read_about
from gatewise.training.regress_run import PREDICTIONS
from gatewise.training.residuals import RESIDUALS, chains_of


def draw_regress_run(run: Run) -> None:
    """Draw a run's ``curve.svg``; of its test part ``observed`` and, of the first target, ``residuals``."""
    config = run.read_config()
    draw_run(run, f"{config['settings']['loss']}, standardised")
    if not (run.folder / PREDICTIONS).exists():  # no test part
        return
    frame = pl.read_csv(run.folder / PREDICTIONS)
    names = [name.removesuffix("_observed") for name in frame.columns if name.endswith("_observed")]

    def column(name: str) -> np.ndarray:
        return frame[name].cast(pl.Float64).to_numpy()

    targets = {name: (column(f"{name}_observed"), column(f"{name}_predicted")) for name in names}
    words = {name: f"R² {scores(*pair)['r2']:.3f}" for name, pair in targets.items()}
    draw_observed(targets, run.folder, words)
    first, (observed, predicted) = next(iter(targets.items()))
    chains = chains_of(pl.read_csv(run.folder / RESIDUALS, infer_schema_length=None), first)
    frequency = read_about(run.weights_file)[0]["schema"]["frequency"]
    season = season_of(Frequency.parse(frequency) if frequency else None)
    draw_residuals(observed - predicted, run.folder, first, None, chains, season)
