"""What a study came to, as plain rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewise.training.checkpoint import write_text
from gatewise.training.tune.extra import need
from gatewise.training.tune.ledger import DIVERGED, NOTE, WORKER, Ledger, value_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

COMPLETE, PRUNED = "complete", "pruned"


@dataclass(frozen=True)
class TrialRow:
    """A trial that is done.

    Attributes:
        trial: its number, from 1.
        value: the held-out loss; of a pruned one the last that was seen, of a diverged one infinity.
        state: ``complete``, ``pruned`` or ``diverged``; or what else kept it from a value.
        settings: what was tried.
        seconds: that it took; NaN where that is not known.
        machine: where it was tried.
        run: the folder of its run there.
        attempt: its number among all attempts.
    """

    trial: int
    value: float
    state: str
    settings: dict[str, Any]
    seconds: float
    machine: str
    run: str
    attempt: int

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON, in which there is no infinity."""
        value, seconds = (x if math.isfinite(x) else None for x in (self.value, self.seconds))
        return {
            "trial": self.trial, "value": value, "state": self.state, "settings": self.settings, "seconds": seconds,
            "machine": self.machine, "run": self.run,
        }  # fmt: skip


def rows_of(ledger: Ledger) -> list[TrialRow]:
    """The trials that are done, in order."""
    return [_row(slot, ledger.done[slot]) for slot in sorted(ledger.done)]


def _row(slot: int, attempt: FrozenTrial) -> TrialRow:
    facts = attempt.user_attrs
    pruned = attempt.state == need("optuna").trial.TrialState.PRUNED
    value = value_of(attempt)
    state = PRUNED if pruned else COMPLETE if math.isfinite(value) else facts.get(NOTE) or DIVERGED
    machine = facts[WORKER].rsplit("/", 2)[0].partition("pid:")[0]
    return TrialRow(
        slot + 1, value, state, dict(attempt.params), facts.get("seconds", math.nan), machine, facts.get("run", ""),
        attempt.number,
    )  # fmt: skip


def best_of(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The completed trial with the smallest value, of equal ones the first; None where all were pruned or diverged."""
    complete = [row for row in rows if row.state == COMPLETE]
    return min(complete, key=lambda row: (row.value, row.trial), default=None)


def write_csv(rows: Sequence[TrialRow], names: Sequence[str], path: Path) -> None:
    """A line a trial: number, value, state, what was tried, seconds, machine."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "value", "state", *names, "seconds", "machine"])
    for row in rows:
        tried = [row.settings.get(name, "") for name in names]
        writer.writerow([row.trial, row.value, row.state, *tried, row.seconds, row.machine])
    write_text(path, text.getvalue())
