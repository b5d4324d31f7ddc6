"""What `train forecast` refuses: settings by themselves, and with a table."""

import pytest
from forecast_tables import demand, settings_of, trained_on, written  # type: ignore[import-not-found]

from gatewise import UserError


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return written(demand(), tmp_path_factory.mktemp("table") / "demand.csv")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"lookback": 100, "horizon": 20}, r"the train part has 112 rows, and a window wants 120: 100 to look back on"),
        ({"horizon": 40}, r"the validation part has 16 rows, and a window wants 52: 12 to look back on and 40"),
        ({"season": 130}, "--season 130: the training part has 112 rows"),
        (
            {"target": "time", "inputs": ""},
            "--target time: in .* this column says when a row is; others: load, heat",
        ),
        ({"season": 13, "anchor": "seasonal"}, "--anchor seasonal: a season of 13 steps is longer than --lookback 12"),
        ({"target": "lod"}, "--target lod: .*demand.csv has no such column; did you mean 'load'?"),
        ({"target": ""}, "say which column to forecast, --target NAME or all: load, heat, plan"),
        ({"known": "plann"}, "--known plann: .* did you mean 'plan'?"),
        ({"inputs": "hat"}, "no column 'hat'; did you mean 'heat'?"),
        ({"engine": "scan"}, "engine 'scan' cannot run this"),
        ({"batch": 10**12, "season": 6}, "a training step keeps .* GB at least, .* choose a shorter --lookback"),
    ],
    ids=str,
)
def test_what_a_table_does_not_allow_is_refused_before_anything_is_written(table, tmp_path, chosen, message):
    with pytest.raises(UserError, match=message):
        trained_on(table, tmp_path / "run", **chosen)
    assert not (tmp_path / "run").exists()


def test_a_season_that_nobody_gave_is_not_what_a_short_table_lacks(tmp_path):
    path, asked = written(demand(30), tmp_path / "short.csv"), {"season": -1, "inputs": "", "calendar": False}
    with pytest.raises(UserError, match="the train part has 21 rows, and a window wants 30: 24 to look back on"):
        trained_on(path, tmp_path / "run", lookback=24, horizon=6, **asked)
    shorter = "short.csv: a season of 24 steps goes with its time stamps: the training part has 21 rows"
    with pytest.raises(UserError, match=shorter):
        trained_on(path, tmp_path / "run", lookback=5, horizon=1, split="0.7,0.2,0.1", **asked)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"horizon": 0}, "--horizon 0: want a number above 0"),
        ({"lookback": 0}, "--lookback 0: want a number above 0"),
        ({"known": "load"}, "--known load: is a target, whose future is not known"),
        ({"quantiles": "0.5,1.2"}, "--quantiles 0.5,1.2: 1.2 is not between 0 and 1"),
        ({"quantiles": "0.9,0.5,0.1"}, "--quantiles 0.9,0.5,0.1: want them in rising order"),
        ({"quantiles": "0.1,0.9"}, "--quantiles 0.1,0.9: want 0.5, which stands for the forecast"),
        ({"quantiles": "0.1,0.5,0.9", "loss": "mse"}, "--loss mse: quantiles are learned by pinball"),
        ({"loss": "pinball"}, "--loss pinball: is of quantiles; give them too"),
        ({"loss": "hubr"}, "--loss hubr: did you mean 'huber'?"),
        ({"model": "dirct"}, "--model dirct: did you mean 'direct'?"),
        ({"segment": 4}, "--segment: --model direct has none; leave it out, or take --model segment"),
        ({"model": "segment", "bidirectional": "on"}, "--bidirectional: --model segment has none"),
        ({"filters": 4}, "--filters: --model direct has none; leave it out, or take --model tpa"),
        ({"model": "seq2seq", "forcing": 1.5}, "--forcing 1.5: too large; give at most 1"),
        ({"interval": 1.0}, "--interval 1.0: want a share"),
        ({"split": "0.8,0,0.2", "patience": 0}, "--split 0.8,0,0.2: intervals are fitted on the validation part"),
        ({"split": "0.8,0,0.2", "interval": 0.0}, "--patience 8: nothing is held out to look at"),
    ],
    ids=str,
)
def test_bad_settings_name_the_option(chosen, message):
    with pytest.raises(UserError) as caught:
        settings_of(**chosen)
    assert str(caught.value).startswith(message)
