"""Telling a person that something takes a while, once."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text


def say(text: str) -> None:
    """One line on standard error, with the program's name."""
    if sys.stderr is not None:  # as in a program without a console
        print(f"gatewise: {text}", file=sys.stderr, flush=True)


@contextmanager
def working(doing: str, done: str, about: float) -> Iterator[None]:
    """Say that ``doing`` takes ``about`` seconds; when the block ends well, that it is ``done`` and how long it took.

    A line each; on a terminal the first gives way to a moving sign and then to the second.
    """
    start = time.perf_counter()
    text = f"{doing} (once; about {max(1, round(about))} s) ..."
    # Not where a progress bar has put itself in the place of standard error: lines go above a bar, a second sign
    # would fight with it.
    if sys.stderr is not None and sys.stderr is sys.__stderr__ and sys.stderr.isatty():
        with Console(stderr=True, highlight=False).status(Text(f"gatewise: {text}"), spinner="line"):
            yield
    else:
        say(text)
        yield
    say(f"{done} ({time.perf_counter() - start:.1f} s)")
