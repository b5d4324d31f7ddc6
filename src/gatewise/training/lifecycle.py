"""The life of a run, whatever its task: prepared, trained, measured, and gone on with after an interruption."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from gatewise.errors import UserError
from gatewise.training.checkpoint import read_about
from gatewise.training.fit import Care, Journal, fit, not_its_settings, resume
from gatewise.training.learner import Learner
from gatewise.training.metrics import finite
from gatewise.training.progress import Reporter, Silent
from gatewise.training.run import Run
from gatewise.training.schedule import Schedule
from gatewise.training.settings import NetworkSettings, read_settings
from gatewise.training.signals import stop_signals
from gatewise.training.threads import choose_threads

_CLEARLY = 0.9
"""Of a held-out loss, what is clearly less."""


@dataclass(frozen=True)
class Watch:
    """What is done beside training.

    Attributes:
        report: shows the progress.
        on_row: called with the run and every new row of metrics (TensorBoard).
        on_trained: called with the run before its summary, the last file, is written (pictures).
    """

    report: Reporter = field(default_factory=Silent)
    on_row: Callable[[Run, dict[str, Any]], None] | None = None
    on_trained: Callable[[Run], None] | None = None


@dataclass(frozen=True)
class Job:
    """A training that is ready to start.

    Attributes:
        name: of the run's folder, where the user gives none.
        data: what ``config.toml`` records of the data.
        learner: takes the steps.
        engine: what runs the recurrent layers, and why.
        about: what the file of the weights says of the model.
        introduction: lines for the person.
        measure: called with the trained run, the reporter and a function to be called between parts of long work, which
            raises where a signal asked to stop: writes what the task adds to the folder, returns its part of the
            summary.
        decided: settings that were left to the data, as they came out; a search keeps them in all its trials.
    """

    name: str
    data: Mapping[str, Any]
    learner: Learner
    engine: tuple[str, str]
    about: Mapping[str, Any]
    introduction: Sequence[str]
    measure: Callable[[Run, Reporter, Callable[[], None]], Mapping[str, Any]]
    decided: Mapping[str, Any] = field(default_factory=dict)


class Training(Protocol):
    """How a task becomes a run.

    Attributes:
        name: of the task.
    """

    name: str

    @property
    def settings(self) -> type[NetworkSettings]:
        """What its settings are."""
        ...

    def source(self, data: dict[str, Any]) -> Any:
        """Where the data come from, as ``config.toml`` records it."""
        ...

    def prepare(self, source: Any, settings: Any, run: Run | None, say: Callable[[str], None]) -> Job:
        """Everything up to the first step; ``run`` is one to go on with, whose data must be the same."""
        ...

    def load(self, run: Run) -> Any:
        """What was trained, for use."""
        ...


def train(
    training: Training, source: Any, settings: NetworkSettings, out: Path | None = None, watch: Watch | None = None
) -> tuple[Run, dict[str, Any]]:
    """Train in a new run folder; the run and its summary.

    Raises:
        UserError: the data cannot be used, the folder is taken, the loss stopped being finite.
        Interrupted: Ctrl-C or SIGTERM; the run can be resumed.
    """
    watch = watch or Watch()
    if out is not None:
        Run.check_free(out)
    of_threads: list[str] = []  # not said before the data are known to be of use
    # Recorded, so that a resumed run adds up in the same order.
    settings = replace(settings, threads=settings.threads or choose_threads(of_threads.append))
    torch.set_num_threads(settings.threads)
    job = training.prepare(source, settings, None, watch.report.say)
    for line in of_threads:
        watch.report.say(line)
    run = Run.create(out, job.name)
    with run.lock():
        run.write_config(training.name, asdict(settings), job.data)
        return run, _train(training, run, settings, job, _new_journal(job), watch)


def go_on(training: Training, run: Run, watch: Watch) -> dict[str, Any]:
    """Go on with a run that was interrupted, exactly as it would have gone on; its summary.

    Raises:
        UserError: the run is finished, damaged, or its settings are not those it was begun with: what was held out
            then could be learned now.
    """
    with run.lock():
        settings, source = read_settings(run, training.name, training.settings, training.source)
        _check_settings(run, settings)
        torch.set_num_threads(settings.threads or torch.get_num_threads())
        job = training.prepare(source, settings, run, watch.report.say)
        journal = resume(job.learner, run) if run.last_file.exists() else _new_journal(job)
        if journal.finished and run.summary_file.exists():
            raise UserError(f"{run.folder}: this run is finished; train a new one")
        watch.report.say(f"{run.folder}: going on from step {journal.position.step}")
        return _train(training, run, settings, job, journal, watch)


def _mark(settings: NetworkSettings) -> str:
    """A mark of all that decides what is learned: everything but the number of threads."""
    decisive = {name: value for name, value in asdict(settings).items() if name != "threads"}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def _check_settings(run: Run, settings: NetworkSettings) -> None:
    """Raise if a run's checkpoint has the mark of other settings; one of an earlier version has none."""
    if run.last_file.exists() and read_about(run.last_file)[0].get("settings") not in (None, _mark(settings)):
        raise not_its_settings(run)


def _tell_of_better(journal: Journal, report: Reporter) -> None:
    """Say if weights that were passed over did clearly better on what is held out than the last ones."""
    last = journal.rows[-1]["heldout_loss"] if journal.rows else math.nan
    if journal.best_loss < _CLEARLY * last:
        best = next(row for row in journal.rows if row["heldout_loss"] == journal.best_loss)
        report.say(
            f"the last weights are kept, with a held-out loss of {last:.3g}; at step {best['step']} it was "
            f"{journal.best_loss:.3g}: --keep best keeps those, a smaller --minutes or --epochs ends there"
        )


def _new_journal(job: Job) -> Journal:
    return Journal.for_epochs_of(len(job.learner.task.batches(0)))


def _schedule(settings: NetworkSettings, steps_per_epoch: int) -> Schedule:
    return Schedule(
        peak=settings.lr,
        total_steps=settings.epochs * steps_per_epoch,
        total_seconds=settings.minutes * 60,
        cosine=settings.schedule == "cosine",
        warmup=settings.warmup,
    )


def _train(
    training: Training, run: Run, settings: NetworkSettings, job: Job, journal: Journal, watch: Watch
) -> dict[str, Any]:
    """Fit and measure; the summary, written last, says that all of it is done."""
    learner, report, (engine, reason) = job.learner, watch.report, job.engine
    parameters = sum(p.numel() for p in learner.model().parameters())
    for line in job.introduction:
        report.say(line)
    report.say(f"{parameters:,} parameters, engine {engine} ({reason})")
    on_row = watch.on_row and partial(watch.on_row, run)
    care = Care(settings.evaluations, settings.patience, settings.keep == "best", on_row)
    schedule = _schedule(settings, len(learner.task.batches(0)))
    about = {"task": training.name, "settings": _mark(settings), **job.about}
    with stop_signals() as stop:
        fit(learner, run, schedule, care, journal, report, about, stop)
        if not care.keep_best:
            _tell_of_better(journal, report)
        measured = job.measure(run, report, lambda: stop.check(run))
        if watch.on_trained is not None:
            watch.on_trained(run)
        stop.check(run)
    position, loss = journal.position, journal.train_loss()
    train = {"loss": loss, **learner.task.figures(loss)}
    summary = finite(
        {
            "task": training.name, "cell": settings.cell, "engine": engine, "parameters": parameters,
            "seconds": round(position.seconds, 2), "steps": position.step,
            f"{learner.task.unit}_per_second": round(position.units / max(position.seconds, 1e-9)),
            **{f"train_{name}": value for name, value in train.items()}, **measured,
        }
    )  # fmt: skip
    run.write_summary(summary)
    return summary
