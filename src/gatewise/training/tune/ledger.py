"""Which trial of a study is whose: none is lost, none is done twice, however many processes come and go.

A study has slots, one a trial that is wanted. A process that takes a slot writes an *attempt* into the study, one of
Optuna's trials, in a single transaction, and then looks whether another was faster: of several attempts at one slot the
one with the lowest number stays, and numbers are given in the order in which attempts can be seen. An attempt whose
process died is marked failed, and its slot is free again, with the same settings. Nothing but the study is needed for
this: no lock, no server of our own, the same for every storage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewise.training.tune.extra import need
from gatewise.training.tune.ranges import Range
from gatewise.training.tune.worker import Watchman, is_dead, this_worker

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

SLOT, WORKER, BEAT, NOTE = "slot", "worker", "beat", "note"
DIED, INTERRUPTED, LATE, DIVERGED = "its process died", "interrupted", "another was faster", "diverged"
_MOST_DEATHS = 3


@dataclass(frozen=True)
class Ledger:
    """What a study says of its slots at one moment.

    Attributes:
        done: the attempt that finished a slot, completed or pruned.
        running: attempts under way.
        attempts: all there ever were, by number.
    """

    done: Mapping[int, FrozenTrial]
    running: Sequence[FrozenTrial]
    attempts: Sequence[FrozenTrial]

    @property
    def taken(self) -> set[int]:
        """Slots that are done or under way."""
        return {*self.done, *(attempt.user_attrs[SLOT] for attempt in self.running)}

    def values(self, slots: range) -> list[float] | None:
        """What was found in these slots; None if one of them is not done."""
        if any(slot not in self.done for slot in slots):
            return None
        return [value_of(self.done[slot]) for slot in slots]

    def settings_of(self, slot: int, names: Sequence[str]) -> dict[str, Any]:
        """Those that an earlier attempt at this slot had; none if there was none."""
        for attempt in self.attempts:
            if attempt.user_attrs.get(SLOT) == slot and set(attempt.params) == set(names):
                return attempt.params
        return {}


def value_of(attempt: FrozenTrial) -> float:
    """What an attempt that is over found: a pruned one the last that was seen of it."""
    return math.inf if attempt.value is None else attempt.value


def read(study: Study) -> Ledger:
    """The ledger as it stands."""
    states = need("optuna").trial.TrialState
    attempts = [attempt for attempt in study.get_trials(deepcopy=False) if SLOT in attempt.user_attrs]
    done: dict[int, FrozenTrial] = {}
    for attempt in attempts:
        if attempt.state in (states.COMPLETE, states.PRUNED):
            done.setdefault(attempt.user_attrs[SLOT], attempt)
    return Ledger(done, [attempt for attempt in attempts if attempt.state == states.RUNNING], attempts)


class Clerk:
    """One process's hand in the ledger.

    Args:
        study: of Optuna.
        ranges: what is looked for.
        worker: the process.
    """

    def __init__(self, study: Study, ranges: Sequence[Range], worker: str | None = None) -> None:
        self.study, self.ranges = study, ranges
        self.worker = worker or this_worker()
        self._watchman = Watchman()
        self._states = need("optuna").trial.TrialState
        self._storage = study._storage  # Optuna's own way to an attempt that is under way has no other door

    def look(self) -> Ledger:
        """The ledger, once attempts whose process is dead or silent are marked failed."""
        ledger = read(self.study)
        silent = self._watchman.silent({a.number: a.user_attrs.get(BEAT, 0) for a in ledger.running})
        dead = [a for a in ledger.running if a.number in silent or is_dead(a.user_attrs[WORKER])]
        for attempt in dead:
            deaths = [a for a in ledger.attempts if a.user_attrs.get(NOTE) == DIED]
            before = sum(a.user_attrs[SLOT] == attempt.user_attrs[SLOT] for a in deaths)
            if before + 1 < _MOST_DEATHS:
                self._end(attempt._trial_id, self._states.FAIL, note=DIED)
            else:  # settings that kill whoever tries them: too large for this memory
                self._end(attempt._trial_id, self._states.COMPLETE, math.inf, f"{DIED} {_MOST_DEATHS} times")
        return read(self.study) if dead else ledger

    def take(self, ledger: Ledger, slot: int, sampler: BaseSampler | None = None) -> Trial | None:
        """Begin an attempt at a slot, which the sampler draws the settings of; None if another process was faster."""
        optuna = need("optuna")
        earlier = ledger.settings_of(slot, [r.name for r in self.ranges])
        template = optuna.create_trial(
            state=self._states.RUNNING,
            user_attrs={SLOT: slot, WORKER: self.worker},
            system_attrs={"fixed_params": earlier} if earlier else {},
        )
        key = self._storage.create_new_trial(self.study._study_id, template)
        # Anew, since a study that is open shows its samplers the trials that it had when it was opened.
        study = optuna.load_study(
            study_name=self.study.study_name, storage=self._storage, sampler=sampler, pruner=self.study.pruner
        )
        attempt = optuna.trial.Trial(study, key)
        now = read(self.study)
        rivals = [a for a in now.running if a.user_attrs[SLOT] == slot and a.number < attempt.number]
        if rivals or slot in now.done:
            self._end(key, self._states.FAIL, note=LATE)
            return None
        return attempt

    def settings(self, attempt: Trial) -> dict[str, Any]:
        """Those of an attempt: an earlier one's, or what the sampler says."""
        return {r.name: _suggested(attempt, r) for r in self.ranges}

    def beat(self, attempt: Trial, count: int) -> None:
        """Say that this process lives."""
        self._storage.set_trial_user_attr(attempt._trial_id, BEAT, count)

    def note(self, attempt: Trial, **facts: Any) -> None:
        """Write down facts of an attempt under way."""
        for name, fact in facts.items():
            self._storage.set_trial_user_attr(attempt._trial_id, name, fact)

    def complete(self, attempt: Trial, value: float, **facts: Any) -> bool:
        """An attempt came to its end; False if it was taken from this process meanwhile."""
        return self._end(attempt._trial_id, self._states.COMPLETE, value, **facts)

    def prune(self, attempt: Trial, value: float, **facts: Any) -> bool:
        """An attempt was stopped early; its value is the last that was seen of it."""
        return self._end(attempt._trial_id, self._states.PRUNED, value, **facts)

    def fail(self, attempt: Trial, note: str) -> bool:
        """An attempt came to nothing; its slot is free again."""
        return self._end(attempt._trial_id, self._states.FAIL, note=note)

    def _end(self, key: int, state: Any, value: float | None = None, note: str = "", **facts: Any) -> bool:
        """True if it was still open. Facts first: nothing can be added to what is over."""
        try:
            for name, fact in {**facts, **({NOTE: note} if note else {})}.items():
                self._storage.set_trial_user_attr(key, name, fact)
            return self._storage.set_trial_state_values(key, state, None if value is None else [value])
        except need("optuna").exceptions.UpdateFinishedTrialError:
            return False


def _suggested(attempt: Trial, wanted: Range) -> float | int:
    if wanted.whole:
        return attempt.suggest_int(wanted.name, int(wanted.low), int(wanted.high), log=wanted.log)
    return attempt.suggest_float(wanted.name, wanted.low, wanted.high, log=wanted.log)
