"""The search itself: take a slot, try it, write down what came out, until all are done."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatewise.errors import UserError
from gatewise.training.signals import Interrupted
from gatewise.training.tune.extra import need
from gatewise.training.tune.ledger import DIVERGED, INTERRUPTED, Clerk, Ledger
from gatewise.training.tune.plan import Plan
from gatewise.training.tune.worker import Beating

if TYPE_CHECKING:
    from optuna import Study, Trial

SECONDS_BETWEEN_LOOKS = 0.5
_TRIALS_BEFORE_PRUNING, _SHARE_BEFORE_PRUNING = 5, 0.25


@dataclass(frozen=True)
class Place:
    """Where a trial stands.

    Attributes:
        slot: in the study, from 0.
        number: of the attempt, which no other has.
        settings: what is tried.
    """

    slot: int
    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        value: less is better; infinity where it diverged.
        facts: what else is written down, plain types.
    """

    value: float
    facts: Mapping[str, Any] = field(default_factory=dict)


class Hopeless(Exception):  # noqa: N818  (an outcome, not a mistake)
    """A trial is worse than the median of those before it at the same share of the budget."""


Objective = Callable[[Place, Callable[[float], None]], Outcome]
"""Tries a place; calls the function with every look at what is held out, which may raise :class:`Hopeless`."""


@dataclass(frozen=True)
class Onlooker:
    """Who is told of a search.

    Attributes:
        begun: called with a place before it is tried; what it returns is written down with the attempt.
        changed: called with the ledger whenever slots were done, by this process or another.
        waiting: called with the ledger when all that is left is under way elsewhere.
    """

    begun: Callable[[Place], Mapping[str, Any]] = lambda place: {}
    changed: Callable[[Ledger], None] = lambda ledger: None
    waiting: Callable[[Ledger], None] = lambda ledger: None


def search(
    study: Study, plan: Plan, trials: int, objective: Objective, looks: int = 0, onlooker: Onlooker | None = None
) -> Ledger:
    """Go on until so many trials of the study are done, by this process or others; the ledger then.

    Args:
        study: from :func:`gatewise.training.tune.plan.open_study`.
        plan: what it is of.
        trials: that are done in the end, completed or pruned, those of other processes and of earlier calls included.
        objective: tries a place.
        looks: that a trial takes at what is held out: pruning begins after a quarter of them; 0 where there are none.
        onlooker: is told of it.

    Raises:
        UserError: a trial could not be tried; it is marked failed, and the next call tries it again.
        Interrupted: Ctrl-C or SIGTERM; likewise.
    """
    optuna = need("optuna")
    from gatewise.training.tune.samplers import sampler_for

    onlooker = onlooker or Onlooker()
    if plan.prune:
        warmup = math.ceil(_SHARE_BEFORE_PRUNING * looks)
        study.pruner = optuna.pruners.MedianPruner(_TRIALS_BEFORE_PRUNING, n_warmup_steps=warmup)
    clerk, known = Clerk(study, plan.ranges), -1
    while True:
        ledger = clerk.look()
        if len(ledger.done) != known:
            known = len(ledger.done)
            onlooker.changed(ledger)
        if all(slot in ledger.done for slot in range(trials)):
            return ledger
        slot = _next_slot(ledger, plan, trials)
        if slot is None:
            onlooker.waiting(ledger)
            time.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        sampler = sampler_for(plan.search, plan.ranges, plan.particles, plan.seed, slot)
        attempt = clerk.take(ledger, slot, sampler)
        if attempt is not None:
            _carry_out(clerk, attempt, slot, plan, objective, looks, onlooker)


def _next_slot(ledger: Ledger, plan: Plan, trials: int) -> int | None:
    """The first that is free. A swarm's generation begins when the one before is done."""
    slots = range(trials)
    if plan.particles:
        first = next(slot for slot in slots if slot not in ledger.done) // plan.particles * plan.particles
        slots = range(first, min(first + plan.particles, trials))
    taken = ledger.taken
    return next((slot for slot in slots if slot not in taken), None)


def _carry_out(
    clerk: Clerk, attempt: Trial, slot: int, plan: Plan, objective: Objective, looks: int, onlooker: Onlooker
) -> None:
    """Try a slot that was taken. Whatever happens, the attempt is closed."""
    lost = need("optuna").exceptions.UpdateFinishedTrialError
    note, started, seen = INTERRUPTED, time.perf_counter(), []

    def look(value: float) -> None:
        seen.append(value)
        if math.isfinite(value):
            attempt.report(value, len(seen) - 1)
            # At the last look there is nothing left to save.
            if plan.prune and len(seen) < looks and attempt.should_prune():
                raise Hopeless

    def facts() -> dict[str, Any]:
        return {"seconds": round(time.perf_counter() - started, 2)}

    try:
        with Beating(lambda count: clerk.beat(attempt, count)):
            place = Place(slot, attempt.number, clerk.settings(attempt))
            clerk.note(attempt, **onlooker.begun(place))
            outcome = objective(place, look)
        value = math.inf if math.isnan(outcome.value) else outcome.value
        note = "" if math.isfinite(value) else DIVERGED
        clerk.complete(attempt, value, note=note, **facts(), **outcome.facts)
    except Hopeless:
        clerk.prune(attempt, seen[-1], **facts())
    except lost:
        pass  # this process was silent for so long that another took the slot
    except (Interrupted, KeyboardInterrupt):
        clerk.fail(attempt, INTERRUPTED)
        raise
    except UserError as error:
        clerk.fail(attempt, str(error))
        said = "  ".join(f"{name} {value:g}" for name, value in attempt.params.items())
        raise UserError(f"trial {slot + 1} ({said}): {error}") from None
    except BaseException as error:
        clerk.fail(attempt, f"{type(error).__name__}: {error}")
        raise
