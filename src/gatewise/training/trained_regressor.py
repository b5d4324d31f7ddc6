"""A finished regression run, for use: predicting columns of a table from others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gatewise.data import Table
from gatewise.data.table.windows import Windows
from gatewise.errors import UserError
from gatewise.layers.regressor import Regressor
from gatewise.tasks.regress import Predictions, predict_all
from gatewise.training.checkpoint import read_about
from gatewise.training.prepared_table import PreparedTable, Recorded
from gatewise.training.regress_settings import RegressSettings
from gatewise.training.run import Run
from gatewise.training.settings import check_task, read_settings
from gatewise.training.table_source import TableSource, same_table
from gatewise.training.weights import load_model

_DIGITS = 6
"""Of a target's deviation that are written: a network calculates with no more."""


@dataclass(frozen=True)
class TrainedRegressor:
    """A trained regressor of tables.

    Attributes:
        model: the network.
        recorded: how it reads a table.
        run: the folder it came from.
    """

    model: Regressor
    recorded: Recorded
    run: Run

    def own_table(self) -> Table:
        """The table that it was trained on.

        Raises:
            UserError: it is not there any more, or has changed.
        """
        _, source = read_settings(self.run, "regress", RegressSettings, TableSource.from_config)
        return same_table(self.run, source)

    def predict(self, table: Table | None = None, say: Callable[[str], None] = lambda line: None) -> pl.DataFrame:
        """The targets of every row of a table that has a whole window behind it.

        Args:
            table: with the columns that it predicts from; targets may be absent. None for the one it was trained on.
            say: is told what differs from that.

        Returns:
            A row for each prediction, as :func:`predictions_frame` has them.

        Raises:
            UserError: columns, kinds or steps that differ, too few rows, a gap that the run does not fill.
        """
        return predictions_frame(*self._predicted(self.own_table() if table is None else table, say))

    def predict_rows(self, table: Table) -> np.ndarray:
        """(rows, k), the targets of every row of a table in the table's order; NaN without a whole window behind it.

        Raises:
            UserError: as :meth:`predict`; a run that resamples, whose steps are no rows.
        """
        if self.recorded.schema.resample:
            raise UserError(f"{table.name}: the run resamples, and what it predicts is of no row; use trained_.predict")
        found, prepared = self._predicted(table)
        values = np.full((len(table.frame), found.predicted.shape[1]), np.nan)
        for place, series in enumerate(prepared.series.series):
            here = found.origins[:, 0] == place
            values[series.rows[found.origins[here, 1]] - table.first_row] = found.predicted[here]
        return self.recorded.preparation.decode_targets(values)

    def _predicted(
        self, own: Table, say: Callable[[str], None] = lambda line: None
    ) -> tuple[Predictions, PreparedTable]:  # fmt: skip
        prepared = self.recorded.read(own, complete=False, say=say)
        made = self.recorded.preparation
        if made.missing == "error":
            made.check_complete(prepared.series, targets=False)
        windows = Windows(prepared.encoded, self.model.lookback, part="all", same_step=True)
        if not len(windows) and max(map(len, prepared.series.series)) < self.model.lookback:
            rows = max(map(len, prepared.series.series))
            raise UserError(f"{own.name}: {rows} rows, and the run looks at {self.model.lookback}; give more rows")
        return predict_all(self.model, windows.require()), prepared


def predictions_frame(found: Predictions, prepared: PreparedTable) -> pl.DataFrame:
    """Predictions in the table's own units.

    Returns:
        A row for each: the series (where there are several), the time as the file has it (or the file's row where there
        is none), and for each target ``<target>_observed`` and ``<target>_predicted``.
    """
    schema, table = prepared.schema, prepared.series
    places, rows = found.origins.T
    columns: dict[str, Any] = {}
    if schema.series:
        columns[schema.series] = np.array([series.key for series in table.series])[places]

    def gathered(parts: list[np.ndarray]) -> np.ndarray:
        starts = np.cumsum([0, *map(len, parts)])
        return np.concatenate(parts)[starts[places] + rows]

    if schema.time is None:
        columns["row"] = gathered([series.rows for series in table.series])
    else:
        times = gathered([series.times for series in table.series if series.times is not None])
        columns[schema.time.names[0] if len(schema.time.names) == 1 else "time"] = schema.time.written(times)
    made = prepared.preparation
    predicted = made.decode_targets(found.predicted)
    for place, name in enumerate(made.target_names):
        own = table.columns.index(name)
        columns[f"{name}_observed"] = gathered([series.values[:, own] for series in table.series])
        deviation = made.scale.deviation[made.target_places[place]]
        columns[f"{name}_predicted"] = predicted[:, place].round(_DIGITS - math.floor(math.log10(deviation)))
    return pl.DataFrame(columns)


def load_regress_run(folder: str | Path) -> TrainedRegressor:
    """The trained model of a run folder.

    Everything is checked against the file's header before a weight is allocated.

    Raises:
        UserError: no such run, a newer version's, or weights that are damaged or disagree with their configuration.
    """
    run = Run.open(Path(folder))
    check_task(run, "regress")
    model = load_model(run, lambda about: Regressor(**about["model"]))
    about, _ = read_about(run.weights_file)
    recorded = Recorded.from_config(about)
    made = recorded.preparation
    if (model.input_size, model.head.out_features) != (made.input_size, len(made.target_names)):
        raise UserError(f"{run.weights_file}: what it says of its table does not fit its weights; use another copy")
    return TrainedRegressor(model, recorded, run)
