"""Keeps the folder of a search as its study is, and tells of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from gatewise.training.lifecycle import Watch, go_on
from gatewise.training.progress import duration
from gatewise.training.recipe import write_recipe
from gatewise.training.run import Run
from gatewise.training.settings import NetworkSettings
from gatewise.training.tune.ledger import WORKER, Ledger, read
from gatewise.training.tune.plan import Plan
from gatewise.training.tune.ranges import Looked
from gatewise.training.tune.results import COMPLETE, TrialRow, best_of, rows_of, write_csv
from gatewise.training.tune.search import Onlooker, Place
from gatewise.training.tune.trial import Trials, tidy
from gatewise.training.tune.worker import this_worker

if TYPE_CHECKING:
    from optuna import Study

PARTICLES = 6
"""Of a swarm where nothing else is said: with some tens of trials, few particles and more generations find more."""


@dataclass(frozen=True)
class Wish:
    """What a search is to be.

    Attributes:
        search: ``pso``, ``tpe`` or ``random``.
        trials: that are done in the end, over all calls and processes.
        looked: what is looked for.
        particles: of a swarm.
        prune: whether hopeless trials are stopped early; None: in every search but a swarm's.
        keep_runs: whether all runs are kept, not the best one alone.
        storage: a database's URL or a file; empty for ``study.db`` in the folder.
        study: its name in there; empty for one after the task and the data.
    """

    search: str
    trials: int
    looked: Looked
    particles: int = PARTICLES
    prune: bool | None = None
    keep_runs: bool = False
    storage: str = ""
    study: str = ""


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        plan: what was searched.
        folder: where it is told.
        rows: the trials that are done.
        best: of them; None where all were pruned or diverged.
        recipe: the best one's settings, for ``train``; None where there is no best.
        run: the best one's run; None where it lies on another machine.
    """

    plan: Plan
    folder: Path
    rows: Sequence[TrialRow] = ()
    best: TrialRow | None = None
    recipe: Path | None = None
    run: Run | None = None


@dataclass(frozen=True)
class Audience:
    """Who is told of a search.

    Attributes:
        watch: shows the steps of a trial and says a line a trial; draws the best run when it is measured.
        changed: called with what was found so far, whenever that is more than before.
    """

    watch: Watch = field(default_factory=Watch)
    changed: Callable[[Found], None] = lambda found: None


@dataclass
class Keeper:
    """One process's hand in the folder.

    Attributes:
        study: of Optuna.
        plan: what it is of.
        wish: what the search is to be.
        settings: of all trials.
        trials: trains them.
        audience: is told.
        told: the trials that it knows of.
        waits: whether it was told that others are waited for.
    """

    study: Study
    plan: Plan
    wish: Wish
    settings: NetworkSettings
    trials: Trials
    audience: Audience
    told: set[int] = field(default_factory=set)
    waits: bool = False

    def say(self, line: str) -> None:
        self.audience.watch.report.say(line)

    @property
    def folder(self) -> Path:
        return self.trials.folder

    def onlooker(self) -> Onlooker:
        return Onlooker(self._begun, self._changed, self._waiting)

    def _begun(self, place: Place) -> dict[str, str]:
        self.waits = False
        return {"run": str(self.trials.run_folder(place).resolve())}

    def _changed(self, ledger: Ledger) -> None:
        found = self._found(ledger)
        if not self.told and len(found.rows) > 1:
            self.say(f"{len(found.rows)} of {self.wish.trials} trials are done already{_best_said(found.best)}")
            self.told = {row.trial for row in found.rows}
        for row in found.rows:
            if row.trial not in self.told:
                self.told.add(row.trial)
                self.say(self._line(row, found, ledger))
        if found.rows:
            self._write(found)
            self.tidy()
            self.audience.changed(found)

    def _waiting(self, ledger: Ledger) -> None:
        if not self.waits:
            self.say(f"waiting for {len(ledger.running)} trial(s) under way in other processes")
        self.waits = True

    def _line(self, row: TrialRow, found: Found, ledger: Ledger) -> str:
        value = f"{row.value:.5g}" + ("" if row.state == COMPLETE else f" ({row.state})")
        tried = "  ".join(f"{r.name} {row.settings[r.name]:.3g}" for r in self.plan.ranges)
        took = [r.seconds for r in found.rows if r.seconds == r.seconds]
        open_ = self.wish.trials - len(found.rows)
        workers = max(1, len({attempt.user_attrs[WORKER] for attempt in ledger.running} | {this_worker()}))
        left = duration(sum(took) / len(took) * open_ / workers) if took else "?"
        last = f"  {left} left" if open_ > 0 else ""
        took_it = f"{row.seconds:.0f} s{_best_said(found.best)}{last}"
        return f"trial {row.trial} of {self.wish.trials}  {value}  {tried}  {took_it}"

    def _found(self, ledger: Ledger) -> Found:
        rows = rows_of(ledger)
        best = best_of(rows)
        recipe = self.folder / "best.toml" if best else None
        return Found(self.plan, self.folder, rows, best, recipe, _run_of(best))

    def _write(self, found: Found) -> None:
        write_csv(found.rows, [r.name for r in self.plan.ranges], self.folder / "study.csv")
        if found.best and found.recipe:
            remark = (
                f"The best of {len(found.rows)} trials ({self.plan.search}): held-out loss {found.best.value:.6g}. "
                f"`gatewise train {self.plan.task} DATA --recipe {found.recipe.name}` trains with it."
            )
            write_recipe(found.recipe, self.plan.task, replace(self.settings, **found.best.settings), remark)

    def tidy(self) -> None:
        """Remove the runs that are not wanted."""
        if not self.wish.keep_runs:
            ledger = read(self.study)
            tidy(ledger, best_of(rows_of(ledger)), this_worker())

    def finish(self, ledger: Ledger) -> Found:
        """Measure the best run, once, if it is on this machine."""
        found = self._found(ledger)
        if found.run is not None:
            # Of several processes in one folder one measures, and the others wait for it.
            with FileLock(self.folder / ".measuring.lock"):
                if not found.run.summary_file.exists():
                    go_on(self.trials.training, found.run, self.audience.watch)
        elif found.best is not None:
            self.say(f"the best trial's run is on {found.best.machine}: {found.best.run}")
        return found


def _run_of(best: TrialRow | None) -> Run | None:
    if best is None or not best.run or not (Path(best.run) / "config.toml").exists():
        return None
    return Run(Path(best.run))


def _best_said(best: TrialRow | None) -> str:
    return "" if best is None else f"  best {best.value:.5g} (trial {best.trial})"
