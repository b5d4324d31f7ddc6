"""Residuals of a run's test part, each with its step: for whether one tells of the next."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from gatewise.training.prepared_table import PreparedTable
from gatewise.training.run import Run
from gatewise.training.table_file import write_table

RESIDUALS = "residuals.csv"
"""The file in a run's folder with them."""

_MOST_NUMBERS, _FEWEST_STEPS = 100_000, 1000
"""That are written; of more, the first steps."""


def write_residuals(
    run: Run, prepared: PreparedTable, places: np.ndarray, truth: np.ndarray, predicted: np.ndarray
) -> None:
    """A row for each step: ``series`` (where there are several), ``step``, from 1 with the series' first row, and what
    is left of each target, ``<target>_residual``, observed less predicted in the table's own units.

    Args:
        run: whose folder it is written into.
        prepared: the table.
        places: (N, 2), the series and the row in it.
        truth: (N, k) standardised, NaN where nothing was observed.
        predicted: (N, k) standardised.
    """
    made, series = prepared.preparation, prepared.series.series
    count = max(_FEWEST_STEPS, _MOST_NUMBERS // len(made.target_names))
    columns: dict[str, Any] = {}
    if len(series) > 1:
        columns["series"] = np.array([one.key for one in series])[places[:count, 0]]
    columns["step"] = places[:count, 1] + 1
    left = made.decode_targets(truth[:count]) - made.decode_targets(predicted[:count])
    columns |= {f"{name}_residual": values for name, values in zip(made.target_names, left.T, strict=True)}
    write_table(pl.DataFrame(columns), run.folder / RESIDUALS)


def chains_of(frame: pl.DataFrame, target: str) -> list[np.ndarray]:
    """Of each series the residuals of a target, one a step, NaN for a step without one.

    >>> frame = pl.DataFrame({"series": ["a", "a", "b"], "step": [8, 10, 3], "sales_residual": [0.5, 1.0, 2.0]})
    >>> [chain.tolist() for chain in chains_of(frame, "sales")]
    [[0.5, nan, 1.0], [2.0]]
    """
    parts = frame.partition_by("series", maintain_order=True) if "series" in frame.columns else [frame]
    chains = []
    for part in parts:
        steps = part["step"].to_numpy() - int(part["step"].min() or 0)  # type: ignore[arg-type]
        chain = np.full(int(steps.max()) + 1 if len(steps) else 0, np.nan)
        chain[steps] = part[f"{target}_residual"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        chains.append(chain)
    return chains
