"""One trial: a training with the settings to be tried, looked at only through what is held out."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gatewise.training.fit import LossNotFiniteError
from gatewise.training.lifecycle import Job, Training, Watch, train
from gatewise.training.progress import Reporter, Silent
from gatewise.training.run import Run
from gatewise.training.schedule import Position
from gatewise.training.settings import NetworkSettings
from gatewise.training.tune.ledger import WORKER, Ledger
from gatewise.training.tune.results import TrialRow
from gatewise.training.tune.search import Outcome, Place
from gatewise.training.tune.worker import is_dead


class _Trained(Exception):  # noqa: N818  (the training came to its end)
    """The weights are there; nothing has been measured."""


class _Unmeasured:
    """A training that ends before the test part is looked at: that is for the best trial alone. Its run is as one that
    was interrupted then, and ``resume`` measures it."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self.name, self.settings = training.name, training.settings
        self.source, self.load = training.source, training.load

    def prepare(self, source: Any, settings: Any, run: Run | None, say: Callable[[str], None]) -> Job:
        def stop_here(*unused: Any) -> Any:
            raise _Trained

        return replace(self._training.prepare(source, settings, run, say), measure=stop_here)


class _Within(Silent):
    """Shows the steps of a trial; its lines would drown those of the search."""

    def __init__(self, report: Reporter) -> None:
        self._report = report

    def step(self, share: float, position: Position, train: Any, rate: str) -> None:
        self._report.step(share, position, train, rate)


@dataclass(frozen=True)
class Trials:
    """Trains places.

    Attributes:
        training: of the task.
        source: of the data.
        settings: those that are not tried.
        folder: of the search.
        report: shows the steps.
    """

    training: Training
    source: Any
    settings: NetworkSettings
    folder: Path
    report: Reporter

    def run_folder(self, place: Place) -> Path:
        """Where the run of a place goes."""
        return self.folder / f"trial-{place.slot + 1}-{place.number}"

    def __call__(self, place: Place, look: Callable[[float], None]) -> Outcome:
        settings = replace(self.settings, **place.settings)
        seen: list[float] = []

        def on_row(run: Run, row: dict[str, Any]) -> None:
            seen.append(row["heldout_loss"])
            look(seen[-1])

        watch = Watch(_Within(self.report), on_row)
        try:
            train(_Unmeasured(self.training), self.source, settings, self.run_folder(place), watch)
        except _Trained:
            finite = [value for value in seen if math.isfinite(value)]
            if not finite:
                return Outcome(math.inf)
            # The loss of the weights that the run is left with.
            return Outcome(min(finite) if settings.keep == "best" else seen[-1])
        except LossNotFiniteError:
            return Outcome(math.inf)
        raise AssertionError("a trial is not measured")


def tidy(ledger: Ledger, keep: TrialRow | None, worker: str) -> None:
    """Remove the runs of attempts that are over but for the one to keep; those of processes that may still be writing
    stay."""
    for attempt in ledger.attempts:
        run = attempt.user_attrs.get("run")
        if not run or not attempt.state.is_finished() or (keep is not None and attempt.number == keep.attempt):
            continue
        by = attempt.user_attrs[WORKER]
        if attempt in ledger.done.values() or by == worker or is_dead(by):
            shutil.rmtree(run, ignore_errors=True)
