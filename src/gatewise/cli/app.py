"""The command line's root, and how mistakes are answered."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import torch
from cyclopts import App, CycloptsError, Parameter, Token, convert
from rich.console import Console

from gatewise.cells import CELLS
from gatewise.cli.misunderstood import said_of
from gatewise.errors import UserError
from gatewise.layers import Recurrent
from gatewise.training import Interrupted


def _convert(kind: Any, tokens: Sequence[Token]) -> Any:
    """As cyclopts does, but whole numbers are read as Python reads them: it would round 1.5."""
    if int not in (kind, *get_args(kind)):
        return convert(kind, tokens)
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text[:20]!r} is not a whole number") from None


app = App(
    name="gatewise",
    default_parameter=Parameter(converter=_convert),
    help="""Gated recurrent networks: write a cell's equations, see them derived, train, generate.

    Start with `gatewise train text FILE`, or without a file; `gatewise cells` lists the cells.
    """,
    help_format="markdown",
)
train_app = App(name="train", help="Train a model; each task is a command of its own.")
app.command(train_app)

CellFile = Annotated[
    Path | None,
    Parameter(
        name="--cell-file", help="A Python file that registers cells of your own; it is run first.", group="Model"
    ),
]


def load_cell_file(path: Path | None) -> None:
    """Run a user's Python file, so that the cells it registers are known."""
    if path is None:
        return
    if not os.path.isfile(path):
        raise UserError(f"--cell-file {path}: no such file; give a Python file that uses @gatewise.register")
    specification = importlib.util.spec_from_file_location(f"gatewise_cells_{path.stem}", path)
    if specification is None or specification.loader is None:
        raise UserError(f"--cell-file {path}: not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(specification)
    try:
        specification.loader.exec_module(module)
        for name, cell in CELLS.items():
            if cell.__module__ == module.__name__:
                # A slip in a step shows here, not in the midst of training; and nothing is compiled for it.
                Recurrent(name, 2, 3, engine="eager")(torch.zeros(2, 1, 2))
    except UserError:
        raise
    except Exception as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == os.path.abspath(path)
        ]
        place = f", line {lines[-1]}" if lines else ""
        raise UserError(f"--cell-file {path}{place}: {type(error).__name__}: {error}; mend the file") from None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake is one line on standard error and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal or pipe that cannot show 中 or σ shows ? instead
            stream.reconfigure(errors="replace")
    errors = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    try:
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # so that a closed pipe is noticed here
    except CycloptsError as error:
        errors.print(f"gatewise: {said_of(error)}")
        sys.exit(2)
    except UserError as error:
        errors.print(f"gatewise: {error}")
        sys.exit(2)
    except Interrupted as interrupted:
        errors.print(f"gatewise: {interrupted}")
        sys.exit(interrupted.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # What is still to be written has nowhere to go; the interpreter would complain of it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
