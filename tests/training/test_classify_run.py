"""Training classifiers from end to end: what is written, what is measured, resuming to the bit, what is refused."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn import metrics

from gatewise import UserError, load
from gatewise.data.recordings.folders import read_recordings
from gatewise.data.recordings.sequences import Recording, Sequences
from gatewise.tasks import class_baselines
from gatewise.training import TRAININGS, resume
from gatewise.training.classify_settings import ClassifySettings
from gatewise.training.lifecycle import train
from gatewise.training.recordings_source import GivenRecordings, RecordingsSource
from gatewise.training.settings import settings_from

SMALL = {
    "hidden": 6, "batch": 8, "epochs": 3, "threads": 1, "lr": 0.02, "label_from": "_([a-z]+)", "normal": "ok",
    "window": 6, "evaluations": 3, "engine": "eager", "members": 1, "directions": "forward",
}  # fmt: skip


def settings_of(**chosen) -> ClassifySettings:
    return settings_from(ClassifySettings, SMALL | chosen)


@pytest.fixture(autouse=True, scope="module")
def _few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_baselines, "TREES", 5)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Normal operation, a fault that moves the mean, and one that swings; of each a recording to test."""
    place, draw = tmp_path_factory.mktemp("plant"), np.random.default_rng(0)
    for number, (label, mean, deviation) in enumerate((("ok", 0, 1), ("shift", 3, 1), ("swing", 0, 6))):
        for part, rows in (("learn", 60), ("test", 50)):
            values = draw.normal(size=(rows, 2))
            late = slice(20 if part == "test" else 0, None)
            values[late] = mean + deviation * values[late]
            np.savetxt(place / f"{number}{part}_{label}.dat", values)
    return place


@pytest.fixture(scope="module")
def source(folder):
    return RecordingsSource(folder, "?test*")


@pytest.fixture(scope="module")
def trained(source, tmp_path_factory):
    settings = settings_of(onset=20, report_without="swing", features="values,spread", pca="2", members=2)
    return train(TRAININGS["classify"], source, settings, tmp_path_factory.mktemp("a") / "run")


def test_the_summary_can_be_computed_again_from_the_predictions(trained):
    run, summary = trained
    assert json.loads(run.summary_file.read_text()) == summary
    assert summary["classes"] == ["ok", "shift", "swing"]
    assert summary["examples"] == {"train": 3 * 43, "test": 3 * 45, "validation": 3 * 7}
    table = pl.read_csv(run.folder / "predictions.csv")
    assert table["step"].to_list() == 3 * list(range(6, 51))
    truth, predicted = table["observed"].to_list(), table["predicted"].to_list()
    wanted = ["ok"] * 45 + (["ok"] * 15 + ["shift"] * 30) + (["ok"] * 15 + ["swing"] * 30)
    assert truth == wanted  # the first 20 rows of a test recording are normal
    test = summary["test"]
    assert test["accuracy"] == summary["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert test["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))
    assert test["confusion"] == metrics.confusion_matrix(truth, predicted).tolist()
    quiet = [guess != "ok" for label, guess in zip(truth, predicted, strict=True) if label == "ok"]
    assert test["false_alarm_rate"] == pytest.approx(np.mean(quiet))
    assert set(test["faults"]) == {"shift", "swing"}
    left = [(t, p) for t, p in zip(truth, predicted, strict=True) if t != "swing"]
    assert test["without"]["accuracy"] == pytest.approx(np.mean([t == p for t, p in left]))
    chances = table.select(pl.col("^p\\(.*$")).to_numpy()
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-5)
    assert [summary["classes"][n] for n in chances.argmax(1)] == predicted


def test_every_baseline_has_the_same_figures(trained):
    _, summary = trained
    names = ["majority", "logistic_regression", "random_forest", "logistic_regression_pca", "random_forest_pca"]
    assert list(summary["baselines"]) == names
    for one in summary["baselines"].values():
        assert set(one) == {*summary["test"], "validation"}
        assert set(one["validation"]) == set(summary["validation"])
    assert summary["baselines"]["majority"]["accuracy"] == pytest.approx(75 / 135)


def test_it_learns(source, tmp_path):
    settings = settings_of(onset=20, epochs=12, hidden=16)
    _, summary = train(TRAININGS["classify"], source, settings, tmp_path / "run")
    assert summary["macro_f1"] > 0.8 > summary["baselines"]["majority"]["macro_f1"] + 0.3
    assert summary["test"]["faults"]["shift"]["diagnosed"] == 1.0
    assert summary["test"]["faults"]["shift"]["delay"] <= 8


def test_a_share_of_false_alarms_sets_the_limit_on_what_is_held_out_and_decides_everywhere(folder, tmp_path):
    plant, draw = shutil.copytree(folder, tmp_path / "plant"), np.random.default_rng(1)
    for part, rows in (("learn", 60), ("test", 50)):  # a fault that nobody can tell from normal operation
        np.savetxt(plant / f"2{part}_swing.dat", draw.normal(size=(rows, 2)))
    source = RecordingsSource(plant, "?test*")
    run, summary = train(TRAININGS["classify"], source, settings_of(onset=20, false_alarms=0.3), tmp_path / "run")
    table = pl.read_csv(run.folder / "predictions.csv")
    chances = table.select(pl.col("^p\\(.*$")).to_numpy()
    limit = summary["test"]["alarm_limit"]
    assert limit == json.loads((run.folder / "alarms.json").read_text())
    assert (limit["share"], limit["examples"]) == (0.3, 7)
    names = np.array(summary["classes"])  # ok, shift, swing
    wanted = np.where(1 - chances[:, 0] > limit["limit"], names[chances.argmax(1)], "ok")
    assert table["predicted"].to_list() == wanted.tolist()
    truth = table["observed"].to_numpy()
    assert summary["accuracy"] == pytest.approx((truth == wanted).mean())
    assert summary["test"]["false_alarm_rate"] == pytest.approx((wanted[truth == "ok"] != "ok").mean())
    assert summary["test"]["most_probable"]["accuracy"] == pytest.approx((truth == names[chances.argmax(1)]).mean())
    assert (wanted != names[chances.argmax(1)]).any()
    # It is the ⌈8 · 0.7⌉ = 6th smallest of seven: one at most is above it.
    assert (
        summary["validation"]["false_alarm_rate"] <= 1 / 7 < summary["validation"]["most_probable"]["false_alarm_rate"]
    )
    forest = summary["baselines"]["random_forest"]
    assert forest["alarm_limit"]["limit"] != limit["limit"]
    assert forest["validation"]["false_alarm_rate"] <= 1 / 7
    trained = load(run.folder)
    again = trained.predict(trained.read(folder / "1test_shift.dat").recordings)
    assert again["predicted"].to_list() == table.filter(pl.col("recording") == "1test_shift.dat")["predicted"].to_list()
    (run.folder / "alarms.json").unlink()
    with pytest.raises(UserError, match=r"alarms\.json: not there"):
        load(run.folder)


def test_windows_that_overlap_are_not_taken_for_as_many_examples(source):
    said: list[str] = []
    TRAININGS["classify"].prepare(source, settings_of(false_alarms=0.2), None, said.append)
    # The last 12 of 60 rows are held out: seven windows of six rows, of which two share no row.
    assert any(
        "wants 4 held-out examples of ok; there are 7, but as they overlap they are worth 2" in line for line in said
    )
    said.clear()
    TRAININGS["classify"].prepare(source, settings_of(false_alarms=0.34, window=4), None, said.append)
    assert not any("overlap" in line for line in said)  # wanted are 2, and there are 3


def test_too_few_normal_examples_held_out_are_refused_before_training(source, tmp_path):
    with pytest.raises(UserError, match=r"--false-alarms 0\.1: .* wants 9 of them; there are 7"):
        train(TRAININGS["classify"], source, settings_of(false_alarms=0.1), tmp_path / "run")
    with pytest.raises(UserError, match=r"--false-alarms 0\.1: say which label is normal"):
        settings_of(false_alarms=0.1, normal="")


def test_a_run_that_died_ends_with_the_bits_of_one_that_did_not(
    trained, source, tmp_path, killed, ends_with_the_bits_of
):
    settings = settings_of(onset=20, report_without="swing", features="values,spread", pca="2", members=2)
    with killed(after=20):
        train(TRAININGS["classify"], source, settings, tmp_path / "torn")
    ends_with_the_bits_of(tmp_path / "torn", trained)


def test_other_recordings_are_not_gone_on_with(folder, tmp_path, killed):
    copy = Path(shutil.copytree(folder, tmp_path / "data"))
    with killed():
        train(TRAININGS["classify"], RecordingsSource(copy, "?test*"), settings_of(), tmp_path / "run")
    np.savetxt(copy / "0test_ok.dat", np.zeros((50, 2)))
    with pytest.raises(UserError, match=r"is not what .*run was trained on; bring that back"):
        resume(tmp_path / "run")


def test_nothing_of_the_later_parts_reaches_the_scale(folder, tmp_path):
    """Whatever stands in the validation and test parts, the preparation and the first weights are the same."""
    found = []
    for factor in (1, 1000):
        copy = tmp_path / str(factor)
        copy.mkdir()
        for file in folder.iterdir():
            values = np.loadtxt(file)
            values[0 if "test" in file.name else 48 :] *= factor
            np.savetxt(copy / file.name, values)
        settings = settings_of(scale="standard", pca="1")
        job = TRAININGS["classify"].prepare(RecordingsSource(copy, "?test*"), settings, None, lambda _: None)
        found.append((job.about["preparation"], job.learner.save()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_classes_can_be_left_out_altogether(source, tmp_path):
    settings = settings_of(onset=20, leave_out="swing", epochs=1)
    _, summary = train(TRAININGS["classify"], source, settings, tmp_path / "run")
    assert summary["classes"] == ["ok", "shift"]
    assert summary["examples"] == {"train": 2 * 43, "test": 2 * 45, "validation": 2 * 7}


def test_predicting_gives_the_run_s_own_predictions(trained, folder):
    run, _ = trained
    model = load(run.folder)
    table = pl.read_csv(run.folder / "predictions.csv")
    found = model.predict([np.loadtxt(folder / f"{name}.dat") for name in ("0test_ok", "1test_shift", "2test_swing")])
    assert found["recording"].unique(maintain_order=True).to_list() == ["recording 1", "recording 2", "recording 3"]
    assert found["predicted"].to_list() == table["predicted"].to_list()
    np.testing.assert_allclose(found["p(swing)"].to_numpy(), table["p(swing)"].to_numpy(), atol=2e-6)
    assert "observed" not in found.columns
    assert len(model.predict([np.zeros((11, 2))], stride=3)) == 2


def test_recordings_of_another_kind_are_not_classified(trained):
    model = load(trained[0].folder)
    for values, message in (
        (np.zeros((9, 3)), r"recording 1: .*learned from recordings of 2 channels, and this has the shape \(9, 3\)"),
        (np.zeros(9), "learned from recordings of 2 channels"),
        (np.zeros((0, 2)), "learned from recordings of 2 channels"),
        (np.zeros((5, 2)), "recording 1: has 5 rows, and a window has 6"),
    ):
        with pytest.raises(UserError, match=message):
            model.predict([values])
    with pytest.raises(UserError, match="no recordings to classify"):
        model.predict([])


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["ok", "shift"]}, {"classes": ["ok", "ok", "swing"]}, {"classes": 3}, {"window": -1},
        {"window": None}, {"preparation": {}}, {"columns": ["1"]}, {"model": {"num_layers": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_weights_that_say_what_cannot_be_are_refused(trained, tmp_path, change):
    shutil.copytree(trained[0].folder, tmp_path / "run")
    weights = tmp_path / "run" / trained[0].weights_file.name
    with safe_open(weights, "pt") as file:
        metadata, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    (key,) = metadata
    metadata[key] = json.dumps(json.loads(metadata[key]) | change)
    save_file(tensors, weights, metadata)
    with pytest.raises(UserError, match=r"weights.safetensors: its configuration does not describe a model|malformed"):
        load(tmp_path / "run")


def test_recordings_of_which_each_class_has_one_are_cut_into_windows_where_they_are_long(tmp_path):
    folder, draw = tmp_path / "plant", np.random.default_rng(0)
    folder.mkdir()
    for label, mean in (("ok", 0), ("shift", 3)):
        for part in ("learn", "test"):
            np.savetxt(folder / f"{part}_{label}.dat", draw.normal(size=(310, 2)) + mean)
    chosen = settings_of(window=-1, epochs=1, report_without="")
    _, summary = train(TRAININGS["classify"], RecordingsSource(folder, "test*"), chosen, tmp_path / "run")
    assert summary["window"] == 60
    # Of 310 rows the first 248 are learned from, the last 62 chosen with; those to test are whole.
    assert summary["examples"] == {"train": 2 * 189, "validation": 2 * 3, "test": 2 * 251}
    for file in folder.iterdir():
        np.savetxt(file, np.loadtxt(file)[:200])  # a fifth is no window any more
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, summary = train(TRAININGS["classify"], RecordingsSource(folder, "test*"), chosen, tmp_path / "whole")
    assert (summary["window"], summary["examples"]) == (0, {"train": 2, "test": 2})
    assert summary["test"]["in_a_row"] == 1


def test_a_share_takes_the_ends_and_whole_recordings_need_no_window(folder, tmp_path):
    settings = settings_of(normal="", epochs=1)
    _, summary = train(TRAININGS["classify"], RecordingsSource(folder, "0.2"), settings, tmp_path / "windows")
    # of 60 and 50 rows the last 12 and 10 are measured, of the rest the last fifth chooses
    assert summary["examples"] == {"train": 3 * (33 + 27), "test": 3 * (7 + 5), "validation": 3 * (5 + 3)}
    settings = settings_of(normal="", epochs=1, window=-1, heldout=0.0)
    run, summary = train(TRAININGS["classify"], RecordingsSource(folder, "0.5"), settings, tmp_path / "whole")
    assert summary["examples"] == {"train": 3, "test": 3}
    assert summary["window"] == 0
    assert "step" not in pl.read_csv(run.folder / "predictions.csv").columns


@pytest.mark.parametrize(
    ("test", "chosen", "message"),
    [
        ("?test*", {"normal": "okay"}, "--normal okay: no such class; did you mean 'ok'?"),
        ("?test*", {"report_without": "shfit"}, "--report-without shfit: no such class; did you mean 'shift'?"),
        ("?test*", {"report_without": "shift,swing"}, "--report-without shift,swing: leaves fewer than two classes"),
        ("?test*", {"window": 49}, ", 0learn_ok.dat: 48 of its 60 rows are in the training part, and a window has 49"),
        ("?test*", {"heldout": 0, "window": 55}, ", 0test_ok.dat: has 50 rows, and a window has 55"),
        ("?test*", {"label_from": ""}, "where are the labels? give --label-from"),
        ("?test*", {"onset": 51}, "0test_ok.dat has 50 rows only"),
        ("?test*", {"window": -1, "stride": 2}, "--stride 2: whole recordings are classified; give --window too"),
        ("0.2", {"onset": 5}, "--onset 5: is of test recordings; say which they are"),
        ("0.2", {"window": -1, "label_from": "^([0-9](?:learn|test)_)"}, "has one recording of each class, and whole"),
        ("2", {}, "--test 2: want a share above 0 and below 1, a file or folder, or a pattern of names"),
        ("nowhere", {}, "--test nowhere: no recording of"),
        ("[1]*", {"window": 6}, ", 1learn_shift.dat) and not in the training part; leave it out"),
        ("?test*", {"features": "value"}, "--features value: did you mean 'values'"),
        ("?test*", {"window": 0}, "--window 0: want a number above 0"),
        ("?test*", {"pca": "0"}, "--pca 0: want a share"),
        ("?test*", {"pca": "9"}, "--pca 9: the inputs have 8 columns"),
        ("?test*", {"pooling": "lsat"}, "--pooling lsat: did you mean 'last'?"),
        ("?test*", {"normal": "", "onset": 3}, "--onset 3: say which label is normal"),
        ("?test*", {"leave_out": "swong"}, "--leave-out swong: no such class in"),
        ("?test*", {"leave_out": "shift,swing"}, "one class only to learn, 'ok'"),
        ("?test*", {"series": "s", "label_from": ""}, "--series s: is of a table"),
        ("?test*", {"label": "s"}, "--label is of a table and --label-from of a folder"),
        ("?test*", {"heldout": 0, "patience": 8}, "--patience 8: nothing is held out to look at; give --heldout above"),
    ],
    ids=str,
)  # fmt: skip
def test_mistakes_name_what_is_wrong_and_leave_nothing(folder, tmp_path, test, chosen, message):
    with pytest.raises(UserError) as caught:
        train(TRAININGS["classify"], RecordingsSource(folder, test), settings_of(**chosen), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_recordings_in_memory_are_trained_on_like_those_of_a_folder(trained, folder, tmp_path):
    expected = trained[1]
    read = read_recordings(folder, "_([a-z]+)")
    learn, test = (Sequences("memory", tuple(one for one in read if part in one.name)) for part in ("learn", "test"))
    settings = settings_of(onset=20, report_without="swing", features="values,spread", pca="2", members=2)
    run, summary = train(TRAININGS["classify"], GivenRecordings(learn, test), settings, tmp_path / "run")
    for part in ("test", "validation", "baselines"):
        assert summary[part] == expected[part]
    with pytest.raises(UserError, match="a run on recordings in memory cannot read them again"):
        resume(run.folder)
    _, summary = train(TRAININGS["classify"], GivenRecordings(learn), settings_of(epochs=1), tmp_path / "alone")
    assert "test" not in summary
    assert summary["accuracy"] == summary["validation"]["accuracy"]
    assert summary["baselines"]["majority"]["accuracy"] == summary["baselines"]["majority"]["validation"]["accuracy"]
    wide = Sequences("wide", (Recording("a", np.zeros((9, 3)), np.full(9, "ok")),))
    with pytest.raises(UserError, match="wide: 3 channels, to learn 2"):
        train(TRAININGS["classify"], GivenRecordings(learn, wide), settings_of(), tmp_path / "wide")
