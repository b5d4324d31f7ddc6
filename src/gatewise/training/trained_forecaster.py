"""A finished forecast run, for use: forecasting past the end of a table, rolling the origin over its test part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from gatewise.data import Table
from gatewise.data.table.series_table import first_of
from gatewise.data.table.windows import Windows
from gatewise.errors import UserError
from gatewise.layers.forecasting import Anchored
from gatewise.tasks.forecast import Forecasts, forecast_all
from gatewise.tasks.intervals import Intervals, parse_quantiles
from gatewise.training.checkpoint import read_about
from gatewise.training.forecast_data import Extent
from gatewise.training.forecast_measure import figures, forecasts_frame, stamps
from gatewise.training.forecast_model import build
from gatewise.training.forecast_settings import ForecastSettings
from gatewise.training.prepared_table import PreparedTable, Recorded
from gatewise.training.run import Run
from gatewise.training.settings import check_task, read_settings
from gatewise.training.streamed_forecast import check_streamable, forecast_from_start
from gatewise.training.table_source import TableSource, same_table
from gatewise.training.weights import load_model

INTERVALS = "intervals.json"
"""The file in a run's folder with what was fitted on the validation part."""


@dataclass(frozen=True)
class Backtest:
    """Forecasts from every origin, and what they are worth.

    Attributes:
        forecasts: in standard deviations.
        figures: as ``summary.json`` has them.
        frame: a row for each origin, step and target, in the table's own units.
        learned: share of them in the time that the run has learned from; 0 without times.
    """

    forecasts: Forecasts
    figures: dict[str, Any]
    frame: pl.DataFrame
    learned: float


@dataclass(frozen=True)
class TrainedForecaster:
    """A trained forecaster of tables.

    Attributes:
        model: the network.
        recorded: how it reads a table.
        extent: how far it looks back and ahead.
        quantiles: that it forecasts; none of a point forecast.
        intervals: around its forecasts; None where none were asked for.
        learned_until: when the validation part ended; None without times.
        run: the folder it came from.
    """

    model: Anchored
    recorded: Recorded
    extent: Extent
    quantiles: tuple[float, ...]
    intervals: Intervals | None
    learned_until: np.datetime64 | None
    run: Run

    def own_table(self) -> Table:
        """The table that it was trained on.

        Raises:
            UserError: it is not there any more, or has changed.
        """
        _, source = read_settings(self.run, "forecast", ForecastSettings, TableSource.from_config)
        return same_table(self.run, source)

    def predict(self, table: Table | None = None, say: Callable[[str], None] = lambda line: None) -> pl.DataFrame:
        """The steps that follow the end of a table, in its own units and time stamps.

        A series ends with its last row that has a value of a target, where columns are known of the future: rows after
        it tell them. Else with its last row that has any value.

        Args:
            table: None for the one it was trained on.
            say: is told what differs from that.

        Returns:
            A row for each series and step: the series (where there are several), the time, or the row where there is
            none, the step, and for each target the forecast, the ends of its interval and its quantiles.

        Raises:
            UserError: columns, kinds or steps that differ, too few rows, a gap that the run does not fill, what is
                known of the future is not there.
        """
        own = self.own_table() if table is None else table
        prepared = PreparedTable(self.recorded, *self._encoded(own, say))
        places, ends = self._ends(prepared, say)
        behind = ends + np.arange(1 - self.extent.lookback, 1)[:, None]
        ahead = ends + np.arange(1, self.extent.horizon + 1)[:, None]
        self._check_complete(prepared, behind, ahead)
        encoded = prepared.encoded
        parts = (encoded.past(behind), encoded.history(behind), encoded.known(ahead))
        with torch.inference_mode():
            predicted = self.model(*map(torch.from_numpy, parts)).numpy()
        return self._future_frame(prepared, places, ends, predicted)

    def _encoded(self, table: Table, say: Callable[[str], None]) -> tuple[Any, Any]:
        series = self.recorded.schema.read(table, say=say)
        return series, self.recorded.preparation.encode(series, ahead=self.extent.horizon, complete=False)

    def _ends(self, prepared: PreparedTable, say: Callable[[str], None]) -> tuple[list[int], np.ndarray]:
        """The series that are long enough, and of each the last row that is not of the future, of all series one after
        the other."""
        made, table, lookback = prepared.preparation, prepared.series, self.extent.lookback
        columns = made.target_places if made.known_places else sorted({*made.input_places, *made.target_places})
        counts = table.observed_until([table.columns.index(made.columns[place]) for place in columns])
        places = [place for place, count in enumerate(counts) if count >= lookback]
        short = [place for place in range(len(counts)) if place not in places]
        said = [f"{counts[place]} rows{table.series[place].named}" for place in short]
        what = "target" if made.known_places else "value"
        if not places:
            raise UserError(
                f"{table.name}: {said[0]} up to the last {what}, and the run looks back on {lookback}; give more rows"
            )
        if short:
            say(
                f"{table.name}: no forecast of {first_of(said)}: the run looks back on {lookback} up to the last {what}"
            )
        return places, np.array([prepared.encoded.starts[place] + counts[place] - 1 for place in places])

    def _check_complete(self, prepared: PreparedTable, behind: np.ndarray, ahead: np.ndarray) -> None:
        """Raise where something is missing that no policy fills, or that nothing may be put in the place of."""
        made, filled = prepared.preparation, prepared.encoded.filled
        known = filled.as_observed(ahead, made.known_places)
        if np.isnan(known).any():
            step, series, place = np.argwhere(np.isnan(known))[0]
            name = made.origins[made.known_places[place]]
            raise UserError(
                f"{prepared.series.name}: {self._moment(prepared, int(ahead[step, series]))} has nothing in column "
                f"'{name}', which the run knows of the {self.extent.horizon} steps to forecast; add rows after the "
                "last target with what is known of them, and nothing in the targets"
            )
        if made.missing not in ("error", "drop"):
            return
        places = [*made.input_places, *made.known_inputs]
        gaps = np.isnan(filled.as_observed(behind, places))
        if gaps.any():
            row, series, place = np.argwhere(gaps)[0]
            raise UserError(
                f"{prepared.series.name}: {self._moment(prepared, int(behind[row, series]))} has nothing in column "
                f"'{made.origins[places[place]]}', and the forecast looks back on it; fill it, or train with --missing "
                "interpolate or mask"
            )

    def _moment(self, prepared: PreparedTable, row: int) -> str:
        """A row of all series as a person finds it: by its number in the file, or by its time."""
        starts = prepared.encoded.starts
        place = int(np.searchsorted(starts, row, side="right")) - 1
        series, row = prepared.series.series[place], row - starts[place]
        named = series.named
        if row < len(series) and series.rows[row] >= 0:
            return f"row {series.rows[row]}{named}"
        if series.times is None:
            return f"step {row - len(series) + 1} after the last row{named}"
        return f"{np.datetime_as_string(stamps(prepared.series, self.extent.horizon)[place][row], unit='s')}{named}"

    def _future_frame(
        self, prepared: PreparedTable, places: list[int], ends: np.ndarray, predicted: np.ndarray
    ) -> pl.DataFrame:
        horizon, starts = self.extent.horizon, prepared.encoded.starts
        when = stamps(prepared.series, horizon)
        times = [when[place][end - starts[place] + 1 :][:horizon] for place, end in zip(places, ends, strict=True)]
        schema, columns = prepared.schema, dict[str, Any]()
        if schema.series:
            columns[schema.series] = np.repeat([prepared.series.series[place].key for place in places], horizon)
        one = schema.time is not None and len(schema.time.names) == 1
        clock = "row" if schema.time is None else schema.time.names[0] if one else "time"
        columns[clock] = np.concatenate(times)
        columns["step"] = np.tile(np.arange(1, horizon + 1), len(ends))
        values = {"": predicted[..., predicted.shape[-1] // 2]}
        if self.intervals is not None:
            values["_low"], values["_high"] = self.intervals.around(predicted)
        values |= {f"_q{q:g}": predicted[..., place] for place, q in enumerate(self.quantiles)}
        decoded = {ending: prepared.preparation.decode_targets(part) for ending, part in values.items()}
        for place, name in enumerate(prepared.preparation.target_names):
            for ending, part in decoded.items():
                columns[name + ending] = part[..., place].T.reshape(-1)
        return pl.DataFrame(columns)

    def written(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What :meth:`predict` or :meth:`backtest` gave with its times as texts, written as those of the table it was
        trained on."""
        time = self.recorded.schema.time
        if time is None or len(time.names) != 1:
            return frame
        times = [column for column in frame if column.dtype == pl.Datetime]
        return frame.with_columns(time.written(column.to_numpy()).alias(column.name) for column in times)

    def backtest(
        self, table: Table | None = None, from_start: bool = False, progress: Callable[[int], None] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Backtest:  # fmt: skip
        """Forecasts from every origin: of the test part of its own table, of all rows of another.

        Args:
            table: None for the one it was trained on.
            from_start: read every series once from its beginning, and forecast from the state at each origin, which
                then has seen the whole past and not ``lookback`` steps of it.
            progress: called with the number of origins just done.
            say: is told what differs from the table that it was trained on.

        Raises:
            UserError: as :meth:`predict`; ``from_start`` of a model that looks at one window at a time.
        """
        if from_start:
            check_streamable(self.model, self.recorded.preparation)
        prepared = self.recorded.read(self.own_table() if table is None else table, say=say)
        part = "test" if table is None else "all"
        windows = Windows(prepared.encoded, self.extent.lookback, self.extent.horizon, part).require()
        run = forecast_from_start if from_start else forecast_all
        found = run(self.model, windows, self.extent.season, progress=progress)
        made = prepared.preparation
        frame = forecasts_frame(found, self.intervals, self.quantiles, made, prepared.series, self.extent.season)
        learned = 0.0
        if table is not None and self.learned_until is not None:
            learned = float((frame["time"].to_numpy() <= self.learned_until).mean())
        return Backtest(found, figures(found, self.intervals, self.quantiles, made), frame, learned)


def load_forecast_run(folder: str | Path) -> TrainedForecaster:
    """The trained model of a run folder.

    Everything is checked against the file's header before a weight is allocated.

    Raises:
        UserError: no such run, one that is not finished, a newer version's, or weights that are damaged or disagree
            with their configuration.
    """
    run = Run.open(Path(folder))
    check_task(run, "forecast")
    return forecaster(run, read_intervals(run))


def forecaster(run: Run, intervals: Intervals | None) -> TrainedForecaster:
    """The trained model of a run, with intervals that may be of now."""
    model = load_model(run, build)
    about, _ = read_about(run.weights_file)
    try:
        extent, quantiles = Extent(**about["extent"]), parse_quantiles(about["quantiles"])
        sizes = model.model.sizes
        if (extent.lookback, extent.horizon) != (sizes.lookback, sizes.horizon) or extent.season < 1:
            raise ValueError
        if (len(quantiles) or 1) != sizes.outputs:
            raise ValueError
        recorded = Recorded.from_config(about)
        until = np.datetime64(about["learned_until"]) if about["learned_until"] else None
    except (KeyError, TypeError, ValueError) as error:
        why = f": {error}" if isinstance(error, UserError) else ""
        raise UserError(
            f"{run.weights_file}: what it says of its forecasts does not fit its weights{why}; use another copy"
        ) from None
    return TrainedForecaster(model, recorded, extent, quantiles, intervals, until, run)


def read_intervals(run: Run) -> Intervals | None:
    """What was fitted on the validation part; None where no intervals were asked for."""
    settings, _ = read_settings(run, "forecast", ForecastSettings, TableSource.from_config)
    if not settings.interval:
        return None
    about, _ = read_about(run.weights_file)
    try:
        horizon, targets = about["extent"]["horizon"], about["model"]["target_size"]
    except (KeyError, TypeError):
        raise UserError(f"{run.weights_file}: says nothing of how far it looks; use another copy") from None
    return run.read_fitted(INTERVALS, lambda config: Intervals.from_config(config, horizon, targets))
