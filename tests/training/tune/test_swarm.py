"""The swarm against its equations written out in NumPy, against random search, and against itself after a kill."""

import numpy as np
import pytest

from gatewise.errors import UserError
from gatewise.training.tune.swarm import positions

P, D = 6, 3


def sphere(places: np.ndarray) -> np.ndarray:
    return ((places - np.array([0.3, 0.6, 0.45])) ** 2).sum(axis=1)


def rosenbrock(places: np.ndarray) -> np.ndarray:
    x = 4 * places - 2
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(axis=1)


class Recorded(np.random.Generator):
    """Remembers what was drawn uniformly."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(seed))
        self.drawn: list[np.ndarray] = []

    def random(self, *arguments, **options):
        values = super().random(*arguments, **options)
        self.drawn.append(np.array(values))
        return values


@pytest.fixture
def draws(monkeypatch):
    """What the swarm drew, in the order in which it drew it."""
    made: list[Recorded] = []

    def default_rng(seed):
        if seed is None:  # for what sorts, and draws nothing
            return np.random.Generator(np.random.PCG64())
        made.append(Recorded(seed))
        return made[-1]

    monkeypatch.setattr(np.random, "default_rng", default_rng)
    return lambda: made[-1].drawn


def latin_hypercube(uniform: list[np.ndarray]) -> np.ndarray:
    """Of twenty hypercubes, each of two fields of uniform numbers, that whose nearest points lie farthest apart."""

    def nearest(points: np.ndarray) -> float:
        apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
        return apart[~np.eye(len(points), dtype=bool)].min()

    best = None
    for order, inside in zip(uniform[0::2], uniform[1::2], strict=True):
        cells = order.argsort(axis=0)  # a permutation of the P cells, a dimension at a time
        points = (cells + 1 - inside) / len(cells)
        if best is None or nearest(points) > nearest(best):
            best = points
    assert best is not None
    return best


def test_first_generation_is_a_latin_hypercube(draws):
    found = positions([], P, D, seed=4)
    np.testing.assert_allclose(found, latin_hypercube(draws()), atol=1e-12)
    for column in found.T:
        assert sorted(np.floor(column * P).astype(int)) == list(range(P))


def weights(best_places: np.ndarray, g: np.ndarray, w: float, c1: float, c2: float, u: float):
    """w, c1 and c2 after Zhan et al. (2009), with a uniform number u."""
    apart = np.sqrt(((best_places[:, None] - best_places[None]) ** 2).sum(-1) / D)
    mean = apart.sum(axis=1) / (P - 1)
    to_best = np.sqrt(((best_places - g) ** 2).sum(-1) / D).mean()
    f = (to_best - mean.min()) / (mean.max() - mean.min())
    exploration = np.interp(f, [0.4, 0.6, 0.7, 0.8], [0, 1, 1, 0])
    exploitation = np.interp(f, [0.2, 0.3, 0.4, 0.6], [0, 1, 1, 0])
    convergence = np.interp(f, [0.1, 0.3], [1, 0])
    jumping = np.interp(f, [0.7, 0.9], [0, 1])
    step = 0.05 + 0.05 * u
    which = int(np.argmax([exploration, exploitation, convergence, jumping]))
    c1 += step * [1, 0.5, 0.5, -1][which]
    c2 += step * [-1, -0.5, 0.5, 1][which]
    c1, c2 = np.clip([c1, c2], 1.5, 2.5)
    if c1 + c2 > 4:
        c1 = 4 * c1 / (c1 + c2)
        c2 = 4 * c2 / (c1 + c2)
    return 1 / (1 + 1.5 * np.exp(-2.6 * f)), c1, c2


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_particles_move_by_the_equations(draws, seed):
    """Two generations, velocity and adapted weights included; particles that were mutated or left a range apart."""
    x0 = positions([], P, D, seed)
    f0 = sphere(x0)
    x1 = positions([f0], P, D, seed)
    r1, r2 = (u for u in draws()[40:] if u.shape == (P, D))
    g = x0[f0.argmin()]
    v1 = np.clip(0.9 * 0 + 2 * r1 * 0 + 2 * r2 * (g - x0), -0.4, 0.4)
    mutated = f0.argmin()
    moved = [i for i in range(P) if i != mutated and ((x0 + v1)[i] >= 0).all() and ((x0 + v1)[i] <= 1).all()]
    assert len(moved) >= 3
    np.testing.assert_allclose(x1[moved], (x0 + v1)[moved], atol=1e-12)

    f1 = sphere(x1)
    x2 = positions([f0, f1], P, D, seed)
    fields = [u for u in draws()[40:] if u.shape == (P, D)]
    adapting = [float(u) for u in draws()[40:] if u.shape == ()]
    better = f1 < f0
    p, f = np.where(better[:, None], x1, x0), np.where(better, f1, f0)
    w, c1, c2 = weights(p, g, 0.9, 2.0, 2.0, adapting[-1])
    v2 = np.clip(w * v1 + c1 * fields[-2] * (p - x1) + c2 * fields[-1] * (p[f.argmin()] - x1), -0.4, 0.4)
    inside = ((x1 + v2 >= 0) & (x1 + v2 <= 1)).all(axis=1)
    moved = [i for i in moved if i != f.argmin() and inside[i]]
    assert len(moved) >= 2
    np.testing.assert_allclose(x2[moved], (x1 + v2)[moved], atol=1e-12)


def searched(function, dimensions: int, generations: int, seed: int) -> list[np.ndarray]:
    values: list[np.ndarray] = []
    for _ in range(generations):
        values.append(function(positions(values, P, dimensions, seed)))
    return values


@pytest.mark.parametrize(("function", "dimensions"), [(sphere, 3), (rosenbrock, 4)])
def test_comes_closer_than_random_search_with_as_many_trials(function, dimensions):
    swarms = [np.min(searched(function, dimensions, 6, seed)) for seed in range(6)]
    drawn = [function(np.random.default_rng(seed).random((6 * P, dimensions))).min() for seed in range(200)]
    assert np.median(swarms) < np.quantile(drawn, 0.15)
    assert np.mean(np.log(swarms)) < np.mean(np.log(drawn)) - 0.7  # half as far, on the whole


def corner(places: np.ndarray) -> np.ndarray:
    return (np.array([1, 0.6, 0.6, 0.4, 0.4, 0.2]) * (places - np.array([1, 0, 0.3, 1, 0.6, 0])) ** 2).sum(axis=1)


def test_comes_closer_than_random_search_where_the_best_place_is_on_a_border():
    """Six settings, thirty trials: what `gatewise tune` does by default."""
    swarms = [np.min(searched(corner, 6, 5, seed)) for seed in range(12)]
    drawn = [corner(np.random.default_rng(seed).random((5 * P, 6))).min() for seed in range(200)]
    assert np.mean(swarms) < 0.85 * np.mean(drawn)


def test_same_values_same_swarm_to_the_last_bit():
    values = searched(sphere, D, 4, seed=7)
    there = positions(values, P, D, seed=7)
    again = positions([[float(repr(value)) for value in found.tolist()] for found in values], P, D, seed=7)
    assert there.tobytes() == again.tobytes()
    other = [found.copy() for found in values]
    other[1][2] = 0.0  # the best of all
    assert there.tobytes() != positions(other, P, D, seed=7).tobytes()
    assert there.tobytes() != positions(values, P, D, seed=8).tobytes()


def test_no_particle_repeats_a_place_and_none_leaves_its_range():
    for seed in range(4):
        values: list[np.ndarray] = []
        been: set[bytes] = set()
        for _ in range(5):
            places = positions(values, P, 1, seed)
            assert ((places >= 0) & (places <= 1)).all()
            assert not been & {place.tobytes() for place in places}
            been |= {place.tobytes() for place in places}
            values.append(np.abs(places[:, 0] - 1.0))  # the best lies on the border


def test_places_that_are_rounded_to_the_same_are_one():
    def rounded(place) -> tuple[int, ...]:
        return tuple(int(12 * share) for share in place)

    for seed in range(4):
        values: list[np.ndarray] = []
        been: set[tuple[int, ...]] = set()
        for _ in range(4):
            places = positions(values, P, 2, seed, rounded)
            assert not been & {rounded(place) for place in places}
            been |= {rounded(place) for place in places}
            values.append(((places - 0.4) ** 2).sum(axis=1))
    # Where there are fewer places than trials, some are repeated, and it comes to an end.
    assert positions([[1.0] * P] * 3, P, 1, 0, lambda place: int(2 * place[0])).shape == (P, 1)


def test_a_swarm_that_only_diverged_goes_on():
    places = positions([[np.inf] * P, [np.inf] * P], P, D, seed=0)
    assert np.isfinite(places).all()
    places = positions([[np.inf] * (P - 1) + [1.0]] * 2, P, D, seed=0)
    assert np.isfinite(places).all()


def test_without_pymoo_one_line_says_how_to_get_it(monkeypatch):
    def missing(name: str):
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(UserError, match=r"pymoo is not installed.*gatewise\[tune\]"):
        positions([], P, D, seed=0)


@pytest.mark.parametrize(("dimensions", "steps"), [(1, 39), (2, 5)])
def test_no_place_is_taken_twice_while_there_are_others(dimensions, steps):
    def seen_as(place):
        return tuple(round(value * steps) for value in place)

    for seed in range(3):
        values, seen = [], []
        for _ in range(5):
            places = positions(values, 6, dimensions, seed, seen_as)
            seen += [seen_as(place) for place in places.tolist()]
            values.append(((places - 0.9) ** 2).sum(1))
        later = seen[6:]  # the first six are a Latin hypercube, as it falls
        assert len(set(later)) == len(later)
        assert not set(later) & set(seen[:6])
