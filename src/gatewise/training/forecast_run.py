"""``train forecast`` from end to end: table, model, intervals, what it is worth beside forecasts without learning."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from gatewise.data.table.series_table import first_of
from gatewise.data.table.windows import Windows
from gatewise.engines import which
from gatewise.layers.forecasting import FORECASTING
from gatewise.tasks.forecast import Forecasts, ForecastTask, forecast_all
from gatewise.tasks.intervals import Intervals
from gatewise.training.checkpoint import read_about, write_text
from gatewise.training.forecast_data import Extent, columns_of, cuts_of, roles_of, windows_of
from gatewise.training.forecast_measure import figures, forecasts_frame, horizon_frame
from gatewise.training.forecast_model import Form, build, model_config, suited_form, target_channels
from gatewise.training.forecast_settings import ForecastSettings
from gatewise.training.learner import torch_learner
from gatewise.training.lifecycle import Job
from gatewise.training.memory import check_memory
from gatewise.training.prepared_table import PreparedTable, few_to_choose, prepare_or_recall
from gatewise.training.progress import Reporter
from gatewise.training.residuals import write_residuals
from gatewise.training.run import Run
from gatewise.training.table_file import write_table
from gatewise.training.table_source import TableSource, same_table
from gatewise.training.trained_forecaster import INTERVALS, TrainedForecaster, forecaster, load_forecast_run
from gatewise.training.weights import check_equations, fingerprint

PREDICTIONS = "predictions.csv"
"""The file in a run's folder with forecasts of the test part."""

HORIZON = "horizon.csv"
"""And with the errors of every step."""

_MOST_VALUES, _MOST_ROWS = 20_000_000, 50_000
"""Values that are measured, and rows of the file of predictions; of more, windows are left out at even distances."""


class ForecastTraining:
    """Forecasters of tables."""

    name = "forecast"
    settings = ForecastSettings

    def source(self, data: dict[str, Any]) -> TableSource:
        return TableSource.from_config(data)

    def prepare(
        self, source: TableSource, settings: ForecastSettings, run: Run | None, say: Callable[[str], None]
    ) -> Job:
        table = source.read(say) if run is None else same_table(run, source, say)
        prepared = prepare_or_recall(
            run, table, settings, lambda found: roles_of(found, settings), columns_of(settings), settings.calendar, say
        )  # fmt: skip
        extent = Extent.of(settings, prepared)
        train, look, test = (windows_of(prepared, extent, part) for part in ("train", "validation", "test"))
        for windows, wanted in zip((train, look, test), settings.parts().parts, strict=True):
            if wanted:
                windows.require()
        extent.check_season(settings, prepared)
        balanced = settings.weigh == "balanced"
        task = ForecastTask(train, look, settings.batch, settings.criterion, settings.levels, settings.seed, balanced)
        config = model_config(settings, prepared.preparation, extent.lookback, extent.horizon)
        plain = Form("none", False, extent.season, target_channels(prepared.preparation))
        about = {"model": config, "form": asdict(plain)}
        check_memory(
            lambda: build(about), f"--hidden {settings.hidden} --layers {settings.layers}",
            (lambda _: _step_bytes(settings, prepared, extent), "choose a shorter --lookback or a smaller --batch"),
        )  # fmt: skip
        which(build(about, settings))  # an engine that cannot run this is refused here, before anything is written
        form = self._form(settings, task, config, plain, run, say)
        about["form"] = form
        torch.manual_seed(settings.seed)
        model = build(about, settings)
        if run is not None and run.last_file.exists():
            check_equations(run.last_file, model)
        about |= {
            "equations": fingerprint(model), "extent": asdict(extent), "quantiles": settings.quantiles,
            "learned_until": _learned_until(prepared), **prepared.recorded.to_config(),
        }  # fmt: skip

        def measure(run: Run, report: Reporter, check: Callable[[], None]) -> Mapping[str, Any]:
            return _measure(run, settings, prepared, extent, report, check)

        learner = torch_learner(model, task, settings)
        name = f"{source.name}-{settings.model}-{'-'.join(settings.cells)}"
        introduction = _introduction(settings, prepared, extent, task, test)
        decided = {"anchor": form["anchor"], "normalise": "on" if form["normalise"] else "off"}
        decided |= {"lookback": extent.lookback}
        return Job(name, source.to_config(table), learner, which(model), about, introduction, measure, decided)

    def _form(
        self, settings: ForecastSettings, task: ForecastTask, config: Mapping[str, Any], plain: Form, run: Run | None,
        say: Callable[[str], None],
    ) -> dict[str, Any]:  # fmt: skip
        """As it was chosen when the run was begun."""
        if run is not None and run.last_file.exists():
            return read_about(run.last_file)[0]["form"]
        return asdict(suited_form(settings, task, config, plain, say))

    def load(self, run: Run) -> TrainedForecaster:
        return load_forecast_run(run.folder)


def _step_bytes(settings: ForecastSettings, prepared: PreparedTable, extent: Extent) -> int:
    """What a training step keeps at least: its windows, and a state of every layer at every step."""
    features = prepared.preparation.input_size + sum(settings.sizes) * settings.layers // len(settings.sizes)
    return 4 * settings.batch * extent.lookback * features


def _learned_until(prepared: PreparedTable) -> str:
    """When the validation part of the series that goes farthest ends; "" without times."""
    ends = [
        series.times[cuts.validation - 1]
        for series, cuts in zip(prepared.series.series, cuts_of(prepared), strict=True)
        if series.times is not None and cuts.validation
    ]
    return str(max(ends)) if ends else ""


def _introduction(
    settings: ForecastSettings, prepared: PreparedTable, extent: Extent, task: ForecastTask, test: Windows
) -> list[str]:
    made, series = prepared.preparation, prepared.series
    names = made.target_names
    targets = ", ".join(names) if len(names) <= 5 else f"{len(names)} targets"
    several = "" if len(series.series) == 1 else f" of {len(series.series)} series"
    look = 0 if task.look is None else len(task.look)
    lines = [
        f"forecasting {targets}{several}: {extent.horizon} steps from {extent.lookback} of {made.input_size} features, "
        f"a season of {extent.season}; windows: {len(task.train):,} to learn, {look:,} to choose, {len(test):,} to "
        f"measure; {settings.model}, {settings.cell}, {settings.layers} x {settings.hidden}"
    ]
    short = [
        f"'{one.key}' ({len(one):,} rows)"
        for one, count in zip(series.series, task.train.counts, strict=True)
        if not count
    ]
    if short:
        lines.append(
            f"nothing is learned from the series {first_of(short)}: no window of {extent.lookback + extent.horizon} "
            "rows in the training part"
        )
    enough = math.ceil(1 / (1 - settings.interval)) - 1 if settings.interval else 0
    if settings.interval and look < enough:
        lines.append(
            f"{look} validation windows are too few for {settings.interval:.0%} intervals of every step by itself, "
            f"{enough} would be enough: all steps get the same width"
        )
    tried = [] if settings.anchor != "auto" or not 1 < extent.season <= extent.lookback else ["anchor"]
    tried += ["normalisation"] if settings.normalise == "auto" else []
    return [*lines, *few_to_choose(look, settings, *([] if FORECASTING[settings.model].anchored else tried))]


def _measure(
    run: Run, settings: ForecastSettings, prepared: PreparedTable, extent: Extent, report: Reporter,
    check: Callable[[], None],
) -> Mapping[str, Any]:  # fmt: skip
    """Fit the intervals on the validation part; measure on the test part, beside forecasts without learning."""
    trained = forecaster(run, None)
    validation, test = (windows_of(prepared, extent, part) for part in ("validation", "test"))
    made, quantiles = prepared.preparation, settings.levels
    form = read_about(run.weights_file)[0]["form"]
    summary: dict[str, Any] = {
        **asdict(extent), "targets": list(made.target_names), "model": settings.model, "anchor": form["anchor"],
        "normalise": form["normalise"], "windows": {"validation": len(validation), "test": len(test)}, "test": None,
    }  # fmt: skip
    intervals = None
    with report.counting("measuring what is held out", len(validation) + len(test)) as counted:

        def progress(amount: int) -> None:
            counted(amount)
            check()

        if len(validation):
            found = _forecasts(trained, validation, progress)
            if settings.interval:
                intervals = Intervals.fitted(found.truth, found.predicted, settings.interval)
                write_text(run.folder / INTERVALS, json.dumps(intervals.to_config()) + "\n")
            told = figures(found, None, (), made)
            summary |= {"validation": told.pop("test"), **told}
        if len(test):
            found = _forecasts(trained, test, progress)
            told = figures(found, intervals, quantiles, made)
            summary |= told
            frame = forecasts_frame(_thinned(found), intervals, quantiles, made, prepared.series, extent.season)
            write_table(trained.written(frame), run.folder / PREDICTIONS)
            write_table(horizon_frame(told), run.folder / HORIZON)
            places = found.origins + np.array([0, 1])  # one step ahead
            write_residuals(run, prepared, places, found.truth[0], found.point[0])
    return summary


def _forecasts(trained: TrainedForecaster, windows: Windows, progress: Callable[[int], None]) -> Forecasts:
    values = len(windows) * trained.extent.horizon * len(trained.recorded.preparation.target_names)
    return forecast_all(trained.model, windows, trained.extent.season, math.ceil(values / _MOST_VALUES), progress)


def _thinned(forecasts: Forecasts) -> Forecasts:
    """All, or, of many, one in a horizon: every step of time is then forecast once."""
    horizon = len(forecasts.truth)
    return forecasts.every(horizon if np.size(forecasts.truth) > _MOST_ROWS else 1)
