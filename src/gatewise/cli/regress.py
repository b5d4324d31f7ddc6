"""Commands of the regression task: train, and what ``predict`` does with its runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gatewise.cli.options import GROUPS
from gatewise.cli.predict import PREDICTORS, Wanted
from gatewise.cli.training import ENDINGS, Asked, Ending, train_command
from gatewise.cli.verdict import verdict_of_targets
from gatewise.data import read_table
from gatewise.show.regress_run import draw_regress_run
from gatewise.training import Run
from gatewise.training.regress_run import PREDICTIONS
from gatewise.training.regress_settings import RegressSettings
from gatewise.training.settings import settings_from
from gatewise.training.table_file import check_table_file, write_table
from gatewise.training.table_source import TableSource
from gatewise.training.trained_regressor import load_regress_run

_COLUMNS = {"r2": "R2", "mse": "MSE", "rmse": "RMSE", "mae": "MAE", "mape": "MAPE %", "smape": "sMAPE %"}

_METHODS = {
    "training_mean": "training mean", "linear_last_step": "linear, last step", "linear_window": "linear, window",
    "previous_value": "previous value *",
}  # fmt: skip

_FAIR = {
    "training_mean": "the training mean", "linear_last_step": "a linear regression on the last step",
    "linear_window": "a linear regression on the window",
}  # fmt: skip
"""Those that are given no more than the network is."""


@train_command("regress", RegressSettings)
def train_regress(
    file: Annotated[
        Path, Parameter(group=GROUPS["Data"], help="A table, a row a time step: .csv, .tsv, .parquet or .xlsx.")
    ],
    /,
    *,
    chosen: dict[str, Any],
) -> Asked:
    """Train a network that tells some columns of a table from others at the same time step and those before.

    It stops by itself when the validation part is predicted no better, after three minutes at the latest; `--minutes`
    gives it another time. Ctrl-C saves; `gatewise resume RUN` goes on.
    """
    settings = settings_from(RegressSettings, chosen)
    return TableSource(file, settings.sheet), settings


def _predict(run: Run, wanted: Wanted, say: Callable[[str], None]) -> str:
    wanted.refuse_others("sheet")
    check_table_file(wanted.out)
    trained = load_regress_run(run.folder)
    sheet = wanted.sheet if wanted.sheet is not None else run.read_config()["settings"]["sheet"]
    table = None if wanted.data is None else read_table(wanted.data, sheet, say)
    frame = trained.predict(table, say)
    write_table(frame, wanted.out)
    return f"{frame.height:,} rows of {', '.join(trained.recorded.preparation.target_names)}: {wanted.out}"


def _tell(run: Run, summary: dict[str, Any]) -> None:
    part = next((part for part in ("test", "validation") if summary[part]), None)
    if part is None:
        return
    own = f"{summary['cell']} + linear" if summary["linear"] else summary["cell"]
    methods = {own: summary[part], **{_METHODS[name]: tree for name, tree in summary["baselines"].items()}}
    names = summary["targets"]
    wide = max(map(len, ("target", *names))), max(map(len, (f"{part} part", *methods)))
    print(f"{'target':{wide[0]}}  {f'{part} part':{wide[1]}}" + "".join(f"{name:>11}" for name in _COLUMNS.values()))
    for place, name in enumerate(list(summary[part]["original"])[1:]):
        for method, tree in methods.items():
            figures = "".join(f"{_figure(tree['original'][name][metric]):>11}" for metric in _COLUMNS)
            print(f"{names[place] if method == own else '':{wide[0]}}  {method:{wide[1]}}{figures}")
    print("in the table's own units; * is the target's own value one step before, which nothing else here is given")
    for name, figures in list(summary[part]["original"].items())[1:]:
        if figures["r2"] is not None and figures["r2"] < 0:
            print(
                f"{name}: further off than the {part} part's own mean: the inputs do not tell it there, or its level "
                "is not that of the training part any more"
            )
    for line in _verdicts(summary, part):
        print(line)
    if part == "test":
        print(f"pictures   {run.folder / 'observed.png'}, {run.folder / 'residuals.png'}")
        print(f"predicted  {run.folder / PREDICTIONS}")


def _verdicts(summary: Mapping[str, Any], part: str) -> list[str]:
    """In words: whether it is better than each of the baselines."""
    own, found = summary[part]["standardised"], summary["baselines"]
    lines = [
        verdict_of_targets(words, own, found[name]["standardised"]) for name, words in _FAIR.items() if name in found
    ]
    return [line for line in lines if line]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _next(summary: Mapping[str, Any]) -> tuple[str, ...]:
    return "predict {run} NEW.csv --out predicted.csv", "explain {cell}"


ENDINGS["regress"] = Ending(draw_regress_run, _tell, _next)
PREDICTORS["regress"] = _predict
