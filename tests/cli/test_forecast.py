"""``train forecast``, ``predict`` and ``backtest`` as commands: what they write and say, what they refuse."""

import json
import re

import numpy as np
import polars as pl
import pytest
from PIL import Image

from gatewise.cli import forecast

SMALL = (
    *("--lookback", 24, "--horizon", 12, "--hidden", 8, "--epochs", 30, "--batch", 16, "--threads", 1),
    *("--anchor", "seasonal", "--normalise", "off"),
)


@pytest.fixture(scope="module")
def months(tmp_path_factory):
    """Twelve years of months, growing, with a season."""
    t = np.arange(144)
    frame = pl.DataFrame(
        {
            "Month": [f"{1949 + i // 12}-{i % 12 + 1:02}" for i in t],
            "Passengers": (100 + 2 * t) * (1 + 0.2 * np.sin(t / 12 * 2 * np.pi)),
        }
    )
    path = tmp_path_factory.mktemp("table") / "months.csv"
    frame.write_csv(path)
    return path


@pytest.fixture(scope="module")
def run(gatewise_, months, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    answer = gatewise_("train", "forecast", months, *SMALL, "--out", folder, "--json")
    assert answer.code == 0, answer
    return folder, answer


def test_training_tells_how_it_compares_and_draws(run):
    folder, answer = run
    summary = json.loads(answer.out.splitlines()[-1])
    assert summary == json.loads((folder / "summary.json").read_text())
    assert "forecasting Passengers: 12 steps from 24 of 1 features, a season of 12; windows: 66 to learn" in answer.err
    assert "\n3 validation windows choose the weights: so few may choose badly; give --split" in answer.err
    assert "3 validation windows are too few for 90% intervals of every step by itself" in answer.err
    for name, tree in {"forecast": summary["test"], **summary["baselines"]}.items():
        said = re.search(rf"^  {name.replace('_', ' '):16}RMSE (\S+) +MAE (\S+)", answer.out, re.M)
        assert said
        for value, metric in zip(said.groups(), ("rmse", "mae"), strict=True):
            assert float(value) == pytest.approx(tree["original"]["Passengers"][metric], rel=1e-3)
    own = summary["test"]["standardised"]["mean"]["rmse"]
    for name, tree in summary["baselines"].items():
        ratio = own / tree["standardised"]["mean"]["rmse"]
        words = f"better than {name.replace('_', ' ')} by {1 - ratio:.1%} of its RMSE"
        assert words in answer.out if ratio < 1 else f"NOT better than {name.replace('_', ' ')}" in answer.out
    covered = summary["intervals"]["coverage"]
    assert f"90% intervals cover {covered:.1%} of the test part" in answer.out
    for name in ("forecast", "horizon", "residuals"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.width > 500
        assert (folder / f"{name}.svg").exists()
    assert "standardised" in (folder / "curve.svg").read_text()
    assert f"predict {folder} --out forecast.csv" in answer.out


def test_a_forecast_that_is_worse_is_said_to_be(gatewise_, tmp_path):
    walk = np.random.default_rng(0).standard_normal(120).cumsum()
    pl.DataFrame({"y": walk}).write_csv(tmp_path / "walk.csv")
    answer = gatewise_(
        "train", "forecast", tmp_path / "walk.csv", "--lookback", 5, "--horizon", 2, "--hidden", 4, "--epochs", 1,
        "--anchor", "none", "--normalise", "off", "--threads", 1, "--out", tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 0, answer
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    ratio = np.sqrt(
        summary["test"]["standardised"]["mean"]["mse"] / summary["baselines"]["naive"]["standardised"]["mean"]["mse"]
    )
    assert ratio > 1
    assert (
        f"WARNING: NOT better than naive: {ratio - 1:.1%} more RMSE, better at 0 of 2 steps; take naive, or"
        in answer.out
    )


@pytest.mark.parametrize(("covered", "warned"), [(0.84, True), (0.86, False)])
def test_intervals_that_cover_too_little_are_warned_of(capsys, covered, warned):
    target = {"mean_width": 3.0}
    found = {"level": 0.9, "coverage": covered, "coverage_per_horizon": [covered, None], "method": "split conformal"}
    forecast.tell_coverage({"intervals": {**found, "original": {"y": target}}}, ["y"])
    out = capsys.readouterr().out
    assert f"90% intervals cover {covered:.1%} of the test part" in out
    assert ("WARNING: that is less than 90%" in out) == warned


@pytest.mark.parametrize("ending", ["csv", "parquet", "xlsx"])
def test_predicting_goes_on_after_the_end_in_the_table_s_own_time(gatewise_, run, months, tmp_path, ending):
    out = tmp_path / f"next.{ending}"
    answer = gatewise_("predict", run[0], "--out", out)
    assert (answer.code, answer.out) == (0, f"12 steps after the table it was trained on: {out}\n"), answer
    found = {"csv": pl.read_csv, "parquet": pl.read_parquet, "xlsx": pl.read_excel}[ending](out)
    assert found.columns == ["Month", "step", "Passengers", "Passengers_low", "Passengers_high"]
    if ending == "csv":
        assert found["Month"].to_list() == [f"1961-{month:02}" for month in range(1, 13)]
    else:
        assert found["Month"].dt.month().to_list() == list(range(1, 13))
    assert (found["Passengers_low"] < found["Passengers"]).all()
    assert found["Passengers"].is_between(250, 600).all()
    again = gatewise_("predict", run[0], months, "--out", tmp_path / "again.csv")
    assert again.out == f"12 steps after {months}: {tmp_path / 'again.csv'}\n"
    np.testing.assert_allclose(pl.read_csv(tmp_path / "again.csv")["Passengers"], found["Passengers"], rtol=1e-5)
    assert again.err.startswith(f"{months}: 144 steps every 1mo from 1949-01-01 to 1960-12-01, by 'Month'")


def test_backtesting_writes_every_origin_and_its_figures(gatewise_, run, months, tmp_path):
    folder, answer = run
    summary = json.loads(answer.out.splitlines()[-1])
    answer = gatewise_("backtest", folder, "--json", "--quiet")
    assert answer.code == 0, answer
    figures = json.loads(answer.out.splitlines()[-1])
    assert figures == json.loads((folder / "backtest.json").read_text())
    assert figures["test"]["original"]["Passengers"]["rmse"] == pytest.approx(
        summary["test"]["original"]["Passengers"]["rmse"]
    )
    table = pl.read_csv(months)
    observed = dict(table.rows())
    for name in ("backtest", "predictions"):
        rows = pl.read_csv(folder / f"{name}.csv")
        assert rows.height == 18 * 12
        assert rows["observed"].to_list() == [observed[month] for month in rows["time"]]  # in the table's own words
        assert rows["naive"].to_list() == [observed[month] for month in rows["origin"]]
    assert f"18 origins, 12 steps from each: {folder / 'backtest.csv'}" in answer.out
    streamed = gatewise_("backtest", folder, "--from-start", "--out", tmp_path / "a.parquet", "--quiet")
    assert streamed.code == 0, streamed
    assert json.loads((tmp_path / "a.json").read_text())["from_start"]
    other = gatewise_("backtest", folder, months, "--out", tmp_path / "b.csv", "--quiet")
    assert "note: 78% of what is forecast lies in the time that the run has learned from" in other.out
    assert "table, in standard deviations" not in answer.out
    assert "test part, in standard deviations" in answer.out
    assert "\ntable, in standard deviations" in other.out
    assert "test part" not in other.out
    better = [line for line in other.out.splitlines() if line.startswith("better than")]
    assert better
    assert all(line.endswith(", in a table of which the run has learned from 78%") for line in better)


def test_mistakes_are_answered_in_one_line(refused, run, months, trained, tmp_path):
    folder, out, text = run[0], tmp_path / "next.csv", tmp_path / "next.txt"
    no, other, short, weeks = (tmp_path / f"{name}.csv" for name in ("no", "other", "short", "weeks"))
    other.write_text("Month,People\n1949-01,1\n1949-02,2\n1949-03,3\n")
    short.write_text("Month,Passengers\n1949-01,1\n1949-02,2\n1949-03,3\n")
    weeks.write_text("Month,Passengers\n2024-01-01,1\n2024-01-08,2\n2024-01-15,3\n")
    for arguments, message in (
        (("train", "forecast", no), f"{no}: does not exist"),
        (("train", "forecast", months, "--horizon", 0), "--horizon 0: want a number above 0"),
        (("train", "forecast", months, "--quantiles", "0.5,2"), "--quantiles 0.5,2: 2 is not between 0 and 1"),
        (("train", "forecast", months, "--model", "sequence"), "--model sequence: did you mean"),
        (
            ("predict", folder, "--out", text),
            f"--out {text}: want a name that ends in",
        ),
        (("predict", folder, "--out", out, "--frames", 3), "--frames: a run of this task has no use for it"),
        (("predict", folder, no, "--out", out), f"{no}: does not exist"),
        (
            ("predict", folder, other, "--out", out),
            f"{other}: no column 'Passengers'",
        ),
        (
            ("predict", folder, short, "--out", out),
            f"{short}: 3 rows up to the last value",
        ),
        (("predict", folder, weeks, "--out", out), f"{weeks}: "),
        (("predict", folder, months, "--sheet", "a", "--out", out), f"{months}: no Excel file, and has no sheet 'a'"),
        (("backtest", folder, short, "--quiet"), "the all part has 3 rows"),
        (("backtest", trained), f"{trained}/config.toml: a run of the task 'text', not of forecast"),
    ):
        assert refused(*arguments).startswith(f"gatewise: {message}"), arguments
    assert not out.exists()
