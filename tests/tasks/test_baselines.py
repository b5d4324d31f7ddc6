"""The forecasts without learning against their formulas, step by step."""

import numpy as np
import pytest
import torch

from gatewise import UserError
from gatewise.data.table.clock import Frequency
from gatewise.tasks.baselines import BASELINES, drift, naive, season_of, seasonal_naive


def past_of(steps: int) -> torch.Tensor:
    return torch.randn(steps, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_every_step_follows_its_formula():
    past, horizon, season = past_of(9), 11, 4
    y, T = past.numpy(), 9
    for h in range(1, horizon + 1):
        again = T + h - season * -(-h // season)  # counted from 1
        expected = {
            "naive": y[T - 1],
            "seasonal_naive": y[again - 1],
            "drift": y[T - 1] + h * (y[T - 1] - y[0]) / (T - 1),
        }
        assert expected.keys() == BASELINES.keys()
        for name, values in expected.items():
            found = BASELINES[name](past, horizon, season)
            assert found.shape == (horizon, 3, 2)
            np.testing.assert_allclose(found[h - 1].numpy(), values, atol=1e-12)


def test_a_past_of_one_step_has_no_slope():
    past = past_of(1)
    for found in (drift(past, 3), naive(past, 3), seasonal_naive(past, 3, 1)):
        assert torch.equal(found, past.expand(3, -1, -1))


def test_a_whole_season_is_enough_and_less_is_refused():
    past = past_of(4)
    assert torch.equal(seasonal_naive(past, 4, 4), past)
    with pytest.raises(UserError, match="a season of 5 steps is longer than the 4 steps that are looked back on"):
        seasonal_naive(past, 1, 5)


@pytest.mark.parametrize(
    ("count", "unit", "season"),
    [
        (1, "h", 24), (2, "h", 12), (6, "h", 4), (24, "h", 1), (5, "h", 1), (48, "h", 1), (30, "min", 48),
        (1, "min", 1440), (1, "s", 3600), (1, "d", 7), (7, "d", 52), (14, "d", 1), (1, "mo", 12), (3, "mo", 4),
        (1, "y", 1), (10, "us", 1),
    ],
)  # fmt: skip
def test_the_season_goes_with_the_frequency(count, unit, season):
    assert season_of(Frequency(count, unit)) == season
