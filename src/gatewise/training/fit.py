"""The one training loop: truncated backpropagation through time, looked after, interruptible, resumable to the bit."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from gatewise.errors import UserError
from gatewise.training.checkpoint import read_about, read_tensors, write_tensors
from gatewise.training.learner import CARRIED, Diverged, Learner
from gatewise.training.progress import Reporter
from gatewise.training.run import Run
from gatewise.training.schedule import Position, Schedule
from gatewise.training.signals import Stop

SECONDS_BETWEEN_CHECKPOINTS = 20.0
_MOST_RECENT = 100


class LossNotFiniteError(UserError):
    """The loss or the gradient stopped being finite: these settings do not train."""


@dataclass
class Journal:
    """What a run remembers besides its weights.

    Attributes:
        position: where it stands.
        recent: losses of the last epoch's steps (the last 100 if it has more).
        rows: what ``metrics.csv`` holds.
        best_loss: smallest held-out estimate so far.
        looks: how many times the held-out loss was looked at.
        since_best: looks since it last improved.
        finished: whether the run came to its end.
    """

    position: Position = field(default_factory=Position)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_RECENT))
    rows: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = math.inf
    looks: int = 0
    since_best: int = 0
    finished: bool = False

    @classmethod
    def for_epochs_of(cls, steps: int) -> Journal:
        return cls(recent=deque(maxlen=min(steps, _MOST_RECENT)))

    def train_loss(self) -> float:
        """Mean loss over the last epoch's steps, at most 100."""
        return sum(self.recent) / len(self.recent) if self.recent else math.nan

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"recent": list(self.recent), "window": self.recent.maxlen}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Journal:
        window = saved.pop("window")
        position = Position(**saved.pop("position"))
        recent = deque(saved.pop("recent"), maxlen=window)
        return cls(position=position, recent=recent, **saved)


@dataclass(frozen=True)
class Care:
    """How a run is looked after.

    Attributes:
        looks: how many times the held-out loss is estimated on the way.
        patience: end after so many looks without a gain; 0 never.
        keep_best: leave the run with its best weights rather than its last. The best are chosen by an estimate on the
            first part of what is held out, so the held-out loss of a run is a little kind.
        on_row: called with every new row of metrics (TensorBoard).
    """

    looks: int = 10
    patience: int = 0
    keep_best: bool = True
    on_row: Callable[[dict[str, Any]], None] | None = None


class _Sitting:
    """One process's work on a run: its clock, its saving, its looks at what is held out."""

    def __init__(
        self, learner: Learner, run: Run, schedule: Schedule, care: Care, journal: Journal, report: Reporter,
        about: dict[str, Any],
    ) -> None:  # fmt: skip
        self.learner, self.run, self.schedule, self.care = learner, run, schedule, care
        self.journal, self.report, self.about = journal, report, about
        self.last_batch: Any = None
        self.spent_before = journal.position.seconds
        self.units_before = journal.position.units
        self.started = self.saved_at = time.perf_counter()

    def tick(self) -> None:
        self.journal.position.seconds = self.spent_before + time.perf_counter() - self.started

    def rate(self) -> float:
        spent = self.journal.position.seconds - self.spent_before
        return (self.journal.position.units - self.units_before) / spent if spent > 0 else 0.0

    def over(self) -> bool:
        position = self.journal.position
        # At least one step, however small the budget: a run without any has nothing to show.
        return position.step > 0 and (self.schedule.progress(position) >= 1.0 or self._out_of_patience())

    def _out_of_patience(self) -> bool:
        return 0 < self.care.patience <= self.journal.since_best

    def train_on(self, batch: Any) -> None:
        """One step, and what it changes in the journal."""
        journal, position = self.journal, self.journal.position
        lr = self.schedule.learning_rate(position)
        loss = self.learner.step(batch, lr, self.schedule.progress(position))
        self.last_batch = batch
        journal.recent.append(loss)
        position.batch += 1
        position.step += 1
        position.units += self.learner.task.size(batch)
        self.tick()
        loss = journal.train_loss()
        self.report.step(
            self.schedule.progress(position), position, {"loss": loss, **self.learner.task.figures(loss)},
            f"{self.rate():,.0f} {self.learner.task.unit}/s",
        )  # fmt: skip

    def look_if_due(self) -> None:
        """Estimate the held-out loss at every ``1 / looks`` of the budget."""
        journal = self.journal
        due = math.floor(self.schedule.progress(journal.position) * self.care.looks)
        if due <= journal.looks:
            return
        journal.looks = due
        model, task = self.learner.model(), self.learner.task
        heldout = task.held_out(model)
        if heldout["loss"] < journal.best_loss:
            journal.best_loss, journal.since_best = heldout["loss"], 0
            write_tensors(self.run.best_file, model.state_dict(), self.about)
        elif not math.isnan(heldout["loss"]):  # NaN: nothing is held out
            journal.since_best += 1
        self.tick()
        position, loss = journal.position, journal.train_loss()
        train = {"loss": loss, **task.figures(loss)}
        row = {
            "step": position.step, "epoch": position.epoch, "seconds": round(position.seconds, 2),
            "lr": self.schedule.learning_rate(position),
            **{f"train_{name}": value for name, value in train.items()},
            **{f"heldout_{name}": value for name, value in {**heldout, **task.figures(heldout["loss"])}.items()},
            f"{task.unit}_per_second": round(self.rate()),
        }  # fmt: skip
        journal.rows.append(row)
        self.run.write_metrics(journal.rows)
        if self.care.on_row is not None:
            self.care.on_row(row)
        self.report.look(position, train, heldout, f"{self.rate():,.0f} {task.unit}/s")

    def finish(self) -> None:
        """The budget is spent."""
        self.prove()
        self.journal.finished = True
        self.write()

    def save(self) -> None:
        """Checkpoint, once the weights are proven."""
        self.prove()
        self.write()

    def prove(self) -> None:
        """Raise :class:`Diverged` if the last update spoiled the weights, which are then those from before it."""
        if self.last_batch is not None:
            self.learner.prove(self.last_batch)

    def write(self) -> None:
        """Checkpoint, and the weights to use if the run ended here."""
        self.tick()
        about = {**self.about, "journal": self.journal.to_dict()}
        write_tensors(self.run.last_file, self.learner.save(), about)
        if self.care.keep_best and self.run.best_file.exists():
            weights = read_tensors(self.run.best_file)
        else:
            weights = self.learner.model().state_dict()
        write_tensors(self.run.weights_file, weights, self.about)
        self.saved_at = time.perf_counter()

    def save_if_due(self) -> None:
        if time.perf_counter() - self.saved_at >= SECONDS_BETWEEN_CHECKPOINTS:
            self.save()


def fit(
    learner: Learner,
    run: Run,
    schedule: Schedule,
    care: Care,
    journal: Journal,
    report: Reporter,
    about: dict[str, Any],
    stop: Stop,
) -> Journal:
    """Train until the budget is spent.

    Args:
        learner: takes the steps; its task gives batches and held-out estimates.
        run: where checkpoints, weights and metrics go.
        schedule: budget and learning rate.
        care: looks, patience, which weights to keep.
        journal: where to start: new, or from :func:`resume`.
        report: shows the progress.
        about: what ``weights.safetensors`` says of the model.
        stop: tells when a signal asks to end.

    Raises:
        LossNotFiniteError: the loss or the gradient stopped being finite (the last good weights are kept).
        Interrupted: Ctrl-C or SIGTERM (the step was finished, everything saved).
    """
    sitting = _Sitting(learner, run, schedule, care, journal, report, about)
    position = journal.position
    try:
        sitting.save()
        while not sitting.over():
            batches = learner.task.batches(position.epoch)
            for batch in batches[position.batch :]:
                if position.batch == 0:
                    learner.start_epoch()
                sitting.train_on(batch)
                if position.batch == len(batches):
                    position.epoch, position.batch = position.epoch + 1, 0
                sitting.look_if_due()
                if stop.signum:
                    sitting.save()
                    stop.check(run)
                sitting.save_if_due()
                if sitting.over():
                    break
        sitting.finish()
    except Diverged as diverged:
        sitting.write()
        raise _diverged(run, journal, schedule, diverged) from None
    return journal


def resume(learner: Learner, run: Run) -> Journal:
    """Put a learner where the run's last checkpoint left it; the journal to go on with.

    Raises:
        UserError: the checkpoint is damaged, or the settings are not those it was made with.
    """
    about, _ = read_about(run.last_file)
    saved = read_tensors(run.last_file)
    task = learner.task
    try:
        learner.restore(saved)
        journal = Journal.from_dict(about["journal"])
        rows = {tensor.shape[-2] for name, tensor in saved.items() if name.startswith(CARRIED)}
        if rows <= {task.batch_size} and journal.position.batch < len(task.batches(0)):
            return journal
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError):
        pass
    raise not_its_settings(run)


def not_its_settings(run: Run) -> UserError:
    """What a checkpoint of other settings than a run's file of them is answered with."""
    return UserError(
        f"{run.last_file}: does not belong to the settings in {run.config_file}; put back those it was trained with, "
        "or train anew"
    )


def _diverged(run: Run, journal: Journal, schedule: Schedule, diverged: Diverged) -> LossNotFiniteError:
    lr = schedule.learning_rate(journal.position)
    what = "the gradient overflowed" if math.isfinite(diverged.loss) else f"the loss became {diverged.loss}"
    return LossNotFiniteError(
        f"{run.folder}: {what} at step {journal.position.step + 1} (learning rate {lr:.3g}); the last good weights "
        f"are kept there; lower --lr or --clip and start anew"
    )
