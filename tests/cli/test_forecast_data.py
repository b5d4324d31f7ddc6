"""Forecasts of tables with several series, with what is known of the future, and the safety of the data."""

import json

import numpy as np
import polars as pl
import pytest

TINY = ("--lookback", 10, "--horizon", 4, "--hidden", 4, "--epochs", 2, "--threads", 1, "--anchor", "last", "--quiet")


@pytest.fixture(scope="module")
def planned(gatewise_, tmp_path_factory):
    """A table with a price that is known of five steps more than the sales, and a run on it."""
    folder = tmp_path_factory.mktemp("planned")
    price = np.sin(np.arange(125.0))
    sold = [None if step >= 120 else float(price[step] + step / 100) for step in range(125)]
    pl.DataFrame({"sold": sold, "price": price, "guests": sold}).write_csv(folder / "sales.csv")
    named = ("--target", "sold", "--known", "price", "--normalise", "off")
    answer = gatewise_("train", "forecast", folder / "sales.csv", *named, *TINY, "--out", folder / "run")
    assert answer.code == 0, answer
    return folder


def test_rows_after_the_last_target_are_of_the_future(gatewise_, planned, tmp_path):
    answer = gatewise_("predict", planned / "run", "--out", tmp_path / "next.csv")
    assert answer.code == 0, answer
    assert pl.read_csv(tmp_path / "next.csv")["row"].to_list() == [122, 123, 124, 125]
    # What is measured does not reach beyond the last target.
    assert pl.read_csv(planned / "run" / "predictions.csv")["observed"].drop_nulls().len() > 0
    assert np.isfinite(
        json.loads((planned / "run" / "summary.json").read_text())["test"]["standardised"]["mean"]["mse"]
    )


def test_what_is_known_of_the_future_depends_on_it(gatewise_, planned, tmp_path):
    table = pl.read_csv(planned / "sales.csv")
    other = table.with_columns(pl.when(pl.col("sold").is_null()).then(9.0).otherwise(pl.col("price")).alias("price"))
    other.write_csv(tmp_path / "other.csv")
    for name, data in (("own", ()), ("new", (tmp_path / "other.csv",))):
        assert gatewise_("predict", planned / "run", *data, "--out", tmp_path / f"{name}.csv").code == 0
    own, new = (pl.read_csv(tmp_path / f"{name}.csv")["sold"] for name in ("own", "new"))
    assert not np.allclose(own, new)


@pytest.mark.parametrize(
    ("column", "row", "place"), [("price", 122, 124), ("price", 50, 52), ("sold", 50, 52), ("guests", 119, 121)]
)
def test_a_gap_elsewhere_is_refused_all_the_same(refused, planned, tmp_path, column, row, place):
    table = pl.read_csv(planned / "sales.csv").with_row_index()
    broken = table.with_columns(pl.when(pl.col("index") == row).then(None).otherwise(pl.col(column)).alias(column))
    broken.drop("index").write_csv(tmp_path / "broken.csv")
    named = ("--target", "sold", "--known", "price")
    said = refused("train", "forecast", tmp_path / "broken.csv", *named, *TINY, "--out", tmp_path / "run")
    assert f"row {place} has nothing in column '{column}'" in said


def test_a_series_that_is_too_short_is_named_and_the_others_are_forecast(gatewise_, refused, tmp_path):
    shops = [("A", 90), ("B", 8), ("C", 90)]
    frame = pl.DataFrame(
        {
            "shop": [name for name, rows in shops for _ in range(rows)],
            "sold": np.random.default_rng(1).normal(size=188).cumsum(),
        }
    )
    frame.write_csv(tmp_path / "shops.csv")
    loud = [option for option in TINY if option != "--quiet"]
    answer = gatewise_(
        "train", "forecast", tmp_path / "shops.csv", "--series", "shop", *loud, "--out", tmp_path / "run"
    )
    assert answer.code == 0, answer
    assert "nothing is learned from the series 'B' (8 rows): no window of 14 rows in the training part" in answer.err
    answer = gatewise_("predict", tmp_path / "run", "--out", tmp_path / "next.csv")
    assert answer.code == 0, answer
    assert "no forecast of 8 rows of series 'B': the run looks back on 10 up to the last value" in answer.err
    assert pl.read_csv(tmp_path / "next.csv")["shop"].to_list() == ["A"] * 4 + ["C"] * 4
    frame.filter(pl.col("shop") == "B").write_csv(tmp_path / "short.csv")
    said = refused("predict", tmp_path / "run", tmp_path / "short.csv", "--out", tmp_path / "no.csv")
    assert "8 rows of series 'B' up to the last value, and the run looks back on 10; give more rows" in said


def test_forecasts_are_not_written_over_the_data(refused, planned, tmp_path):
    own, run = planned / "sales.csv", planned / "run"
    new = tmp_path / "new.csv"
    new.write_bytes(own.read_bytes())
    before = own.read_bytes()
    for command in (
        ("predict", run, "--out", own),
        ("predict", run, new, "--out", new),
        ("backtest", run, "--out", own),
    ):
        assert f"--out {command[-1]}: is the data itself, which would be lost" in refused(*command)
    assert own.read_bytes() == new.read_bytes() == before
