"""What forecasts are worth: figures for ``summary.json``, and a table of them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from gatewise.data.table.preparation import Preparation
from gatewise.data.table.series_table import SeriesTable
from gatewise.tasks.forecast import Forecasts
from gatewise.tasks.intervals import Intervals, coverage
from gatewise.tasks.scores import scored

FORECAST = "forecast"
"""What the model's figures are called beside those of the baselines."""


def tree(truth: np.ndarray, predicted: np.ndarray, preparation: Preparation) -> dict[str, Any]:
    """The metrics of forecasts (H, N, k), in both units; see :func:`gatewise.tasks.scores.scored`.

    What a baseline cannot say, for want of a past without gaps, is not held against it.
    """
    known = np.where(np.isnan(predicted), np.nan, truth)
    return scored(known, predicted, preparation.target_names, preparation.decode_targets)


def figures(
    test: Forecasts, intervals: Intervals | None, quantiles: Sequence[float], preparation: Preparation
) -> dict[str, Any]:
    """What the summary says of the test part."""
    found = {
        "test": tree(test.truth, test.point, preparation),
        "baselines": {name: tree(test.truth, values, preparation) for name, values in test.baselines.items()},
        "per_horizon": _per_horizon(test, preparation),
    }
    if intervals is not None:
        found["intervals"] = _intervals(test, intervals, quantiles, preparation)
    if quantiles:
        known = ~np.isnan(test.truth)
        below = [(test.truth <= test.predicted[..., place])[known].mean().item() for place in range(len(quantiles))]
        # Keys of JSON are texts.
        found["quantiles"] = {f"{q:g}": {"share_below": share} for q, share in zip(quantiles, below, strict=True)}
    return found


def _per_horizon(test: Forecasts, preparation: Preparation) -> dict[str, Any]:
    """The root mean squared error of every step: over all targets in standard deviations, and of each in its units."""
    decode = preparation.decode_targets
    named = {FORECAST: test.point, **test.baselines}
    units = np.asarray(decode(np.ones(len(preparation.target_names)))) - decode(np.zeros(len(preparation.target_names)))
    errors = {name: (values.astype(np.float64) - test.truth) ** 2 for name, values in named.items()}
    return {
        "standardised": {name: _root(squares.reshape(len(squares), -1)) for name, squares in errors.items()},
        "original": {
            target: {name: _root(squares[..., place] * unit**2) for name, squares in errors.items()}
            for place, (target, unit) in enumerate(zip(preparation.target_names, units, strict=True))
        },
    }


def _root(squares: np.ndarray) -> list[float]:
    """Of the mean of each row, over what is known; NaN where nothing is."""
    known = ~np.isnan(squares)
    total = np.where(known, squares, 0.0).sum(1)
    with np.errstate(invalid="ignore"):
        return np.sqrt(total / known.sum(1)).tolist()


def _intervals(
    test: Forecasts, intervals: Intervals, quantiles: Sequence[float], preparation: Preparation
) -> dict[str, Any]:
    low, high = intervals.around(test.predicted)
    truth, below, above = (preparation.decode_targets(values)[..., None] for values in (test.truth, low, high))
    return {
        "method": "conformalised quantiles" if quantiles else "split conformal",
        "steps_together": intervals.together,
        "vouched": float(intervals.vouched.min()),
        **coverage(test.truth, low, high, intervals.level),
        "original": {
            target: coverage(truth[..., place, :], below[..., place, :], above[..., place, :], intervals.level)
            for place, target in enumerate(preparation.target_names)
        },
    }


def horizon_frame(found: Mapping[str, Any]) -> pl.DataFrame:
    """What :func:`figures` says of each step as a table: ``units``, ``target``, ``step``, the root mean squared error
    of the forecast and of the baselines, and of intervals ``coverage`` and ``mean_width``."""
    by_step, parts = found["per_horizon"], []
    rows = {("standardised", ""): by_step["standardised"]}
    rows |= {("original", target): errors for target, errors in by_step["original"].items()}
    intervals = found.get("intervals")
    for (units, target), errors in rows.items():
        columns = {"units": units, "target": target, "step": range(1, len(errors[FORECAST]) + 1), **errors}
        if intervals is not None:
            covered = intervals["original"][target] if target else intervals
            columns |= {name: covered[f"{name}_per_horizon"] for name in ("coverage", "mean_width")}
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts)


def stamps(table: SeriesTable, ahead: int) -> list[np.ndarray]:
    """When each step of each series is, ``ahead`` more of them after its last: times, or rows of the file."""
    found = []
    for series in table.series:
        if series.times is not None and table.frequency is not None:
            later = table.frequency.after(series.times[-1], ahead)
            found.append(np.concatenate([series.times, later]))
        else:
            found.append(np.concatenate([series.rows, series.rows[-1] + np.arange(1, ahead + 1)]))
    return found


def forecasts_frame(
    forecasts: Forecasts, intervals: Intervals | None, quantiles: Sequence[float], preparation: Preparation,
    table: SeriesTable, season: int,
) -> pl.DataFrame:  # fmt: skip
    """A row for each window, step and target: ``series`` (where there are several), ``origin`` (when the last known
    value was), ``step``, ``time``, ``target``, ``observed``, ``predicted``, ``low``, ``high``, the quantiles and the
    forecasts without learning, in the file's own units. Without time, ``origin`` and ``time`` are rows of the file.

    What is a value of the file, observed or the forecast of naive or seasonal naive, is that value to the last digit.
    """
    decode, (horizon, count, targets) = preparation.decode_targets, forecasts.truth.shape
    when = stamps(table, horizon)
    origins = np.array([when[series][row] for series, row in forecasts.origins])
    times = np.array([when[series][row + 1 : row + horizon + 1] for series, row in forecasts.origins])
    columns: dict[str, Any] = {}
    if len(table.series) > 1:
        columns["series"] = np.repeat([table.series[place].key for place in forecasts.origins[:, 0]], horizon * targets)
    columns["origin"] = np.repeat(origins, horizon * targets)
    columns["step"] = np.tile(np.repeat(np.arange(1, horizon + 1), targets), count)
    columns["time"] = np.repeat(times.reshape(-1), targets)
    columns["target"] = np.tile(np.array(preparation.target_names, dtype=object), count * horizon)
    values = {"observed": forecasts.truth, "predicted": forecasts.point}
    if intervals is not None:
        values["low"], values["high"] = intervals.around(forecasts.predicted)
    values |= {f"q{q:g}": forecasts.predicted[..., place] for place, q in enumerate(quantiles)}
    rows = _rows_meant(forecasts, season)
    for name, one in (values | dict(forecasts.baselines)).items():
        decoded = decode(one)
        if name in rows:
            own = _values_at(forecasts.origins[:, 0], rows[name], preparation, table)
            decoded = np.where(preparation.encode_targets(own) == one, own, decoded)
        columns[name] = decoded.transpose(1, 0, 2).reshape(-1)
    columns["target"] = pl.Series(columns["target"].tolist(), dtype=pl.String)
    return pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None))


def _rows_meant(forecasts: Forecasts, season: int) -> dict[str, np.ndarray]:
    """(H, N), the rows of their series whose values these are, where nothing is missing."""
    last, steps = forecasts.origins[:, 1], np.arange(len(forecasts.truth))[:, None]
    return {
        "observed": last + 1 + steps,
        "naive": last + 0 * steps,
        "seasonal_naive": last + 1 - season + steps % season,
    }


def _values_at(
    series: np.ndarray, rows: np.ndarray, preparation: Preparation, table: SeriesTable
) -> np.ndarray:  # fmt: skip
    """(H, N, k), the targets in rows (H, N) of series (N,), or the last known before; NaN where nothing is."""
    columns = [table.columns.index(name) for name in preparation.target_names]
    found = np.full((*rows.shape, len(columns)), np.nan)
    for place in np.unique(series):
        here = series == place
        own = table.series[place].values[:, columns]
        if np.isnan(own).any():
            own = pl.DataFrame(own).fill_nan(None).select(pl.all().forward_fill()).to_numpy()
        values = own[np.maximum(rows[:, here], 0)]
        found[:, here] = np.where(rows[:, here, None] < 0, np.nan, values)
    return found
