"""Regression from end to end: what is written, what is measured, resuming to the bit, new tables, what is refused."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.metrics import mean_absolute_error, r2_score

from gatewise import UserError, load
from gatewise.data import read_table, table_of
from gatewise.training import TRAININGS, resume
from gatewise.training.checkpoint import read_tensors
from gatewise.training.lifecycle import train
from gatewise.training.regress_settings import RegressSettings
from gatewise.training.settings import settings_from
from gatewise.training.table_source import TableSource

SMALL = {
    "targets": "y,z", "inputs": "a,b", "window": 6, "hidden": 6, "batch": 32, "epochs": 2, "threads": 1, "lr": 0.01,
}  # fmt: skip


def settings_of(**chosen) -> RegressSettings:
    return settings_from(RegressSettings, SMALL | chosen)


def made_up(rows=300):
    """y needs a product of what was two steps ago, z is linear in what is now; and a shift that must come back."""
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, rows))
    times = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2026, 1, 1), "1h", eager=True)[:rows]
    y = 1000 + 50 * np.tanh(np.roll(a, 2)) * np.sign(np.roll(b, 1))
    z = 3 * a - 2 * b + 0.1 * draw.normal(size=rows)
    return pl.DataFrame({"time": times, "a": a, "b": b, "y": y, "z": z, "text": ["x", "y"] * (rows // 2)})


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "made up.csv"
    made_up().write_csv(path)
    return path


@pytest.fixture(scope="module")
def trained(file, tmp_path_factory):
    return train(TRAININGS["regress"], TableSource(file), settings_of(), tmp_path_factory.mktemp("a") / "run")


def test_the_summary_can_be_computed_from_the_files(trained, file):
    run, summary = trained
    assert json.loads(run.summary_file.read_text()) == summary
    assert (summary["task"], summary["model"], summary["window"]) == ("regress", "direct", 6)
    assert summary["windows"] == {"train": 205, "validation": 30, "test": 60}
    predictions, frame = pl.read_csv(run.folder / "predictions.csv", try_parse_dates=True), made_up()
    assert predictions.columns == ["time", "y_observed", "y_predicted", "z_observed", "z_predicted"]
    assert predictions["time"].to_list() == frame["time"][240:].to_list()
    for name in ("y", "z"):
        np.testing.assert_array_equal(predictions[f"{name}_observed"], frame[name][240:])
        truth, predicted = predictions[f"{name}_observed"], predictions[f"{name}_predicted"]
        own, standardised = summary["test"]["original"][name], summary["test"]["standardised"][name]
        assert own["r2"] == pytest.approx(r2_score(truth, predicted), rel=1e-5)
        assert own["mae"] == pytest.approx(mean_absolute_error(truth, predicted), rel=1e-5)
        assert own["mse"] == pytest.approx(standardised["mse"] * frame[name][:210].to_numpy().std() ** 2, rel=1e-5)
        previous = summary["baselines"]["previous_value"]["original"][name]
        assert previous["mae"] == pytest.approx(mean_absolute_error(truth, frame[name][239:-1]), rel=1e-5)
        mean = summary["baselines"]["training_mean"]["original"][name]
        assert mean["mae"] == pytest.approx(np.abs(truth - frame[name][:210].mean()).mean(), rel=1e-6)
        left = pl.read_csv(run.folder / "residuals.csv")
        np.testing.assert_allclose(left[f"{name}_residual"], truth - predicted, atol=1e-4)
        assert left["step"].to_list() == list(range(241, 301))
    assert set(summary["baselines"]) == {"training_mean", "linear_last_step", "linear_window", "previous_value"}
    assert summary["validation"]["original"].keys() == {"mean", "y", "z"}
    assert summary["samples_per_second"] > 0


def test_it_learns_what_is_not_linear_and_keeps_what_is(file, tmp_path):
    settings = settings_of(epochs=60, hidden=16, dropout=0.0, patience=0, lr=0.02, weight_decay=0.0)
    _, summary = train(TRAININGS["regress"], TableSource(file), settings, tmp_path / "run")
    found, linear = summary["test"]["original"], summary["baselines"]["linear_window"]["original"]
    assert linear["y"]["r2"] < 0.1
    assert found["y"]["r2"] > 0.4
    assert found["z"]["r2"] > 0.97


def test_a_new_table_is_predicted_as_its_own_was(trained, file, tmp_path):
    model = load(trained[0].folder)
    whole, frame = model.predict(), made_up()
    assert whole.height == 295
    test = pl.read_csv(trained[0].folder / "predictions.csv")
    np.testing.assert_allclose(whole["y_predicted"][235:], test["y_predicted"], rtol=1e-6)
    new = frame[240:].select("b", "a", "time")  # another order, no targets
    found = model.predict(table_of(new))
    np.testing.assert_allclose(found["z_predicted"], test["z_predicted"][5:], rtol=1e-5)
    assert found["z_observed"].is_nan().all()
    new.write_parquet(tmp_path / "new.parquet")
    assert model.predict(read_table(tmp_path / "new.parquet")).equals(found, null_equal=True)
    shutil.move(trained[0].folder, tmp_path / "away")
    try:
        assert model.predict(table_of(new)).equals(found, null_equal=True)  # without its folder
    finally:
        shutil.move(tmp_path / "away", trained[0].folder)


def test_new_tables_that_do_not_fit_are_refused(trained):
    model, frame = load(trained[0].folder), made_up(40)
    gap = frame.with_columns(a=pl.when(pl.int_range(40) == 20).then(None).otherwise("a"))
    for table, message in (
        (frame.drop("a"), "the data frame: no column 'a', which the run predicts from"),
        (frame[:5], "the data frame: 5 rows, and the run looks at 6; give more rows"),
        (gap, "row 20 has nothing in column 'a'; fill it"),
    ):
        with pytest.raises(UserError, match=message):
            model.predict(table_of(table))


def test_a_run_that_died_ends_with_the_bits_of_one_that_did_not(trained, file, tmp_path, killed, ends_with_the_bits_of):
    with killed(after=5):
        train(TRAININGS["regress"], TableSource(file), settings_of(), tmp_path / "torn")
    ends_with_the_bits_of(tmp_path / "torn", trained)


def test_a_run_keeps_the_scale_that_it_was_begun_with(file, tmp_path, killed, monkeypatch):
    with killed():
        train(TRAININGS["regress"], TableSource(file), settings_of(), tmp_path / "run")
    for name in ("prepared_table.prepare_table", "regress_run.Linear"):  # with which it is fitted
        monkeypatch.setattr(f"gatewise.training.{name}", None)
    _, summary = resume(tmp_path / "run")
    assert summary["test"] is not None


def test_the_seed_decides_the_weights(trained, file, tmp_path):
    run, _ = train(TRAININGS["regress"], TableSource(file), settings_of(seed=1, epochs=1), tmp_path / "run")
    one, other = (read_tensors(path)["layers.weight_hh_l0"] for path in (run.weights_file, trained[0].weights_file))
    assert (one - other).abs().max() > 0.1


def test_another_table_is_not_gone_on_with(file, tmp_path, killed):
    shutil.copy(file, tmp_path / "a.csv")
    with killed():
        train(TRAININGS["regress"], TableSource(tmp_path / "a.csv"), settings_of(), tmp_path / "run")
    made_up().with_columns(pl.col("z") + 1).write_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"a.csv: is not the table that .*run was trained on; bring that back"):
        resume(tmp_path / "run")


def test_everything_together(tmp_path):
    """Several series, gaps, categories, the calendar, components, a stack with noise, attention from both ends."""
    parts = [made_up(120).with_columns(id=pl.lit(name)) for name in ("one", "two")]
    frame = pl.concat(parts)
    gaps = np.random.default_rng(1).random((240, 2)) < 0.1
    frame = frame.with_columns(
        a=pl.when(pl.Series(gaps[:, 0])).then(None).otherwise("a"),
        y=pl.when(pl.Series(gaps[:, 1])).then(None).otherwise("y"),
    )
    settings = settings_of(
        inputs="", series="id", missing="mask", calendar=True, pca="0.9", model="attention", bidirectional=True,
        cell="lstm,gru", layers=2, hidden=4, weight_drop=0.1, engine="eager", loss="huber", epochs=1,
    )  # fmt: skip
    run, summary = train(TRAININGS["regress"], TableSource(None, frame=frame), settings, tmp_path / "run")
    assert summary["inputs"] == ["a", "b", "text"]
    assert summary["test"]["original"]["y"]["mse"] > 0
    predictions = pl.read_csv(run.folder / "predictions.csv")
    assert predictions["id"].to_list() == ["one"] * 24 + ["two"] * 24
    assert predictions["y_observed"].null_count() == gaps[:, 1].reshape(2, 120)[:, 96:].sum()
    assert load(run.folder).predict(table_of(frame)).height == 2 * 115


@pytest.mark.parametrize("split", ["0.8,0.2,0", "1,0,0"])
def test_without_a_test_part_nothing_is_measured_there(file, tmp_path, split):
    settings = settings_of(split=split, epochs=1, patience=8 if "0.2" in split else 0)
    run, summary = train(TRAININGS["regress"], TableSource(file), settings, tmp_path / "run")
    assert summary["test"] is None
    assert not (run.folder / "predictions.csv").exists()
    if "0.2" in split:
        assert summary["validation"]["original"]["z"]["r2"] > 0.9
        assert summary["baselines"]["linear_window"]["original"]["z"]["r2"] > 0.9
    else:
        assert (summary["validation"], summary["baselines"]) == (None, {})
    assert load(run.folder).predict(read_table(file)).height == 295


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"targets": ""}, "--targets: say which column to predict"),
        ({"inputs": "a,y"}, "--inputs y: is a target, and at the step to be predicted it is the answer"),
        ({"window": 0}, "--window 0: want a number above 0"),
        ({"linear": 7}, "--linear 7: the window has 6 steps"),
        ({"model": "tpa", "bidirectional": True}, "--bidirectional: --model tpa looks"),
        ({"model": "tpa", "window": 1}, "--window 1: --model tpa looks"),
        ({"model": "segment"}, "--model segment: "),
        ({"loss": "pinball"}, "--loss pinball: "),
    ],
    ids=str,
)
def test_bad_settings_name_the_option(chosen, message):
    with pytest.raises(UserError) as caught:
        settings_of(**chosen)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"targets": "q"}, "no column 'q'"),
        ({"targets": "q", "inputs": ""}, "--targets q: .*made up.csv has no such column"),
        ({"targets": "text", "inputs": "a"}, "--targets text: a column of text in .*; predict numbers, or `train clas"),
        ({"inputs": "a,bb"}, "no column 'bb'"),
        ({"split": "200,60,60"}, "--split wants 320 rows, and a series has 300"),
        ({"window": 250}, "the train part has 210 rows, and a window wants 250: 250 to look back on"),
        ({"split": "0.99,0.001,0.009"}, "the validation part has 0 rows, and a window wants 6"),
        ({"pca": "3"}, "--pca 3: the inputs have 2 columns"),
        ({"engine": "native", "cell": "Nowhere"}, "no cell is called 'Nowhere'"),
        ({"engine": "torch", "zoneout": 0.1}, "engine 'torch' cannot run this"),
        ({"hidden": 1 << 20, "layers": 100}, "do not fit into memory"),
    ],
    ids=str,
)
def test_what_cannot_be_learned_is_refused_before_anything_is_written(file, tmp_path, chosen, message):
    with pytest.raises(UserError, match=message):
        train(TRAININGS["regress"], TableSource(file), settings_of(**chosen), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_leak_is_had_by_those_who_ask_for_it(file, tmp_path):
    settings = settings_of(inputs="a,y", allow_leak=True, epochs=1)
    _, summary = train(TRAININGS["regress"], TableSource(file), settings, tmp_path / "run")
    assert summary["test"]["original"]["y"]["r2"] > 0.99


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("preparation", {}, "malformed"), ("schema", None, "malformed"), ("model", {}, "does not describe"),
        ("equations", "0" * 16, "other equations"),
    ],
)  # fmt: skip
def test_weights_that_say_impossible_things_are_refused(trained, tmp_path, name, value, message):
    shutil.copytree(trained[0].folder, tmp_path / "run")
    weights = tmp_path / "run" / trained[0].weights_file.name
    with safe_open(weights, "pt") as file:
        metadata, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    (key,) = metadata
    metadata[key] = json.dumps(json.loads(metadata[key]) | {name: value})
    save_file(tensors, weights, metadata)
    with pytest.raises(UserError, match=message):
        load(tmp_path / "run")


def test_weights_of_another_table_are_refused(trained, file, tmp_path):
    run, _ = train(TRAININGS["regress"], TableSource(file), settings_of(targets="y", epochs=1), tmp_path / "other")
    with safe_open(run.weights_file, "pt") as other, safe_open(trained[0].weights_file, "pt") as own:
        (key,) = own.metadata()
        mixed = json.loads(own.metadata()[key]) | {"preparation": json.loads(other.metadata()[key])["preparation"]}
        tensors = {name: own.get_tensor(name) for name in own.keys()}  # noqa: SIM118
    shutil.copytree(trained[0].folder, tmp_path / "run")
    save_file(tensors, tmp_path / "run" / run.weights_file.name, {key: json.dumps(mixed)})
    with pytest.raises(UserError, match="what it says of its table does not fit its weights"):
        load(tmp_path / "run")
