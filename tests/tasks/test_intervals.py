"""Quantile loss against its minimiser, conformal radii against their definition, coverage on exchangeable data."""

import numpy as np
import pytest
import torch

from gatewise import UserError
from gatewise.tasks.intervals import Intervals, conformal_radius, coverage, parse_quantiles, pinball


def test_the_pinball_loss_is_least_at_the_empirical_quantile():
    y = np.random.default_rng(0).gamma(2.0, size=199)
    guesses = torch.from_numpy(np.sort(y))
    for q in (0.1, 0.5, 0.73, 0.9):
        losses = pinball(torch.from_numpy(y)[:, None], guesses[None], torch.tensor([q]).double().expand(199)).mean(0)
        assert guesses[losses.argmin()].item() == np.quantile(y, q, method="inverted_cdf")


def test_the_pinball_loss_by_hand():
    truth, predicted = torch.tensor([2.0]), torch.tensor([[0.5, 2.0, 6.0]])
    found = pinball(truth[:, None], predicted, torch.tensor([0.25, 0.5, 0.75]))
    np.testing.assert_allclose(found.numpy(), [[0.25 * 1.5, 0.0, 0.25 * 4.0]])


def test_the_radius_is_the_corrected_order_statistic():
    draw = np.random.default_rng(1)
    for n, level in ((1, 0.5), (9, 0.9), (10, 0.9), (19, 0.95), (100, 0.9), (101, 0.8), (57, 0.333)):
        scores = draw.random((n, 3, 2))
        radius, vouched = conformal_radius(scores, level)
        rank = next(r for r in range(1, n + 2) if r / (n + 1) >= level - 1e-12)  # the smallest that vouches for it
        assert rank <= n
        np.testing.assert_array_equal(radius, np.sort(scores, 0)[rank - 1])
        assert (vouched == level).all()


def test_too_few_scores_vouch_for_less_and_missing_ones_are_not_counted():
    scores = np.array([[3.0, np.nan, np.nan], [1.0, 5.0, np.nan], [2.0, 4.0, np.nan]])
    radius, vouched = conformal_radius(scores, 0.9)
    np.testing.assert_array_equal(radius, [3.0, 5.0, np.nan])
    np.testing.assert_allclose(vouched, [3 / 4, 2 / 3, 0.0])


def drawn(draw: np.random.Generator, windows: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth (4, windows, 2) whose spread depends on what is known, and three quantiles that are too narrow."""
    spread = 0.2 + 3 * draw.random((4, windows, 2))
    truth = spread * draw.standard_normal((4, windows, 2)) * np.arange(1, 5)[:, None, None]
    return truth, np.stack([-spread, 0 * spread, spread], -1)


@pytest.mark.parametrize("outputs", [slice(1, 2), slice(None)], ids=["conformal", "conformalised quantiles"])
def test_intervals_cover_what_they_say_on_exchangeable_data(outputs):
    draw, level, covered = np.random.default_rng(2), 0.8, []
    for _ in range(200):
        truth, predicted = drawn(draw, 39)
        intervals = Intervals.fitted(truth, predicted[..., outputs], level)
        truth, predicted = drawn(draw, 25)
        low, high = intervals.around(predicted[..., outputs])
        covered.append(((low <= truth) & (truth <= high)).mean(1))
    found = np.mean(covered, 0)
    # The mean over calibrations is 32 / 40; it is known to 0.006 or so.
    assert found.shape == (4, 2)
    np.testing.assert_allclose(found, level, atol=0.02)


def test_quantiles_that_know_where_it_is_uncertain_make_shorter_intervals():
    draw = np.random.default_rng(3)
    truth, predicted = drawn(draw, 4000)
    widths = []
    for outputs in (slice(1, 2), slice(None)):
        low, high = Intervals.fitted(truth, predicted[..., outputs], 0.9).around(predicted[..., outputs])
        widths.append((high - low).mean((1, 2)))
    assert (widths[1] < 0.95 * widths[0]).all()


def test_quantiles_that_are_too_wide_are_drawn_in():
    truth = np.random.default_rng(4).standard_normal((1, 999, 1))
    intervals = Intervals.fitted(truth, np.broadcast_to([-10.0, 10.0], (1, 999, 1, 2)), 0.9)
    low, high = intervals.around(np.array([-10.0, 10.0]).reshape(1, 1, 1, 2))
    np.testing.assert_allclose([low.item(), high.item()], [-1.645, 1.645], atol=0.15)
    low, high = intervals.around(np.array([0.0, 1.0]).reshape(1, 1, 1, 2))
    assert (low.item(), high.item()) == (0.5, 0.5)  # nothing is left of it but the forecast


def test_where_windows_are_few_all_steps_are_taken_together():
    truth, predicted = drawn(np.random.default_rng(6), 5)
    intervals = Intervals.fitted(truth, predicted[..., 1:2], 0.9)
    radius = np.sort(np.abs(truth - predicted[..., 1]).reshape(-1, 2), 0)[18]  # the 19th of 20: 0.9 * 21 = 18.9
    np.testing.assert_array_equal(intervals.radius, np.broadcast_to(radius, (4, 2)))
    assert intervals.together
    assert (intervals.vouched == 0.9).all()
    assert not Intervals.fitted(*drawn(np.random.default_rng(6), 9), 0.9).together


def test_coverage_is_counted_over_what_is_known():
    truth = np.array([[0.0, 1.0, np.nan, 9.0], [np.nan, 2.0, 2.0, 2.0]])[..., None]
    low, high = np.zeros((2, 4, 1)), np.array([[1.0, 1.0, 1.0, 4.0], [1.0, 2.0, 3.0, 1.0]])[..., None]
    found = coverage(truth, low, high, 0.9)
    assert found["level"] == 0.9
    assert found["coverage"] == pytest.approx(4 / 6)
    assert found["mean_width"] == pytest.approx((1 + 1 + 4 + 2 + 3 + 1) / 6)
    np.testing.assert_allclose(found["coverage_per_horizon"], [2 / 3, 2 / 3])
    np.testing.assert_allclose(found["mean_width_per_horizon"], [2.0, 2.0])
    assert np.isnan(coverage(truth * np.nan, low, high, 0.9)["coverage"])


def test_intervals_are_the_same_after_a_file():
    truth, predicted = drawn(np.random.default_rng(5), 30)
    intervals = Intervals.fitted(truth, predicted, 0.9)
    again = Intervals.from_config(intervals.to_config(), 4, 2)
    np.testing.assert_array_equal(again.radius, intervals.radius)
    np.testing.assert_array_equal(again.vouched, intervals.vouched)
    for broken in ({}, intervals.to_config() | {"radius": "x"}, intervals.to_config() | {"level": 3.0}):
        with pytest.raises(UserError, match="its intervals are malformed"):
            Intervals.from_config(broken, 4, 2)
    with pytest.raises(UserError, match="malformed"):
        Intervals.from_config(intervals.to_config(), 5, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.1,x", "--quantiles 0.1,x: want numbers with commas between"),
        ("0,0.5", "--quantiles 0,0.5: 0 is not between 0 and 1"),
        ("0.5,1", "--quantiles 0.5,1: 1 is not between 0 and 1"),
        ("nan", "--quantiles nan: nan is not between 0 and 1"),
        ("0.9,0.1", "--quantiles 0.9,0.1: want them in rising order, each once: 0.1,0.9"),
        ("0.5,0.5", "--quantiles 0.5,0.5: want them in rising order, each once: 0.5"),
    ],
)
def test_bad_quantiles_are_refused(text, message):
    with pytest.raises(UserError) as caught:
        parse_quantiles(text)
    assert str(caught.value).startswith(message)
    assert parse_quantiles("") == ()


def test_the_forecast_is_inside_its_interval_however_far_that_shrinks():
    draw = np.random.default_rng(0)
    predicted = np.sort(5 * draw.normal(size=(3, 40, 2, 3)), -1)
    intervals = Intervals.fitted(predicted[..., 1], predicted, level=0.5)  # quantiles that stand much too far apart
    assert (intervals.radius < 0).all()
    low, high = intervals.around(predicted)
    assert (low <= predicted[..., 1]).all()
    assert (predicted[..., 1] <= high).all()
    shrunk = predicted[..., 0] - intervals.radius[:, None], predicted[..., 2] + intervals.radius[:, None]
    whole = (shrunk[0] <= predicted[..., 1]) & (predicted[..., 1] <= shrunk[1])
    assert 0 < whole.mean() < 1
    np.testing.assert_array_equal(low[whole], shrunk[0][whole])
    np.testing.assert_array_equal(high[whole], shrunk[1][whole])
