"""What a person sees of long work: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from gatewise.training.metrics import perplexity
from gatewise.training.schedule import Position


class Reporter(Protocol):
    """Shows how a run goes."""

    def step(self, share: float, position: Position, loss: float, rate: float) -> None:
        """A training step was taken: share of the budget spent, mean loss so far, tokens per second."""
        ...

    def look(self, row: dict[str, Any]) -> None:
        """The held-out loss was estimated."""
        ...

    def say(self, text: str) -> None:
        """A line for the person."""
        ...

    def counting(self, what: str, total: int) -> Any:
        """A context manager around other long work; gives a function to call with the amount just done."""
        ...


def duration(seconds: float) -> str:
    """``90`` -> ``1:30``.

    >>> duration(3725)
    '1:02:05'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Silent:
    """Shows nothing."""

    def step(self, share: float, position: Position, loss: float, rate: float) -> None:
        pass

    def look(self, row: dict[str, Any]) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Any]:
        yield lambda amount: None


class Lines(Silent):
    """Plain lines on standard error: one a look at the held-out text."""

    def __init__(self) -> None:
        self._left = ""

    def step(self, share: float, position: Position, loss: float, rate: float) -> None:
        self._left = duration(position.seconds * (1 - share) / share) if share > 0 else "?"

    def look(self, row: dict[str, Any]) -> None:
        self.say(
            f"step {row['step']}  epoch {row['epoch']}  {duration(row['seconds'])} spent, {self._left} left  "
            f"loss {row['train_loss']:.4f}  perplexity {row['train_perplexity']:.3f}  "
            f"held-out estimate {row['heldout_loss']:.4f}  {row['tokens_per_second']:,} tokens/s"
        )

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class Bars:
    """A live bar on standard error with loss, perplexity, tokens per second and time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._shown = 0.0
        self._heldout = ""

    def _started(self) -> Progress:
        if self._bar is None:
            self._bar = Progress(
                BarColumn(bar_width=12), TaskProgressColumn(), TextColumn("{task.fields[facts]}"),
                console=self._console, transient=True,
            )  # fmt: skip
            self._bar.add_task("training", total=1.0, facts="")
            self._bar.start()
        return self._bar

    def step(self, share: float, position: Position, loss: float, rate: float) -> None:
        now = time.perf_counter()
        if now - self._shown < 0.1 and share < 1:
            return
        self._shown = now
        left = duration(position.seconds * (1 - share) / share) if share > 0 else "?"
        facts = f"loss {loss:.3f}  ppl {perplexity(loss):.3g}{self._heldout}  {rate:,.0f} tok/s  {left} left"
        bar = self._started()
        bar.update(bar.task_ids[0], completed=share, facts=facts)

    def look(self, row: dict[str, Any]) -> None:
        self._heldout = f"  held-out {row['heldout_loss']:.3f}"

    def say(self, text: str) -> None:
        self.close()
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Any]:
        self.close()
        with Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TaskProgressColumn(), console=self._console,
            transient=True,
        ) as bar:  # fmt: skip
            task = bar.add_task(what, total=total)
            yield lambda amount: bar.update(task, advance=amount)


@contextmanager
def reporter(quiet: bool = False) -> Iterator[Reporter]:
    """Bars where a person sits at a terminal, plain lines otherwise or when ``quiet``."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Lines()
        return
    bars = Bars(console)
    try:
        yield bars
    finally:
        bars.close()
