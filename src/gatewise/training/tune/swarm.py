"""The particle swarm: where its particles are, from what was found where they were."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from gatewise.training.tune.extra import need

LARGEST_STEP = 0.4
"""The most a particle moves in a generation, a share of every range. A search has few generations, five of six
particles by default, and begins at rest: with pymoo's 0.2 a best place on a border, as of a size that cannot be large
enough, is out of most particles' reach."""

_MOST_MUTATIONS, _MOST_DRAWS = 20, 200


def positions(
    values: Sequence[Sequence[float] | np.ndarray], particles: int, dimensions: int, seed: int,
    seen_as: Callable[[Sequence[float]], Hashable] = tuple,
) -> np.ndarray:  # fmt: skip
    """Where the particles of the next generation are: ``(particles, dimensions)``, every coordinate in 0 ... 1.

    A particle i with position x_i and velocity v_i, the best place p_i that it has been at and the best place g that
    any has been at (Kennedy and Eberhart 1995; the inertia weight w is Shi and Eberhart's, 1998):

        v_i <- w v_i + c1 r1 (p_i - x_i) + c2 r2 (g - x_i),   every component clipped to ±0.4
        x_i <- x_i + v_i

    with r1 and r2 uniform in 0 ... 1, drawn anew for every particle and component. w, c1 and c2 follow the swarm (Zhan,
    Zhang, Li and Chung 2009): with d_i the mean distance of p_i to the other particles' and d_g that of g to them all,
    f = (d_g - d_min) / (d_max - d_min),

        w = 1 / (1 + 1.5 exp(-2.6 f)),

    and c1 and c2, 2 at first and 4 together at most, give and take a little as f says that the swarm explores,
    exploits, has converged or jumps out. The particle whose best place is the best of all is put near that place
    instead (polynomial mutation, Deb 1996), so that the swarm never stands still. A particle that would leave a range
    draws r1 and r2 again, twenty times at most, and then goes part of the way to the border. The first generation is a
    Latin hypercube (McKay, Beckman and Conover 1979), at rest. All this is pymoo's PSO. Ours is that it begins at rest
    (there all velocities are positive at first), the largest step, and that a particle that would stand where one has
    been, or another of its generation stands, is mutated too, up to twenty times, and then put anywhere: a trial is too
    dear to be repeated.

    Nothing is remembered from call to call. The swarm is derived from the seed and the values alone, so whoever has
    these, after a kill or in another process, has the same swarm to the last bit.

    Args:
        values: what was found in the generations so far, ``particles`` numbers each; less is better, infinity is
            allowed.
        particles: of the swarm, 3 at least.
        dimensions: how many settings are looked for.
        seed: of all that is random.
        seen_as: what a place comes to, where several come to the same: whole numbers are rounded.

    Raises:
        UserError: pymoo is not installed.
    """
    problem = need("pymoo.core.problem").Problem(
        n_var=dimensions, n_obj=1, xl=np.zeros(dimensions), xu=np.ones(dimensions)
    )
    need("pymoo.config").Config.warnings["not_compiled"] = False
    swarm = need("pymoo.algorithms.soo.nonconvex.pso").PSO(
        pop_size=particles, initial_velocity="zero", max_velocity_rate=LARGEST_STEP, seed=seed
    )
    been: set[Hashable] = set()
    swarm.repair = _elsewhere(swarm, been, seen_as)
    swarm.setup(problem, termination=need("pymoo.core.termination").NoTermination())
    static, evaluator = need("pymoo.problems.static").StaticProblem, need("pymoo.core.evaluator").Evaluator()
    for found in values:
        asked = swarm.ask()
        been |= {seen_as(place) for place in asked.get("X").tolist()}
        evaluator.eval(static(problem, F=np.asarray(found, dtype=np.float64)[:, None]), asked)
        swarm.tell(infills=asked)
    return swarm.ask().get("X")


def _elsewhere(
    swarm: Any, been: set[Hashable], seen_as: Callable[[Sequence[float]], Hashable]
) -> Callable[[Any, Any], None]:
    """What pymoo calls with the next generation before it is asked: moves particles that stand where one has been."""
    mutation = need("pymoo.operators.mutation.pm").PM(prob=1.0, eta=20, at_least_once=True)
    population = need("pymoo.core.population").Population

    def moved(problem: Any, particles: Any) -> None:
        taken = set(been)
        for particle in particles:
            for attempt in range(_MOST_MUTATIONS + _MOST_DRAWS):
                if seen_as(particle.X.tolist()) not in taken:
                    break
                if attempt < _MOST_MUTATIONS:
                    still = population.new(X=particle.X[None])
                    particle.X = mutation(problem, still, random_state=swarm.random_state)[0].X
                else:
                    particle.X = swarm.random_state.random(len(particle.X))
            taken.add(seen_as(particle.X.tolist()))

    return moved
