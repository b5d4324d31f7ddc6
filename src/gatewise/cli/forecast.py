"""Commands of the forecasting task: train, backtest, and what ``predict`` does with its runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from cyclopts import Parameter

from gatewise.cli.app import CellFile, app, load_cell_file
from gatewise.cli.options import GROUPS, Json, Quiet
from gatewise.cli.predict import PREDICTORS, Wanted
from gatewise.cli.training import ENDINGS, Asked, Ending, train_command
from gatewise.cli.verdict import verdict_of_targets
from gatewise.data import Table, read_table
from gatewise.show.forecast_run import draw_forecast_run
from gatewise.training import Run, finite, reporter
from gatewise.training.checkpoint import write_text
from gatewise.training.forecast_measure import FORECAST
from gatewise.training.forecast_settings import ForecastSettings
from gatewise.training.settings import settings_from
from gatewise.training.table_file import check_table_file, keep_data, write_table
from gatewise.training.table_source import TableSource
from gatewise.training.trained_forecaster import TrainedForecaster, load_forecast_run

_FAR_FROM_WANTED = 0.05
"""Coverage that is lacking before it is warned of."""

_TEST = "test part"
"""What is measured, where nobody names another table."""

_MOST_TARGETS = 12
"""Whose errors are told one by one."""


@train_command("forecast", ForecastSettings)
def train_forecast(
    file: Annotated[
        Path, Parameter(group=GROUPS["Data"], help="A table, a row a time step: .csv, .tsv, .parquet or .xlsx.")
    ],
    /,
    *,
    chosen: dict[str, Any],
) -> Asked:
    """Train a forecaster of one or more columns, measured beside naive, seasonal naive and drift.

    It stops by itself when the validation part is forecast no better, after three minutes at the latest; `--minutes`
    gives it another time. Ctrl-C saves; `gatewise resume RUN` goes on.
    """
    settings = settings_from(ForecastSettings, chosen)
    return TableSource(file, settings.sheet), settings


@app.command(name="backtest")
def backtest_command(
    run: Annotated[Path, Parameter(help="The folder of a trained forecaster.")],
    file: Annotated[
        Path | None, Parameter(help="Another table, all of it (default: the test part of the one it was trained on).")
    ] = None,
    /,
    *,
    from_start: Annotated[
        bool,
        Parameter(
            negative=(),
            help="Read every series once from its beginning, and forecast from the state at each origin; of `--model "
            "direct --normalise off`.",
        ),
    ] = False,
    sheet: Annotated[str | None, Parameter(help="Of an Excel file, by name.")] = None,
    out: Annotated[
        Path | None, Parameter(help="Where the forecasts go: .csv, .parquet or .xlsx (default: RUN/backtest.csv).")
    ] = None,
    cell_file: CellFile = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Roll the origin over the test part a step at a time, and forecast from each.

    Writes a row for each origin and step, and beside them, as .json, the figures.
    """
    load_cell_file(cell_file)
    trained = load_forecast_run(run)
    path = out or trained.run.folder / "backtest.csv"
    check_table_file(path)
    keep_data(path, trained.run, file)
    with reporter(quiet) as report:
        table = None if file is None else _read(trained, file, sheet, report.say)
        found = trained.backtest(table, from_start, say=report.say)
    if found.learned:
        print(f"note: {found.learned:.0%} of what is forecast lies in the time that the run has learned from")
    write_table(_as_written(trained, found.frame, path), path)
    figures = finite({"windows": len(found.forecasts.origins), "from_start": from_start, **found.figures})
    write_text(path.with_suffix(".json"), json.dumps(figures, indent=2, allow_nan=False) + "\n")
    caution = f", in a table of which the run has learned from {found.learned:.0%}" if found.learned else ""
    part = _TEST if file is None else "table"
    _tell_figures(figures, trained.recorded.preparation.target_names, part, caution)
    print(f"{len(found.forecasts.origins):,} origins, {trained.extent.horizon} steps from each: {path}")
    if json_:
        print(json.dumps(figures))


def _read(trained: TrainedForecaster, file: Path, sheet: str | None, say: Any = lambda line: None) -> Table:
    """A new table; of a workbook, the sheet of the same name where none is named."""
    recorded = trained.run.read_config()["data"].get("sheet", "")
    workbook = file.suffix.lower() in (".xlsx", ".xlsm")
    return read_table(file, (recorded if workbook else "") if sheet is None else sheet, say)


def _as_written(trained: TrainedForecaster, frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Times as the table has them where they become texts; other files know times."""
    return trained.written(frame) if path.suffix.lower() == ".csv" else frame


def _predict(run: Run, wanted: Wanted, say: Callable[[str], None]) -> str:
    """The steps past the end of a table."""
    wanted.refuse_others("sheet")
    check_table_file(wanted.out)
    trained = load_forecast_run(run.folder)
    table = None if wanted.data is None else _read(trained, wanted.data, wanted.sheet, say)
    frame = trained.predict(table, say)
    write_table(_as_written(trained, frame, wanted.out), wanted.out)
    return f"{trained.extent.horizon} steps after {wanted.data or 'the table it was trained on'}: {wanted.out}"


def _tell(run: Run, summary: dict[str, Any]) -> None:
    if summary["test"] is None and "validation" not in summary:
        print("nothing was held out: what the forecasts are worth was not measured")
        return
    _tell_figures(summary, summary["targets"])
    if summary["test"] is None:
        return
    print(f"forecasts  {run.folder / 'predictions.csv'}")
    print(f"pictures   {', '.join(str(run.folder / f'{name}.png') for name in ('forecast', 'horizon', 'residuals'))}")


def _tell_figures(figures: Mapping[str, Any], targets: Any, part: str = _TEST, caution: str = "") -> None:
    """The model's errors beside those of forecasts without learning, coverage, and what to think of it."""
    own = figures["test"] or figures["validation"]
    trees = {FORECAST: own, **figures["baselines"]}
    several = len(targets) > 1
    if not figures["test"]:
        part = "validation part (on which the weights were chosen; there is no test part)"
    print(f"{part}{'' if not several else f', mean of {len(targets)} targets'}, in standard deviations of training")
    for name, found in trees.items():
        print(f"  {_words(name):16}{_said(found['standardised']['mean'], ('mse', 'rmse', 'mae', 'r2'))}")
    print("in the table's own units")
    for target in targets[:_MOST_TARGETS]:
        for name, found in trees.items():
            metrics = found["original"].get(target, found["original"].get(f"{target} (column)"))
            named = f"{target}: " if several else ""
            print(f"  {named}{_words(name):16}{_said(metrics, ('rmse', 'mae', 'mape', 'smape'))}")
    if len(targets) > _MOST_TARGETS:
        print(f"  and {len(targets) - _MOST_TARGETS} more: see summary.json")
    tell_coverage(figures, targets, part)
    for line in verdicts(figures, caution):
        print(line)


def tell_coverage(figures: Mapping[str, Any], targets: Any, part: str = _TEST) -> None:
    found = figures.get("intervals")
    if not found or found["coverage"] is None:
        return
    steps = [share for share in found["coverage_per_horizon"] if share is not None]
    width = found["original"][targets[0]]["mean_width"]
    print(
        f"{found['level']:.0%} intervals cover {found['coverage']:.1%} of the {part}, {min(steps):.1%} to "
        f"{max(steps):.1%} by step; mean width {width:.4g} of {targets[0]} ({found['method']})"
    )
    if found["coverage"] < found["level"] - _FAR_FROM_WANTED:
        print(
            f"WARNING: that is less than {found['level']:.0%}: the {part} is harder to forecast than the validation "
            "part, on which intervals are fitted; give --split a larger one, and do not rely on them"
        )


def verdicts(figures: Mapping[str, Any], caution: str = "") -> list[str]:
    """In words: whether the forecast is better than each of the baselines, and at how many steps."""
    own = (figures["test"] or figures["validation"])["standardised"]
    steps = figures["per_horizon"]["standardised"]
    lines = []
    for name, found in figures["baselines"].items():
        other = found["standardised"]
        pairs = [(a, b) for a, b in zip(steps[FORECAST], steps[name], strict=True) if None not in (a, b)]
        better = sum(a < b for a, b in pairs)
        at = "at every step" if better == len(pairs) else f"at {better} of {len(pairs)} steps"
        means = [tree["mean"]["mse"] for tree in (own, other)]
        mostly = "" if None not in means and means[0] < means[1] else "better "
        line = verdict_of_targets(_words(name), own, other, f", {mostly}{at}")
        if line:
            lines.append(line + (caution if line.startswith("better") else ""))
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ")


def _said(metrics: Mapping[str, float | None], names: tuple[str, ...]) -> str:
    percent = {"mape": " %", "smape": " %"}
    parts = []
    for name in names:
        value = metrics[name]
        shown = "-" if value is None else f"{value:.4g}{percent.get(name, '')}"
        parts.append(f"{name.upper().replace('SMAPE', 'sMAPE')} {shown:10}")
    return " ".join(parts).rstrip()


PREDICTORS["forecast"] = _predict
ENDINGS["forecast"] = Ending(
    draw_forecast_run, _tell, lambda _: ("predict {run} --out forecast.csv", "backtest {run}", "explain {cell}")
)
