"""Metrics against scikit-learn's, and where the truth is missing, zero or constant."""

import math

import numpy as np
import pytest
from sklearn import metrics

from gatewise.tasks.scores import METRICS, scored, scores


@pytest.fixture
def pair():
    draw = np.random.default_rng(0)
    truth = draw.normal(3, 2, (40, 5, 3))
    return truth, truth + draw.normal(0.2, 1, truth.shape)


def test_they_are_those_of_scikit_learn(pair):
    truth, predicted = (values.ravel() for values in pair)
    found = scores(*pair)
    large = np.abs(truth) >= 0.01 * np.abs(truth).mean()
    assert 0 < (~large).sum() < 10  # near zero, and left out
    expected = np.array(
        [
            metrics.mean_squared_error(truth, predicted), metrics.root_mean_squared_error(truth, predicted),
            metrics.mean_absolute_error(truth, predicted),
            100 * metrics.mean_absolute_percentage_error(truth[large], predicted[large]),
            100 * np.mean([2 * abs(p - t) / (abs(p) + abs(t)) for p, t in zip(predicted, truth, strict=True)]),
            metrics.r2_score(truth, predicted),
        ]
    )  # fmt: skip
    np.testing.assert_allclose([found[name] for name in METRICS], expected, rtol=1e-12)


def test_missing_truths_are_skipped(pair):
    truth, predicted = pair
    gaps = np.random.default_rng(1).random(truth.shape) < 0.3
    with_gaps = np.where(gaps, np.nan, truth)
    assert scores(with_gaps, predicted) == scores(truth[~gaps], predicted[~gaps])
    assert all(math.isnan(value) for value in scores([np.nan], [1.0]).values())


@pytest.mark.filterwarnings("error")
def test_truths_without_size_or_spread():
    found = scores([0.0, 0.0], [0.0, 2.0])
    assert (found["mse"], found["smape"]) == (2.0, 100.0)
    assert math.isnan(found["mape"])
    assert math.isnan(found["r2"])
    found = scores([5.0, 5.0], [5.0, 6.0])
    assert (found["mape"], found["smape"]) == (10.0, pytest.approx(100 / 11))
    assert math.isnan(found["r2"])
    assert scores([0.0, 100.0], [50.0, 90.0])["mape"] == 10.0  # the first would be divided by zero
    assert scores([1e-9, 1.0], [1.0, 1.0])["smape"] == pytest.approx(100.0)
    assert scores([1.0, 2.0], [1.0, np.inf])["mse"] == math.inf


def test_the_summary_has_both_units_each_target_and_their_mean(pair):
    truth, predicted = pair
    truth[0, 0, 0] = np.nan
    scale = np.array([1.0, 10.0, 100.0])
    found = scored(truth, predicted, ("a", "b", "mean"), lambda values: values * scale + 7)
    assert list(found) == ["standardised", "original"]
    assert list(found["original"]) == ["mean", "a", "b", "mean (column)"]
    for place, name in enumerate(("a", "b", "mean (column)")):
        assert found["standardised"][name] == scores(truth[..., place], predicted[..., place])
        there, back = (values[..., place] * scale[place] + 7 for values in (truth, predicted))
        assert found["original"][name] == pytest.approx(scores(there, back))
        assert found["original"][name]["rmse"] == pytest.approx(scale[place] * found["standardised"][name]["rmse"])
        assert found["original"][name]["r2"] == pytest.approx(found["standardised"][name]["r2"])
    for metric in METRICS:
        mean = np.mean([found["original"][name][metric] for name in ("a", "b", "mean (column)")])
        assert found["original"]["mean"][metric] == pytest.approx(mean)
    truth[..., 1] = np.nan  # a target that is nowhere known does not spoil the mean
    found = scored(truth, predicted, ("a", "b", "c"), lambda values: values)["original"]
    assert found["mean"]["mse"] == pytest.approx((found["a"]["mse"] + found["c"]["mse"]) / 2)
    with pytest.raises(ValueError, match="3 targets"):
        scored(truth, predicted[:5], ("a", "b", "c"), lambda values: values)
