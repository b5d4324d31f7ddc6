"""What is said of a command line that is not understood."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cyclopts import CycloptsError, MissingArgumentError, UnknownCommandError, UnknownOptionError

_TASKS_OF = {
    ".npy": ("autoencode", "frames"),
    **dict.fromkeys((".csv", ".tsv", ".parquet", ".xlsx", ".ods"), ("forecast", "regress", "classify")),
}
"""Tasks that take a file, by its suffix; of any other it is text."""

_TO_PREDICT = {
    **dict.fromkeys(("train text", "compare text", "tune text"), "the tokens that are to be predicted"),
    **dict.fromkeys(("train autoencode", "tune autoencode"), "what the decoder is to write"),
    **dict.fromkeys(("train frames", "tune frames"), "the frames that are to be predicted"),
}
"""What a second direction would see, by the command."""


def said_of(error: CycloptsError) -> str:
    """One line: what is wrong, and where the command is explained."""
    command = " ".join(["gatewise", *(error.command_chain or ())])
    told = " ".join(str(error).split())
    if isinstance(error, MissingArgumentError) and error.keyword is None:  # not given at all
        told = re.sub(r'^Command ".*?" parameter (\S+) requires an argument', r"\1 is missing", told)
    if isinstance(error, UnknownCommandError):
        told = _file_for_a_task(error, command) or told
    if isinstance(error, UnknownOptionError):
        told = _second_direction(error, command) or told
    return f"{told} (`{command} --help` shows how)"


def _second_direction(error: UnknownOptionError, command: str) -> str | None:
    """Why a model that writes has no second direction; None where that was not asked for."""
    option = (error.token.keyword or error.token.value).partition("=")[0]
    seen = _TO_PREDICT.get(command.removeprefix("gatewise "))
    if option != "--bidirectional" or seen is None:
        return None
    return f"{option}: a second direction would see {seen}; leave it out"


def _file_for_a_task(error: UnknownCommandError, command: str) -> str | None:
    """A file where its task should be; None where it is no file's name."""
    given = (error.unused_tokens or [""])[0]
    if command not in ("gatewise train", "gatewise compare"):
        return None
    if not (os.path.exists(given) or Path(given).suffix):
        return None
    tasks = ("frames",) if os.path.isdir(given) else _TASKS_OF.get(Path(given).suffix.lower(), ("text",))
    known = error.app.resolved_commands() if error.app else ()
    calls = [f"`{command} {task} {given}`" for task in tasks if task in known]
    return f"{given} is no task: did you mean {' or '.join(calls)}?" if calls else None
