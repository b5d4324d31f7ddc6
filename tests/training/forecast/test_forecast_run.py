"""Training forecasts from end to end: what is written, what is measured, resuming to the bit."""

import json
import re
import shutil
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from forecast_tables import demand, settings_of, trained_on, written  # type: ignore[import-not-found]

from gatewise import UserError, load
from gatewise.data import read_table
from gatewise.training import TRAININGS, Run, Watch, forecast_model, resume
from gatewise.training.checkpoint import read_about
from gatewise.training.lifecycle import train
from gatewise.training.progress import Silent
from gatewise.training.table_source import TableSource


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return written(demand(), tmp_path_factory.mktemp("table") / "demand.csv")


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory) -> tuple[Run, dict]:
    return trained_on(table, tmp_path_factory.mktemp("a") / "run", known="plan", calendar=True)


@pytest.fixture(scope="module", autouse=True)
def _short_trials():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecast_model, "STEPS", 20)
        yield


QUANTILES = {
    "target": "load,heat", "quantiles": "0.2,0.5,0.8", "dropout": 0.2, "anchor": "auto", "normalise": "auto",
}  # fmt: skip


@pytest.fixture(scope="module")
def quantiles(table, tmp_path_factory) -> tuple[Run, dict]:
    return trained_on(table, tmp_path_factory.mktemp("q") / "run", **QUANTILES)


def metrics(truth: np.ndarray, predicted: np.ndarray) -> dict[str, Any]:
    error = predicted - truth
    mse = np.mean(error**2)
    return {"mse": mse, "rmse": np.sqrt(mse), "mae": np.abs(error).mean(), "r2": 1 - mse / truth.var()}


def test_the_summary_is_of_the_test_part_and_can_be_computed_again(trained):
    run, summary = trained
    assert json.loads(run.summary_file.read_text()) == summary
    assert (summary["task"], summary["windows"]["test"]) == ("forecast", 29)
    load_of, train_rows = demand()["load"].to_numpy(), 112
    mean, deviation = load_of[:train_rows].mean(), load_of[:train_rows].std()
    made = pl.read_csv(run.folder / "predictions.csv", try_parse_dates=True)
    assert made.height == 29 * 4
    origins = np.repeat(np.arange(127, 156), 4)  # the last known row of each window: the test part begins at row 128
    steps = np.tile(np.arange(1, 5), 29)
    times = demand()["time"].to_numpy()
    np.testing.assert_array_equal(made["origin"].to_numpy(), times[origins])
    np.testing.assert_array_equal(made["time"].to_numpy(), times[origins + steps])
    truth = load_of[origins + steps]
    np.testing.assert_array_equal(made["observed"].to_numpy(), truth)  # the file's own, to the last digit
    np.testing.assert_array_equal(made["naive"].to_numpy(), load_of[origins])
    np.testing.assert_array_equal(made["seasonal_naive"].to_numpy(), load_of[origins + steps - 6])
    guesses = {
        "forecast": made["predicted"].to_numpy(), "naive": load_of[origins],
        "seasonal_naive": load_of[origins + steps - 6],
        "drift": load_of[origins] + steps * (load_of[origins] - load_of[0]) / origins,
    }  # fmt: skip
    for name, guess in guesses.items():
        tree = summary["test"] if name == "forecast" else summary["baselines"][name]
        for metric, value in metrics(truth, guess).items():
            assert tree["original"]["load"][metric] == pytest.approx(value, rel=1e-4), (name, metric)
        for metric, value in metrics((truth - mean) / deviation, (guess - mean) / deviation).items():
            assert tree["standardised"]["mean"][metric] == pytest.approx(value, rel=1e-4), (name, metric)
        by_step = np.sqrt(((guess - truth) ** 2).reshape(29, 4).mean(0))
        np.testing.assert_allclose(summary["per_horizon"]["original"]["load"][name], by_step, rtol=1e-4)
        np.testing.assert_allclose(summary["per_horizon"]["standardised"][name], by_step / deviation, rtol=1e-4)
        if name != "forecast":
            np.testing.assert_allclose(made[name].to_numpy(), guess, rtol=1e-4)
    horizon = pl.read_csv(run.folder / "horizon.csv").filter(pl.col("units") == "original")
    np.testing.assert_allclose(horizon["drift"].to_numpy(), summary["per_horizon"]["original"]["load"]["drift"])


def test_residuals_of_one_step_ahead_stand_at_the_step_they_are_of(trained):
    run, _ = trained
    left = pl.read_csv(run.folder / "residuals.csv")
    assert left["step"].to_list() == list(range(129, 158))  # rows of the series from 1: the test part
    made = pl.read_csv(run.folder / "predictions.csv").filter(pl.col("step") == 1)
    wanted = (made["observed"] - made["predicted"]).to_numpy()
    np.testing.assert_allclose(left["load_residual"].to_numpy(), wanted, atol=1e-4)


def test_intervals_are_fitted_on_the_validation_part_and_measured_on_the_test_part(trained):
    run, summary = trained
    made = pl.read_csv(run.folder / "predictions.csv")
    low, high, predicted, observed = (
        made[name].to_numpy().reshape(29, 4) for name in ("low", "high", "predicted", "observed")
    )
    inside = (low <= observed) & (observed <= high)
    found = summary["intervals"]
    assert found["coverage"] == pytest.approx(inside.mean())
    np.testing.assert_allclose(found["coverage_per_horizon"], inside.mean(0))
    assert found["original"]["load"]["mean_width"] == pytest.approx((high - low).mean(), rel=1e-5)
    # 13 validation windows: the 13th of 13 scores, ceil(14 * 0.9). Forecast anew by the model, a window at a time.
    forecaster, scores = load(run.folder), []
    for origin in range(111, 124):
        future = demand()[: origin + 5].with_columns(
            pl.when(pl.int_range(pl.len()) > origin).then(None).otherwise("load").alias("load")
        )
        again = forecaster.predict(as_table(future, run.folder.parent))
        scores.append(np.abs(again["load"].to_numpy() - demand()["load"].to_numpy()[origin + 1 : origin + 5]))
    np.testing.assert_allclose(((high - low) / 2)[0], np.max(scores, 0), rtol=1e-3)
    np.testing.assert_allclose(((high + low) / 2), predicted, rtol=1e-5)


def as_table(frame, folder):
    return read_table(written(frame, folder / "new.csv"))


def test_it_learns(table, tmp_path):
    run, summary = trained_on(
        table, tmp_path / "run", known="plan", epochs=40, hidden=16, anchor="seasonal", dropout=0.0, interval=0.0
    )
    own, others = summary["test"], summary["baselines"]
    assert own["original"]["load"]["rmse"] < 0.8 * min(one["original"]["load"]["rmse"] for one in others.values())
    assert "intervals" not in summary
    assert not (run.folder / "intervals.json").exists()
    assert load(run.folder).predict(as_table(demand().with_columns(load=ended(156)), tmp_path)).columns == [
        "time", "step", "load",
    ]  # fmt: skip


def ended(row: int) -> pl.Expr:
    """The load, of which nothing is known from this row on."""
    return pl.when(pl.int_range(pl.len()) >= row).then(None).otherwise("load")


def test_the_future_is_told_in_the_table_s_own_time(trained, tmp_path):
    forecaster = load(trained[0].folder)
    frame = demand(164)
    new = as_table(frame.with_columns(load=ended(160), heat=pl.lit(None, pl.Float64)).head(164), tmp_path)
    with pytest.raises(UserError, match=r"new.csv: row \d+ has nothing in column 'heat', and the forecast looks back"):
        forecaster.predict(new)
    new = as_table(frame.with_columns(load=ended(160)), tmp_path)
    found = forecaster.predict(new)
    assert found.columns == ["time", "step", "load", "load_low", "load_high"]
    np.testing.assert_array_equal(found["time"].to_numpy(), frame["time"].to_numpy()[160:])
    # By hand: standardise, run the network, undo.
    made, values = forecaster.recorded.preparation, frame.drop("time").to_numpy()
    prepared = forecaster.recorded.read(as_table(frame, tmp_path))
    encoded = prepared.encoded
    rows, ahead = np.arange(148, 160)[:, None], np.arange(160, 164)[:, None]
    parts = (encoded.past(rows), encoded.history(rows), encoded.known(ahead))
    with torch.no_grad():
        output = forecaster.model(*map(torch.from_numpy, parts))[:, 0, 0, 0].numpy()
    mean, deviation = demand()["load"][:112].mean(), demand()["load"].to_numpy()[:112].std()
    np.testing.assert_allclose(found["load"].to_numpy(), mean + deviation * output, rtol=1e-5)
    assert made.target_names == ("load",)
    assert values.shape == (164, 3)


def test_what_is_known_of_the_future_must_be_there(trained, table, tmp_path):
    forecaster = load(trained[0].folder)
    with pytest.raises(
        UserError, match="2024-01-07T16:00:00 has nothing in column 'plan', which the run knows of the 4"
    ):
        forecaster.predict()
    short = as_table(demand(162).with_columns(load=ended(160)), tmp_path)
    with pytest.raises(
        UserError, match=r"2024-01-07T18:00:00 has nothing in column 'plan'.*add rows after the last target"
    ):
        forecaster.predict(short)


def test_another_table_must_have_the_columns_and_the_steps_of_the_first(trained, tmp_path):
    forecaster = load(trained[0].folder)
    for frame, message in (
        (demand().drop("heat"), "no column 'heat', which the run was trained with"),
        (demand()[::2], "1h"),
        (demand(9), r"new.csv: 9 rows up to the last target, and the run looks back on 12; give more rows"),
    ):
        with pytest.raises(UserError, match=message):
            forecaster.predict(as_table(frame, tmp_path))
    other = demand().with_columns(pl.lit("warm").alias("heat"))
    with pytest.raises(UserError, match="heat"):
        forecaster.predict(as_table(other, tmp_path))


def test_quantiles_are_in_order_and_their_intervals_are_measured(quantiles):
    run, summary = quantiles
    made = pl.read_csv(run.folder / "predictions.csv")
    assert (made["q0.2"] <= made["q0.5"]).all()
    assert (made["q0.5"] <= made["q0.8"]).all()
    assert made["predicted"].equals(made["q0.5"].alias("predicted"))
    assert summary["intervals"]["method"] == "conformalised quantiles"
    for q, found in summary["quantiles"].items():
        assert found["share_below"] == pytest.approx((made["observed"] <= made[f"q{q}"]).mean(), abs=0.01)
    radius = (made["q0.2"] - made["low"]).to_numpy().reshape(29, 4, 2)
    np.testing.assert_allclose(radius, np.broadcast_to(radius[:1], radius.shape), rtol=1e-3, atol=1e-4)
    endings = ("", "_low", "_high", "_q0.2", "_q0.5", "_q0.8")
    columns = ["time", "step", *(f"{target}{ending}" for target in ("load", "heat") for ending in endings)]
    assert load(run.folder).predict().columns == columns


def test_a_run_that_died_ends_with_the_bits_of_one_that_did_not(
    quantiles, table, tmp_path, killed, ends_with_the_bits_of
):
    with killed(after=4 * 20 + 7):  # four forms are tried first
        trained_on(table, tmp_path / "torn", **QUANTILES)
    run, whole = ends_with_the_bits_of(tmp_path / "torn", quantiles), quantiles[0]
    for name in ("predictions.csv", "horizon.csv", "intervals.json"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_the_form_that_learns_fastest_is_taken_and_said(table, tmp_path):
    said = []

    class Heard(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    chosen = settings_of(anchor="auto", normalise="auto", epochs=1)
    run, summary = train(TRAININGS["forecast"], TableSource(table), chosen, tmp_path / "run", Watch(Heard()))
    told = next(line for line in said if line.startswith("forecasts from"))
    best, *others = (float(number) for number in re.findall(r"(?:is|they are|standardised) (\d+\.\d+)", told))
    assert len(others) == 3
    assert best <= (1.0201 if summary["normalise"] else 1.0) * min(others)  # told to three digits
    words = {"last": "from the last value", "seasonal": "from the last season's value"}[summary["anchor"]]
    assert told.startswith(f"forecasts {words}, windows {'standardised' if summary['normalise'] else 'as they are'}: ")
    form = read_about(run.weights_file)[0]["form"]
    assert (form["anchor"], form["normalise"]) == (summary["anchor"], summary["normalise"])


@pytest.mark.parametrize(
    ("losses", "taken"),
    [
        ({"last": (0.5, 0.9), "seasonal": (0.6, 0.9)}, ("last", False)),
        ({"last": (0.9, 0.511), "seasonal": (0.5, 0.8)}, ("seasonal", False)),
        ({"last": (0.9, 0.509), "seasonal": (0.5, 0.8)}, ("last", True)),
        ({"last": (0.505, 0.509), "seasonal": (0.5, 0.507)}, ("seasonal", True)),
        ({"last": (np.inf, np.inf), "seasonal": (np.inf, 0.8)}, ("seasonal", True)),
    ],
    ids=["the best", "not by far enough", "a tie", "ties", "the one that learns"],
)
def test_where_forms_are_as_good_one_that_standardises_is_taken(losses, taken, table, tmp_path, monkeypatch):
    def trial(settings, task, about):
        return losses[about["form"]["anchor"]][about["form"]["normalise"]]

    monkeypatch.setattr(forecast_model, "_trial", trial)
    _, summary = trained_on(table, tmp_path / "run", anchor="auto", normalise="auto", epochs=1)
    assert (summary["anchor"], summary["normalise"]) == taken


@pytest.mark.parametrize(
    "chosen",
    [
        {"model": "attention", "attention_size": 3, "bidirectional": "on", "forcing": 0.2},
        {"model": "direct", "bidirectional": "on"},
    ],
    ids=lambda chosen: chosen["model"],
)
def test_forms_are_tried_on_the_plainest_model(chosen, table, tmp_path, monkeypatch):
    tried = []
    learner = forecast_model.torch_learner

    def seen(model, task, settings):
        tried.append((type(model.model).__name__, model.model.encoder.bidirectional))
        return learner(model, task, settings)

    monkeypatch.setattr(forecast_model, "torch_learner", seen)
    network = {"hidden": 4, "cell": "lstm", "layers": 2}
    trained_on(table, tmp_path / "run", anchor="auto", normalise="auto", epochs=1, **network, **chosen)
    assert tried == [("Direct", chosen["model"] == "direct")] * 4


def test_a_model_with_an_anchor_of_its_own_is_not_tried(table, tmp_path):
    _, summary = trained_on(
        table, tmp_path / "run", model="segment", segment=3, anchor="auto", normalise="auto", epochs=1
    )
    assert (summary["anchor"], summary["normalise"], summary["steps"]) == ("none", False, 7)


@pytest.mark.parametrize(
    ("chosen", "described"),
    [
        ({"model": "seq2seq", "forcing": 0.2, "bidirectional": "on"}, {"forcing": 0.2, "bidirectional": True}),
        ({"model": "attention", "attention_size": 3, "bidirectional": "off"}, {"attention_size": 3}),
        ({"model": "tpa", "filters": 2, "autoregressive": 0}, {"filters": 2, "autoregressive": 0}),
        ({"model": "tcn", "channels": 5, "blocks": 1, "kernel": 2}, {"channels": 5, "levels": 1, "kernel_size": 2}),
        ({"model": "segment", "segment": 3}, {"segment": 3}),
    ],
    ids=lambda value: value.get("model"),
)
def test_every_model_is_trained_with_its_options_and_forecasts(table, tmp_path, chosen, described):
    run, summary = trained_on(table, tmp_path / "run", **chosen, epochs=1, normalise="on")
    model = read_about(run.weights_file)[0]["model"]
    assert {name: model[name] for name in described} == described
    assert summary["model"] == chosen["model"]
    forecaster = load(run.folder)
    expected = pl.read_csv(run.folder / "predictions.csv")["predicted"][-4:]
    again = forecaster.predict(as_table(demand()[:156], tmp_path))
    np.testing.assert_allclose(again["load"].to_numpy(), expected.to_numpy(), rtol=1e-4)


def test_without_a_test_part_the_validation_part_is_measured_and_nothing_written(table, tmp_path):
    run, summary = trained_on(table, tmp_path / "run", split="0.8,0.2,0", epochs=1)
    assert summary["test"] is None
    assert summary["validation"]["original"]["load"]["rmse"] > 0
    assert set(summary["baselines"]) == {"naive", "seasonal_naive", "drift"}
    assert not (run.folder / "predictions.csv").exists()
    assert load(run.folder).predict()["load_low"].null_count() == 0


def test_several_series_are_forecast_each_after_its_own_end(tmp_path):
    north, south = (demand(rows).with_columns(site=pl.lit(site)) for rows, site in ((120, "北"), (100, "b")))
    path = written(pl.concat([north, south]), tmp_path / "sites.csv")
    run, summary = trained_on(path, tmp_path / "run", series="site", target="load,heat", epochs=1)
    assert summary["windows"]["test"] == (24 - 3) + (20 - 3)
    made = pl.read_csv(run.folder / "predictions.csv", try_parse_dates=True)
    assert made["series"].unique(maintain_order=True).to_list() == ["北", "b"]
    # Without the last four rows of each, the same as the test part's last window of each.
    found = load(run.folder).predict(as_table(pl.concat([north[:116], south[:96]]), tmp_path))
    assert found["site"].to_list() == ["北"] * 4 + ["b"] * 4
    times = np.datetime64("2024-01-01T00", "us") + np.array([*range(116, 120), *range(96, 100)]).astype("m8[h]")
    np.testing.assert_array_equal(found["time"].to_numpy(), times)
    last = pl.concat([made.filter(series=site)[-8:] for site in ("北", "b")])
    for target in ("load", "heat"):
        for ending, name in (("", "predicted"), ("_low", "low"), ("_high", "high")):
            expected = last.filter(target=target)[name].to_numpy()
            np.testing.assert_allclose(found[target + ending].to_numpy(), expected, rtol=1e-4)


def test_a_table_without_time_counts_its_rows(tmp_path):
    path = written(demand().drop("time"), tmp_path / "a.csv")
    run, _ = trained_on(path, tmp_path / "run", epochs=1)
    made = pl.read_csv(run.folder / "predictions.csv")
    assert made["time"][:5].to_list() == [130, 131, 132, 133, 131]  # row 1 is the header
    assert made["origin"][0] == 129
    found = load(run.folder).predict()
    assert found["row"].to_list() == [162, 163, 164, 165]


def test_gaps_are_skipped_and_never_count(tmp_path):
    frame = demand().with_columns(
        load=pl.when(pl.int_range(pl.len()).is_in([20, 21, 140, 141, 159])).then(None).otherwise("load")
    )
    path = written(frame, tmp_path / "a.csv")
    for policy, windows in (("interpolate", 29), ("mask", 29), ("drop", 29 - 13)):  # 13 look back on the gap
        run, summary = trained_on(path, tmp_path / policy, missing=policy, epochs=1)
        made = pl.read_csv(run.folder / "predictions.csv")
        assert summary["windows"]["test"] * 4 == made.height
        assert summary["windows"]["test"] == windows
        assert made.filter(pl.col("observed").is_null())["time"].n_unique() == 3
        error = (made["predicted"] - made["observed"]).drop_nulls().to_numpy()
        assert summary["test"]["original"]["load"]["mse"] == pytest.approx((error**2).mean(), rel=1e-4)
        assert np.isfinite(summary["baselines"]["seasonal_naive"]["original"]["load"]["mse"])


def test_a_file_that_is_not_whole_is_refused(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0].folder, folder)
    (folder / "intervals.json").write_text('{"level": 0.9}')
    with pytest.raises(UserError, match=r"intervals.json: its intervals are malformed"):
        load(folder)
    (folder / "intervals.json").unlink()
    with pytest.raises(UserError, match="the run is not finished; run: gatewise resume"):
        load(folder)


def test_another_table_is_not_gone_on_with(tmp_path, killed):
    path = written(demand(), tmp_path / "a.csv")
    with killed():
        trained_on(path, tmp_path / "run")
    written(demand(159), path)
    with pytest.raises(UserError, match=r"a.csv: is not the table that .*run was trained on; bring that back"):
        resume(tmp_path / "run")
