"""Rolling the origin: every window anew, and after one reading from the beginning, against the slow way."""

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from forecast_tables import demand, written  # type: ignore[import-not-found]

from gatewise import UserError, load
from gatewise.data import read_table
from gatewise.tasks.baselines import seasonal_naive
from gatewise.training import TRAININGS
from gatewise.training.forecast_settings import ForecastSettings
from gatewise.training.lifecycle import train
from gatewise.training.settings import settings_from
from gatewise.training.table_source import TableSource
from gatewise.training.trained_forecaster import TrainedForecaster

SMALL = {
    "target": "load", "lookback": 12, "horizon": 4, "season": 6, "hidden": 8, "batch": 16, "epochs": 1, "threads": 1,
    "lr": 0.01, "anchor": "last", "normalise": "off", "known": "plan",
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return written(demand(), tmp_path_factory.mktemp("table") / "demand.csv")


@pytest.fixture
def trained(table, tmp_path):
    def trained(path: Any = table, **chosen) -> TrainedForecaster:
        settings = settings_from(ForecastSettings, SMALL | chosen)
        run, _ = train(
            TRAININGS["forecast"], TableSource(path), settings, tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        )
        return load(run.folder)

    return trained


def test_a_backtest_is_what_the_training_measured(trained):
    model = trained()
    found, summary = model.backtest(), pl.read_csv(model.run.folder / "predictions.csv", try_parse_dates=True)
    assert found.frame.columns == summary.columns
    for name in ("origin", "step", "time"):
        assert found.frame[name].to_list() == summary[name].to_list()
    np.testing.assert_allclose(found.frame["predicted"].to_numpy(), summary["predicted"].to_numpy(), rtol=1e-5)
    assert found.learned == 0


def gappy(folder):
    """Two series, the second of which has gaps in an input and in the target."""
    row = pl.int_range(pl.len())
    other = demand(120).with_columns(
        site=pl.lit("b"), heat=pl.when(row.is_in([50, 51, 99])).then(None).otherwise("heat"),
        load=pl.when(row.is_in([98, 110])).then(None).otherwise("load"),
    )  # fmt: skip
    return written(pl.concat([demand(140).with_columns(site=pl.lit("a")), other]), folder / "sites.csv")


@pytest.mark.parametrize(
    "chosen",
    [
        {"missing": "interpolate"},
        {"missing": "mask", "cell": "lstm", "anchor": "seasonal", "layers": 2},
        {"missing": "mask", "anchor": "none", "quantiles": "0.1,0.5,0.9", "pca": "2", "calendar": True},
    ],
    ids=str,
)
def test_one_reading_is_the_same_as_reading_from_the_beginning_for_every_origin(trained, tmp_path, chosen):
    path = gappy(tmp_path)
    model = trained(path, series="site", **chosen)
    found = model.backtest(from_start=True).forecasts
    encoded = model.recorded.read(model.own_table()).encoded
    assert len(found.origins) == (28 - 3) + (24 - 3)
    for n, (series, origin) in enumerate(found.origins):
        start, row = encoded.starts[series], encoded.starts[series] + origin
        # Each row as it was seen when it was the last one.
        rows = [np.array([[r]]) for r in range(start, row + 1)]
        past = torch.from_numpy(np.concatenate([encoded.past(r) for r in rows]))
        history = torch.from_numpy(np.concatenate([encoded.history(r) for r in rows]))
        known = torch.from_numpy(encoded.known(np.arange(row + 1, row + 5)[:, None]))
        inner = model.model.model
        with torch.no_grad():
            output, _ = inner.encoder(inner.encoder_input(past, history))
            predicted = inner.head(output[-1], known)
            window = torch.from_numpy(encoded.history(np.arange(row - 11, row + 1)[:, None]))
            if model.model.anchor == "last":
                predicted = predicted + window[-1:].unsqueeze(-1)
            elif model.model.anchor == "seasonal":
                predicted = predicted + seasonal_naive(window, 4, 6).unsqueeze(-1)
        np.testing.assert_allclose(found.predicted[:, n], predicted[:, 0].numpy(), rtol=1e-4, atol=1e-5)
    whole = model.backtest()
    assert set(whole.frame["naive"]) <= set(pl.read_csv(path)["load"])  # values of the file, carried over gaps too
    plain = whole.forecasts
    assert not np.allclose(plain.predicted, found.predicted, atol=1e-3)  # those have seen 12 steps
    np.testing.assert_array_equal(plain.truth, found.truth)
    for name, values in plain.baselines.items():
        np.testing.assert_array_equal(values, found.baselines[name])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"normalise": "on"}, "--from-start: it standardises every window by itself; leave it out, or train with"),
        ({"bidirectional": "on"}, "--from-start: it reads every window from its end too"),
        ({"model": "segment", "segment": 4}, "--from-start: a model of the kind 'segment' looks at a window at a time"),
        ({"missing": "drop"}, "--from-start: it was trained on windows without gaps"),
    ],
    ids=str,
)
def test_models_that_must_see_a_window_at_once_say_so(trained, chosen, message):
    with pytest.raises(UserError, match=message):
        trained(**chosen).backtest(from_start=True)


def test_another_table_is_forecast_from_its_first_window_on(trained, tmp_path):
    model = trained()
    later = demand(30, "2024-03-01T00").with_columns(pl.col("load") + 5)
    found = model.backtest(read_table(written(later, tmp_path / "later.csv")))
    assert len(found.forecasts.origins) == 30 - 12 - 4 + 1
    assert found.learned == 0
    np.testing.assert_allclose(found.frame["observed"][:4].to_numpy(), later["load"][12:16].to_numpy(), rtol=1e-5)
    again = model.backtest(read_table(written(demand(), tmp_path / "same.csv")))
    # Of 145 windows of 4 steps, those whose step lies before the end of row 127.
    assert again.learned == pytest.approx(sum(o + s <= 127 for o in range(11, 156) for s in range(1, 5)) / (145 * 4))
