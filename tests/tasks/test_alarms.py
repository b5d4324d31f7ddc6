"""The limit of alarms: against its definition, sorted by hand, and against what it promises."""

import math

import numpy as np
import pytest

from gatewise.errors import UserError
from gatewise.tasks.alarms import AlarmLimit, examples_wanted


def drawn(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet((2.0, 1.0, 0.5), count)


def test_the_limit_is_an_order_statistic_of_the_normal_examples_alone():
    chances, classes = drawn(200, 0), np.random.default_rng(1).integers(0, 3, 200)
    for normal in range(3):
        for share in (0.05, 0.1, 0.37):
            scores = sorted(1 - chances[n, normal] for n in range(200) if classes[n] == normal)
            found = AlarmLimit.fitted(chances, classes, normal, share)
            assert found.limit == pytest.approx(scores[math.ceil((len(scores) + 1) * (1 - share)) - 1])
            assert (found.examples, found.share, found.normal) == (len(scores), share, normal)


def test_above_it_the_most_probable_class_below_it_normal():
    limit = AlarmLimit(share=0.1, limit=0.7, normal=1, examples=9)
    chances = np.array(
        [
            [0.36, 0.31, 0.33],  # the most probable class is a fault, but it is not clear enough that there is one
            [0.34, 0.29, 0.37],
            [0.60, 0.01, 0.39],
            [0.00, 1.00, 0.00],
        ]
    )
    assert limit.classes(chances).tolist() == [1, 2, 0, 1]
    alarmed = AlarmLimit(share=0.9, limit=0.1, normal=1, examples=9)
    assert alarmed.classes(np.array([[0.2, 0.5, 0.3], [0.2, 0.39, 0.41]])).tolist() == [
        1,
        2,
    ]  # never above what is likely


def test_false_alarms_on_new_normal_examples_are_no_more_than_asked_for():
    """In the mean over many limits, each of few examples, where the next examples are drawn as those were."""
    for share, count in ((0.05, 19), (0.2, 30)):
        rates = []
        for seed in range(300):
            chances = drawn(count + 50, seed)
            limit = AlarmLimit.fitted(chances[:count], np.zeros(count, int), 0, share)
            rates.append((limit.classes(chances[count:]) != 0).mean())
        exact = 1 - math.ceil((count + 1) * (1 - share)) / (count + 1)
        assert np.mean(rates) == pytest.approx(exact, abs=0.012)
        assert exact <= share + 1e-12


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1, 0.3, 1 / 3, 0.5])
def test_so_many_examples_vouch_for_it_and_one_less_does_not(share):
    def vouches(count: int) -> bool:
        return math.ceil((count + 1) * (1 - share) - 1e-9) <= count

    wanted = examples_wanted(share)
    assert vouches(wanted)
    assert not vouches(wanted - 1)


def test_a_file_gives_back_the_limit_and_a_malformed_one_is_refused():
    limit = AlarmLimit(0.05, 0.93, 2, 41)
    assert AlarmLimit.from_config(limit.to_config(), 3) == limit
    for change in ({"normal": 3}, {"limit": 1.5}, {"limit": math.nan}, {"share": 0}, {"examples": "many"}):
        with pytest.raises(UserError, match="alarm limit is malformed"):
            AlarmLimit.from_config(limit.to_config() | change, 3)
    with pytest.raises(UserError, match="alarm limit is malformed"):
        AlarmLimit.from_config({}, 3)


def test_what_is_at_the_limit_is_normal():
    limit = AlarmLimit(0.1, 0.75, 0, 9)
    assert limit.classes(np.array([[0.25, 0.75], [0.2499, 0.7501]])).tolist() == [0, 1]
