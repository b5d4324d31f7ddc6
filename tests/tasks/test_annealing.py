"""The weight of the KL term over the training."""

import itertools
import math

import pytest

from gatewise import UserError
from gatewise.tasks import Annealing


def test_shapes():
    assert [Annealing("none", weight=0.5)(share) for share in (0, 1)] == [0.5, 0.5]
    linear = Annealing("linear", rise=0.25, weight=2.0)
    assert [linear(share) for share in (0, 0.125, 0.25, 0.9)] == [0, 1, 2, 2]
    sigmoid = Annealing("sigmoid", rise=0.5)
    assert sigmoid(0.25) == 0.5
    assert sigmoid(0.1) == pytest.approx(1 / (1 + math.exp(3)))
    assert sigmoid(0.5) == 1
    cyclic = Annealing("cyclic", rise=0.5, cycles=4)
    assert [cyclic(share) for share in (0, 1 / 16, 1 / 8, 0.24, 0.25, 0.25 + 1 / 16, 1)] == [0, 0.5, 1, 1, 0, 0.5, 1]


@pytest.mark.parametrize("shape", ["linear", "sigmoid", "cyclic"])
def test_it_never_falls_but_at_the_start_of_a_cycle_and_ends_full(shape):
    anneal = Annealing(shape, rise=0.7, cycles=3, weight=1.5)
    values = [anneal(i / 1000) for i in range(1001)]
    falls = sum(after < before for before, after in itertools.pairwise(values))
    assert falls == (2 if shape == "cyclic" else 0)
    assert values[-1] == 1.5
    assert values[0] < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "cyclc"}, "did you mean 'cyclic'"), ({"rise": 0.0}, "anneal-share"), ({"rise": 1.1}, "anneal-share"),
        ({"cycles": 0}, "cycles"), ({"weight": -1.0}, "kl-weight"), ({"weight": math.inf}, "kl-weight"),
    ],
)  # fmt: skip
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message):
        Annealing(**options)
