"""Where the next trial looks: drawn at random, by Parzen estimators, or by a particle of a swarm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from gatewise.errors import UserError
from gatewise.training.tune.ledger import SLOT, read
from gatewise.training.tune.ranges import Range
from gatewise.training.tune.swarm import positions

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


class SwarmSampler(BaseSampler):
    """Particle swarm optimisation, see :func:`gatewise.training.tune.swarm.positions`, for a study that several
    processes share.

    Slot s of a study is particle ``s % particles`` in generation ``s // particles``. Its position follows from what is
    recorded of the generations before, which must be done.

    Args:
        ranges: what is looked for; coordinate by coordinate of the swarm.
        particles: of the swarm.
        seed: of all that is random.
    """

    def __init__(self, ranges: Sequence[Range], particles: int, seed: int) -> None:
        self.ranges, self.particles, self.seed = ranges, particles, seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {r.name: distribution(r) for r in self.ranges}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        generation, particle = divmod(trial.user_attrs[SLOT], self.particles)
        values = recorded_values(study, self.particles, generation)
        return self.settings(values)[particle]

    def settings(self, values: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
        """Those of the particles after generations that came to these values."""

        def at(place: Sequence[float]) -> tuple[float, ...]:
            return tuple(r.at(share) for r, share in zip(self.ranges, place, strict=True))

        places = positions(values, self.particles, len(self.ranges), self.seed, at)
        return [{r.name: value for r, value in zip(self.ranges, at(place), strict=True)} for place in places.tolist()]

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not one of the swarm's coordinates")


def recorded_values(study: Study, particles: int, generations: int) -> list[list[float]]:
    """What was found in the first generations, which are done."""
    ledger = read(study)
    found = [ledger.values(range(g * particles, (g + 1) * particles)) for g in range(generations)]
    assert all(values is not None for values in found)
    return [values for values in found if values is not None]


def check_swarm(study: Study, sampler: SwarmSampler) -> None:
    """Raise :class:`UserError` if the swarm that is derived here is not the one that was recorded: another version of
    pymoo or NumPy draws or moves differently."""
    ledger = read(study)
    for generation in range(len(ledger.done) // sampler.particles + 1):
        slots = range(generation * sampler.particles, (generation + 1) * sampler.particles)
        particles = sampler.settings(recorded_values(study, sampler.particles, generation))
        for slot, settings in zip(slots, particles, strict=True):
            there = ledger.done[slot].params if slot in ledger.done else settings
            for name, here in settings.items():
                if not math.isclose(there[name], here, rel_tol=1e-9):
                    raise UserError(
                        f"trial {slot + 1} of the study was not where this swarm's particle is ({name} "
                        f"{there[name]:g}, here {here:g}): another version of pymoo made it; install that one, or "
                        "begin a new study"
                    )
        if ledger.values(slots) is None:
            return


def distribution(wanted: Range) -> BaseDistribution:
    """A range in Optuna's words."""
    if wanted.whole:
        return IntDistribution(int(wanted.low), int(wanted.high), log=wanted.log)
    return FloatDistribution(wanted.low, wanted.high, log=wanted.log)


def sampler_for(search: str, ranges: Sequence[Range], particles: int, seed: int, slot: int) -> BaseSampler:
    """The sampler of one slot; random numbers of its own, whichever process draws them and whatever came before."""
    if search == "pso":
        return SwarmSampler(ranges, particles, seed)
    own = int(np.random.SeedSequence([seed, slot]).generate_state(1)[0])
    return RandomSampler(own) if search == "random" else TPESampler(seed=own)
