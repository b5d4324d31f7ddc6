"""Features of channels against a loop over steps; none of them looks ahead or out of the window."""

import math

import numpy as np
import pytest

from gatewise import UserError
from gatewise.data.recordings.channel_features import FEATURES, derive, parse_features

X = np.random.default_rng(0).normal(size=(45, 2, 3)).cumsum(0)


def by_hand(x: np.ndarray, name: str) -> np.ndarray:
    """Step by step, for one series (T,)."""
    changes = [0.0] + [x[t] - x[t - 1] for t in range(1, len(x))]
    series = changes if name in ("changes", "unrest") else list(x)
    if name in ("values", "changes"):
        return np.array(series)
    found = []
    for t in range(len(x)):
        last = series[max(0, t - 29) : t + 1]
        mean = sum(last) / len(last)
        variance = sum((one - mean) ** 2 for one in last) / len(last)
        found.append(mean if name == "level" else 0.5 * math.log(variance + 1e-6))
    return np.array(found)


@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_is_what_a_loop_over_steps_gives(name):
    found = derive(X, [name])
    for row in range(2):
        for channel in range(3):
            np.testing.assert_allclose(found[:, row, channel], by_hand(X[:, row, channel], name), rtol=1e-5, atol=1e-4)


def test_features_stand_one_kind_after_another_and_see_the_past_alone():
    names = tuple(FEATURES)
    found = derive(X, names)
    assert (found.shape, found.dtype) == ((45, 2, 15), np.float32)
    np.testing.assert_array_equal(found[..., 3:6], derive(X, ["changes"]))
    other = X.copy()
    other[17:] = 99.0
    np.testing.assert_array_equal(derive(other, names)[:17], found[:17])


def test_names_are_checked():
    assert parse_features("values, unrest") == ("values", "unrest")
    for text, message in (
        ("value", "--features value: did you mean 'values'"), ("", "--features"), ("values,values", "names one twice"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            parse_features(text)
