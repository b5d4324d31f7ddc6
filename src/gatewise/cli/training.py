"""What every ``train`` command does with its options, and ``resume``."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gatewise.cli.app import CellFile, app, load_cell_file, train_app
from gatewise.cli.options import Json, Out, Quiet, TensorBoard, tensorboard_log, with_settings
from gatewise.training import TRAININGS, Run, Watch, reporter, resume
from gatewise.training.lifecycle import train
from gatewise.training.settings import NetworkSettings


@dataclass(frozen=True)
class Ending:
    """What the command line does with a trained run.

    Attributes:
        draw: its pictures.
        tell: prints what came out, from the run and its summary.
        next_commands: what to call next, from the summary; ``{run}`` stands for the folder, ``{cell}`` for the cell.
    """

    draw: Callable[[Run], None]
    tell: Callable[[Run, dict[str, Any]], None]
    next_commands: Callable[[Mapping[str, Any]], tuple[str, ...]]


ENDINGS: dict[str, Ending] = {}
"""By task; the file with a task's commands adds its own."""


@dataclass(frozen=True)
class Order:
    """What a ``train`` command was asked to train.

    Attributes:
        task: its name.
        source: of the data.
        settings: of the run.
    """

    task: str
    source: Any
    settings: NetworkSettings


_TAKEN: ContextVar[list[Order] | None] = ContextVar("taken", default=None)


def order_of(command: Callable[..., None], *arguments: Any, **options: Any) -> Order:
    """What a ``train`` command would train with these arguments; its options are checked, and nothing is trained."""
    taken: list[Order] = []
    token = _TAKEN.set(taken)
    try:
        command(*arguments, **options)
    finally:
        _TAKEN.reset(token)
    (order,) = taken
    return order


Asked = tuple[Any, NetworkSettings]
"""Where the data come from, and the settings."""


def train_command(task: str, settings: type[NetworkSettings]) -> Callable[[Callable[..., Asked]], Callable[..., None]]:
    """Make ``train TASK`` of a function that says what to train on, and how.

    The function has the arguments that say where the data are, and ``chosen``, the settings that the user gives, as
    :func:`gatewise.cli.options.with_settings` has it; its docstring is the command's help. The command has an option
    for each setting, and those of every training.
    """

    def of(ask: Callable[..., Asked]) -> Callable[..., None]:
        def command(
            *arguments: Any,
            cell_file: CellFile = None,
            out: Out = None,
            tensorboard: TensorBoard = False,
            json_: Json = False,
            quiet: Quiet = False,
            **named: Any,
        ) -> None:
            load_cell_file(cell_file)
            source, found = ask(*arguments, **named)
            _carry_out(task, source, found, out, cell_file, tensorboard, json_, quiet)

        common = inspect.signature(command, eval_str=True).parameters.values()
        shared = [parameter for parameter in common if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
        own = inspect.signature(ask, eval_str=True).parameters.values()
        command.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        command.__name__, command.__doc__ = ask.__name__, ask.__doc__
        return train_app.command(name=task)(with_settings(settings)(command))

    return of


def _carry_out(
    task: str, source: Any, settings: NetworkSettings, out: Path | None, cell_file: Path | None, tensorboard: bool,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train, draw, tell; or only say what would be trained, to :func:`order_of`."""
    taken = _TAKEN.get()
    if taken is not None:
        taken.append(Order(task, source, settings))
        return
    log = tensorboard_log(tensorboard)
    with reporter(quiet) as report:
        run, summary = train(TRAININGS[task], source, settings, out, Watch(report, log, ENDINGS[task].draw))
    _end(run, summary, as_json, cell_file)


@app.command(name="resume")
def resume_command(
    run: Annotated[Path, Parameter(help="The folder of an interrupted run.")],
    /,
    *,
    cell_file: CellFile = None,
    tensorboard: TensorBoard = False,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Go on with an interrupted run, exactly as it would have gone on."""
    load_cell_file(cell_file)
    log = tensorboard_log(tensorboard)
    with reporter(quiet) as report:
        done, summary = resume(run, Watch(report, log, lambda run: ENDINGS[run.read_config()["task"]].draw(run)))
    _end(done, summary, json_, cell_file)


def this_command() -> str:
    """What a line that is to be pasted begins with, also where the virtual environment is not activated."""
    return "gatewise" if shutil.which("gatewise") else os.path.relpath(sys.argv[0])


def _end(run: Run, summary: dict[str, Any], as_json: bool, cell_file: Path | None) -> None:
    ending = ENDINGS[summary["task"]]
    ending.tell(run, summary)
    rates = [
        f"{value:,} {name.replace('_per_second', '/s')}" for name, value in summary.items() if "_per_second" in name
    ]
    print(f"{summary['steps']:,} steps in {summary['seconds']:.0f} s, {', '.join(rates)}, engine {summary['engine']}")
    print(f"run        {run.folder}")
    command = this_command()
    with_cell = f" --cell-file {cell_file}" if cell_file else ""
    for place, arguments in enumerate(ending.next_commands(summary)):
        cells = dict.fromkeys(summary["cell"].split(",")) if "{cell}" in arguments else ("",)
        for cell in cells:
            filled = arguments.format(run=run.folder, cell=cell.strip())
            print(f"{'next' if place == 0 else '':11}{command} {filled}{with_cell}")
    if as_json:
        print(json.dumps(summary))
