"""The peers of the forecaster's benchmark train the same model."""

import pytest
import torch

from benchmarks import forecast


@pytest.mark.usefixtures("native")
def test_all_begin_with_the_same_forecasts_and_take_the_same_step():
    ours, same, by_hand = forecast.contestants()
    forecast.require_equal([ours, same, by_hand])
    before = ours.answer()
    ours.work()
    same.work()
    assert (ours.answer() - before).abs().max() > 1e-4
    torch.testing.assert_close(ours.answer(), same.answer(), rtol=0, atol=1e-4)
    before = by_hand.answer()
    by_hand.work()
    assert (by_hand.answer() - before).abs().max() > 1e-4


@pytest.mark.usefixtures("native")
def test_nothing_is_timed_that_forecasts_something_else():
    found = forecast.contestants()
    found[2].work()
    with pytest.raises(SystemExit, match="a loop by hand: forecasts differ by"):
        forecast.require_equal(found)
