"""Pictures of a forecast run, from what is in its folder: the loss, forecasts, the error by step, residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from gatewise.show.curve import draw_run
from gatewise.show.series import Forecast, draw_forecasts, draw_horizon, draw_residuals
from gatewise.tasks.baselines import BASELINES
from gatewise.training import Run
from gatewise.training.checkpoint import read_about
from gatewise.training.forecast_measure import FORECAST
from gatewise.training.forecast_run import HORIZON, PREDICTIONS
from gatewise.training.prepared_table import Recorded
from gatewise.training.residuals import RESIDUALS, chains_of

_PANELS = 3


def draw_forecast_run(run: Run) -> None:
    """Draw ``curve.svg``; and of the first target (of the first series) ``forecast``, ``horizon`` and ``residuals``, as
    SVG and as PNG."""
    settings = run.read_config()["settings"]
    draw_run(run, "standardised")
    if not (run.folder / PREDICTIONS).exists():  # there is no test part
        return
    about, _ = read_about(run.weights_file)
    predictions = pl.read_csv(run.folder / PREDICTIONS, infer_schema_length=None)
    when = Recorded.from_config(about).schema.time
    if when is not None:
        predictions = predictions.with_columns(when.read(predictions[name]).alias(name) for name in ("origin", "time"))
    target = str(predictions["target"][0])
    of_target = predictions.filter(pl.col("target").cast(pl.String) == target)
    if "series" in predictions.columns:
        of_target = of_target.filter(pl.col("series") == of_target["series"][0])
    level = settings["interval"]
    draw_forecasts(_panels(of_target), run.folder, target, f"{level:.0%} interval" if level else "")
    _draw_horizon(run, target, level)
    ordered = of_target.sort("time", "origin")
    residuals = _numbers(ordered, "observed") - _numbers(ordered, "predicted")
    chain = chains_of(pl.read_csv(run.folder / RESIDUALS, infer_schema_length=None), target)[:1]
    season = int(about["extent"]["season"])
    draw_residuals(residuals, run.folder, target, ordered["time"].to_numpy(), chain, season, "one step")


def _panels(predictions: pl.DataFrame) -> list[Forecast]:
    """Some windows, evenly spread, each after what was observed before it."""
    origins = predictions["origin"].unique().sort()
    places = np.linspace(0, len(origins) - 1, _PANELS + 1).astype(int)[1:]
    observed = predictions.unique("time", keep="first").sort("time")
    return [_panel(predictions, observed, origins[int(place)]) for place in dict.fromkeys(places)]


def _panel(predictions: pl.DataFrame, observed: pl.DataFrame, origin: Any) -> Forecast:
    window = predictions.filter(pl.col("origin") == origin).sort("step")
    past = observed.filter(pl.col("time") <= origin)
    if past.is_empty():  # the test part's first window: nothing in the file lies before it
        past = window.head(1).with_columns(time=pl.col("origin"), observed=pl.lit(None, pl.Float64))
    band = {name: _numbers(window, name) for name in ("low", "high") if name in window.columns}
    return Forecast(
        past=_numbers(past, "observed"), predicted=_numbers(window, "predicted"), past_times=past["time"].to_numpy(),
        times=window["time"].to_numpy(), observed=_numbers(window, "observed"),
        baselines={name.replace("_", " "): _numbers(window, name) for name in BASELINES}, title=f"from {origin} on",
        **band,
    )  # fmt: skip


def _numbers(frame: pl.DataFrame, name: str) -> np.ndarray:
    return frame[name].cast(float).fill_null(float("nan")).to_numpy()


def _draw_horizon(run: Run, target: str, level: float) -> None:
    steps = pl.read_csv(run.folder / HORIZON, infer_schema_length=None).filter(pl.col("units") == "original")
    steps = steps.filter(pl.col("target").cast(pl.String) == target).sort("step")
    errors = {name.replace("_", " "): _numbers(steps, name).tolist() for name in (FORECAST, *BASELINES)}
    coverage = _numbers(steps, "coverage").tolist() if "coverage" in steps.columns else None
    draw_horizon(errors, run.folder, f"RMSE of {target}", coverage=coverage, wanted=level if coverage else None)
