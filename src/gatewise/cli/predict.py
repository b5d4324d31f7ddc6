"""``predict``: one command, whatever the task of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gatewise.cli.app import CellFile, app, load_cell_file
from gatewise.errors import UserError
from gatewise.training import Run, reporter
from gatewise.training.table_file import keep_data


@dataclass(frozen=True)
class Wanted:
    """What the person asked for.

    Attributes:
        data: what to predict from; None where none was given.
        out: where the predictions go.
        frames: how many, of a run of frames.
        sheet: of a workbook.
    """

    data: Path | None
    out: Path
    frames: int | None = None
    sheet: str | None = None

    def refuse_others(self, *own: str) -> None:
        """Raise if an option was given that is not of this task's ``own``."""
        for option in ("frames", "sheet"):
            if option not in own and getattr(self, option) is not None:
                raise UserError(f"--{option}: a run of this task has no use for it; leave it out")


Predictor = Callable[[Run, Wanted, Callable[[str], None]], str]
"""Writes the predictions, tells what it found in the data, and returns a line about what was written."""

PREDICTORS: dict[str, Predictor] = {}
"""By task; the file with a task's commands adds its own."""


@app.command(name="predict")
def predict_command(
    run: Annotated[Path, Parameter(help="The folder of a trained run.")],
    data: Annotated[
        Path | None,
        Parameter(
            help="What to predict from, as `train` took it (default, of a forecast: the table it was trained on)."
        ),
    ] = None,
    /,
    *,
    out: Annotated[
        Path,
        Parameter(
            help="Where they go: of a table .csv, .parquet or .xlsx; of frames .gif (a film) or .npy (frames, height, "
            "width[, channels])."
        ),
    ],
    frames: Annotated[
        int | None, Parameter(help="Of a run of frames, how many (default: as many as it learned to predict).")
    ] = None,
    sheet: Annotated[str | None, Parameter(help="Of a workbook, which sheet (default: as in training).")] = None,
    cell_file: CellFile = None,
) -> None:
    """Predict with a trained run: a table's steps past its end, a column from others, a video's next frames."""
    load_cell_file(cell_file)
    opened = Run.open(run)
    task = opened.read_config()["task"]
    if task not in PREDICTORS:
        raise UserError(
            f"{opened.config_file}: a run of the task '{task}', which predicts nothing; give a run of "
            f"{' or '.join(PREDICTORS)}"
        )
    keep_data(out, opened, data)
    found: list[str] = []  # said when all is well: a mistake is one line
    written = PREDICTORS[task](opened, Wanted(data, out, frames, sheet), found.append)
    with reporter() as report:
        for line in found:
            report.say(line)
    print(written)
