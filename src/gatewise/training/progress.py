"""What a person sees of long work: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from gatewise.training.schedule import Position


class Reporter(Protocol):
    """Shows how a run goes."""

    def step(self, share: float, position: Position, train: Mapping[str, float], rate: str) -> None:
        """A training step was taken: share of the budget spent, mean figures so far, how fast it goes."""
        ...

    def look(self, position: Position, train: Mapping[str, float], heldout: Mapping[str, float], rate: str) -> None:
        """What is held out was looked at."""
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


def _said(figures: Mapping[str, float], digits: int) -> str:
    """``{"loss": 1.234567, "active_units": 3.0}`` -> ``loss 1.2346  active units 3``, with so many digits."""
    return "  ".join(f"{name.replace('_', ' ')} {value:.{digits}g}" for name, value in figures.items())


class Silent:
    """Shows nothing."""

    def step(self, share: float, position: Position, train: Mapping[str, float], rate: str) -> None:
        pass

    def look(self, position: Position, train: Mapping[str, float], heldout: Mapping[str, float], rate: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Any]:
        yield lambda amount: None


class Lines(Silent):
    """Plain lines on standard error: one a look at what is held out, and now and then one of other long work."""

    def __init__(self, seconds_between: float = 10.0) -> None:
        self._left, self._seconds_between = "", seconds_between

    def step(self, share: float, position: Position, train: Mapping[str, float], rate: str) -> None:
        self._left = duration(position.seconds * (1 - share) / share) if share > 0 else "?"

    def look(self, position: Position, train: Mapping[str, float], heldout: Mapping[str, float], rate: str) -> None:
        estimate = {"held-out estimate" if name == "loss" else name: value for name, value in heldout.items()}
        figures = [_said(train, 5), *([] if math.isnan(heldout["loss"]) else [_said(estimate, 5)])]
        self.say(
            f"step {position.step}  epoch {position.epoch}  {duration(position.seconds)} spent, {self._left} left  "
            f"{'  '.join(figures)}  {rate}"
        )

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def counting(self, what: str, total: int) -> Iterator[Any]:
        start = said = time.perf_counter()
        done = 0.0

        def count(amount: float) -> None:
            nonlocal done, said
            done, now = done + amount, time.perf_counter()
            if now - said >= self._seconds_between and 0 < done < total:
                said = now
                self.say(f"{what}: {done / total:.0%}, {duration((now - start) * (total - done) / done)} left")

        yield count


class Bars:
    """A live bar on standard error with the figures, the speed and the time left."""

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

    def step(self, share: float, position: Position, train: Mapping[str, float], rate: str) -> None:
        now = time.perf_counter()
        if now - self._shown < 0.1 and share < 1:
            return
        self._shown = now
        left = duration(position.seconds * (1 - share) / share) if share > 0 else "?"
        facts = f"{_said(train, 4)}{self._heldout}  {rate}  {left} left"
        bar = self._started()
        bar.update(bar.task_ids[0], completed=share, facts=facts)

    def look(self, position: Position, train: Mapping[str, float], heldout: Mapping[str, float], rate: str) -> None:
        self._heldout = "" if math.isnan(heldout["loss"]) else f"  held-out {heldout['loss']:.4g}"

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
    """Bars where a person sits at a terminal, plain lines otherwise; nothing when ``quiet``."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield Silent() if quiet else Lines()
        return
    bars = Bars(console)
    try:
        yield bars
    finally:
        bars.close()
