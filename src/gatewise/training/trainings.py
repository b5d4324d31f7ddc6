"""The table of what can be trained; a new task is one entry here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gatewise.errors import UserError, nearest
from gatewise.training.autoencode_run import AutoencodeTraining
from gatewise.training.classify_run import ClassifyTraining
from gatewise.training.forecast_run import ForecastTraining
from gatewise.training.frames_run import FramesTraining
from gatewise.training.lifecycle import Training, Watch, go_on
from gatewise.training.regress_run import RegressTraining
from gatewise.training.run import Run
from gatewise.training.text_run import TextTraining

TRAININGS: dict[str, Training] = {
    training.name: training
    for training in (
        TextTraining(),
        AutoencodeTraining(),
        FramesTraining(),
        ForecastTraining(),
        RegressTraining(),
        ClassifyTraining(),
    )
}


def training_of(run: Run) -> Training:
    """What made a run.

    Raises:
        UserError: a task that this version does not know.
    """
    task = run.read_config()["task"]
    if task not in TRAININGS:
        raise UserError(
            f"{run.config_file}: a run of the task '{task}', which is not known here; {nearest(task, TRAININGS)}"
        )
    return TRAININGS[task]


def resume(folder: Path, watch: Watch | None = None) -> tuple[Run, dict[str, Any]]:
    """Go on with a run that was interrupted, exactly as it would have gone on; the run and its summary.

    Raises:
        UserError: no run, a finished one, or one whose data are no longer the same.
        Interrupted: Ctrl-C or SIGTERM; the run can be resumed.
    """
    run = Run.open(Path(folder))
    return run, go_on(training_of(run), run, watch or Watch())


def load(folder: str | Path) -> Any:
    """What was trained in a run folder, for use: a :class:`gatewise.training.TrainedText` of a text run,
    a :class:`gatewise.training.TrainedAutoencoder` of an autoencoder's.

    Everything is checked against the file's header before a weight is allocated.

    Raises:
        UserError: no such run, a newer version's, or weights that are damaged or disagree with their configuration.
    """
    run = Run.open(Path(folder))
    return training_of(run).load(run)
