"""``train classify`` and ``predict`` as commands: what they write and say, what they refuse."""

import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

from gatewise.cli import classify
from gatewise.tasks import class_baselines

TINY = ("--hidden", 5, "--batch", 8, "--evaluations", 2, "--threads", 1, "--engine", "eager", "--members", 1)
SMALL = (*TINY, "--epochs", 2)


@pytest.fixture(autouse=True, scope="module")
def _few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_baselines, "TREES", 3)
        yield


def write_ts(path, count: int, seed: int, labels=("up", "down"), channels: int = 2) -> None:
    draw = np.random.default_rng(seed)
    lines = [f"@classLabel true {' '.join(labels)}", "@data"]
    for n in range(count):
        label = labels[n % len(labels)]
        steps = np.arange(draw.integers(4, 9)) * (1 if label == "up" else -1)
        rows = [",".join(f"{value:.3f}" for value in steps + draw.normal(size=len(steps))) for _ in range(channels)]
        lines.append(":".join([*rows, label]))
    path.write_text("\n".join(lines))


@pytest.fixture(scope="module")
def run(gatewise_, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ts")
    write_ts(folder / "train.ts", 20, 0)
    write_ts(folder / "test.ts", 12, 1)
    out = folder / "run"
    data = (folder / "train.ts", "--test", folder / "test.ts")
    answer = gatewise_("train", "classify", *data, *SMALL, "--out", out, "--json")
    assert answer.code == 0, answer
    return out, answer


def test_training_tells_every_class_and_the_baselines(run):
    folder, answer = run
    summary = json.loads(answer.out.splitlines()[-1])
    assert summary == json.loads((folder / "summary.json").read_text())
    assert "test part, 12 recordings" in answer.out
    for name, one in summary["test"]["per_class"].items():
        figures = f"{one['precision']:9.3f}  {one['recall']:6.3f}  {one['f1']:5.3f}  {one['count']:6}"
        assert f"{name:5}  {figures}" in answer.out
    for name in ("majority", "logistic_regression", "random_forest", ""):
        words = {"majority": "majority class", "": "this network"}.get(name, name.replace("_", " "))
        one = summary["baselines"][name] if name else summary["test"]
        assert f"{words:26}{one['accuracy']:8.3f}  {one['macro_f1']:8.3f}\n" in answer.out
        gain = summary["macro_f1"] - one["macro_f1"]
        verdict = f"\nbetter than {words} by {gain:.3f} of macro-F1\n"
        if gain <= 0:
            figures = f"its macro-F1 is {-gain:.3f} higher" if gain else "the same macro-F1"
            verdict = f"\nWARNING: NOT better than {words}: {figures}; take {words}, or train longer, with other"
        assert (verdict in answer.out) == bool(name)
    assert "train: 2 classes, 2 channels, given as values; 16 recordings to learn, 4 for validation, 12" in answer.err
    with Image.open(folder / "confusion.png") as picture:
        assert picture.size[0] > 300
    assert "macro-F1" in (folder / "confusion.svg").read_text()
    assert "loss (nats)" in (folder / "curve.svg").read_text()
    assert "false alarms" not in answer.out


def test_predicting_names_the_class_of_every_recording(gatewise_, run, tmp_path):
    folder, _ = run
    answer = gatewise_("predict", folder, folder.parent / "test.ts", "--out", tmp_path / "classes.csv")
    assert (answer.code, answer.out) == (0, f"12 recordings classified: {tmp_path / 'classes.csv'}\n")
    found, own = pl.read_csv(tmp_path / "classes.csv"), pl.read_csv(folder / "predictions.csv")
    assert found.columns == own.columns == ["recording", "observed", "predicted", "p(down)", "p(up)"]
    assert found["predicted"].to_list() == own["predicted"].to_list()


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """A table of two streams, each normal at first."""
    draw, path = np.random.default_rng(0), tmp_path_factory.mktemp("table") / "plant.csv"
    rows = ["time,unit,pressure,flow,note,state"]
    for unit in ("a", "b", "c"):
        for t in range(60):
            fault = t % 30 >= 15
            pressure, flow = draw.normal(size=2) + np.array([4 * fault, 0])
            time, state = f"2020-01-01 {t // 60:02}:{t % 60:02}", "bad" if fault else "ok"
            rows.append(f"{time},{unit},{pressure:.4f},{flow:.4f},-,{state}")
    path.write_text("\n".join(rows))
    return path


def test_a_table_of_labelled_streams_is_diagnosed(gatewise_, plant, tmp_path):
    answer = gatewise_(
        "train", "classify", plant, "--label", "state", "--series", "unit", "--test", "c", "--normal", "ok", "--window",
        5, *TINY, "--epochs", 8, "--lr", 0.02, "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer
    summary = json.loads(answer.out.splitlines()[-1])
    assert summary["test"]["faults"]["bad"]["events"] == 2
    assert summary["examples"]["test"] == 56
    assert "column 'note' is left out: it holds no numbers" in answer.err
    assert f"{plant}: 3 series, 180 steps every 1min from 2020-01-01 to 2020-01-01 00:59, by 'time'" in answer.err
    rate = summary["test"]["false_alarm_rate"]
    assert f"false alarms: {rate:.3f} of the windows of normal operation are taken for a fault" in answer.out
    assert "an alarm is 3 windows in a row: " in answer.out
    lines = plant.read_text().splitlines()
    (tmp_path / "new.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines[:31]))
    answer = gatewise_("predict", tmp_path / "run", tmp_path / "new.csv", "--out", tmp_path / "out.xlsx")
    assert answer.code == 0, answer
    found = pl.read_excel(tmp_path / "out.xlsx")
    assert found.columns == ["recording", "step", "predicted", "p(bad)", "p(ok)"]
    assert found["step"].to_list() == list(range(5, 31))
    assert answer.out.endswith(f"26 windows classified: {tmp_path / 'out.xlsx'}\n")


def test_new_files_of_a_folder_are_classified_without_labels(gatewise_, tmp_path):
    draw = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    for n in range(8):
        np.savetxt(tmp_path / "data" / f"{n}_{'ab'[n % 2]}.dat", draw.normal(size=(9 + n, 2)) + 3 * (n % 2))
    answer = gatewise_(
        "train", "classify", tmp_path / "data", "--label-from", r"_([ab])\.", "--test", 0.25, *SMALL, "--out",
        tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 0, answer
    np.savetxt(tmp_path / "new.dat", draw.normal(size=(7, 2)).T)  # transposed
    answer = gatewise_("predict", tmp_path / "run", tmp_path / "new.dat", "--out", tmp_path / "out.csv")
    assert answer.err.splitlines()[0] == "new.dat: stored transposed, 2 rows of 7; turned to columns"
    assert pl.read_csv(tmp_path / "out.csv")["recording"].to_list() == ["new.dat"]


def test_mistakes_are_answered_in_one_line(gatewise_, run, plant, tmp_path):
    folder, _ = run
    source, out = folder.parent, tmp_path / "x"
    write_ts(tmp_path / "left.ts", 6, 0, ("up", "left"))
    write_ts(tmp_path / "one.ts", 6, 0, ("up",))
    write_ts(tmp_path / "wide.ts", 6, 0, channels=3)
    (tmp_path / "empty.ts").write_text("@classLabel true a b\n@data\n")
    (tmp_path / "gap.ts").write_text("@classLabel true a b\n@data\n1,?,2:a\n1,2,3:b\n1,2:a\n2,3:b\n")
    train, test = ("train", "classify"), source / "test.ts"
    own, wide, table = source / "train.ts", tmp_path / "wide.ts", out.with_suffix(".csv")
    for arguments, message in (
        ((*train, tmp_path / "nowhere.ts"), f"{tmp_path / 'nowhere.ts'}: does not exist"),
        ((*train, own, "--test", tmp_path / "left.ts"), "the label 'left' is in the test part"),
        ((*train, tmp_path / "one.ts"), "one class only to learn, 'up'; a classifier wants at least two"),
        ((*train, own, "--test", wide), f"{wide}: 3 channels, and {own} has 2"),
        ((*train, tmp_path / "empty.ts"), f"{tmp_path / 'empty.ts'}: has no sequences after @data"),
        ((*train, tmp_path / "gap.ts"), f"{tmp_path / 'gap.ts'}, line 3: the value of channel 1 at step 2 is missing"),
        ((*train, own, "--window", 0), "--window 0: want a number above 0"),
        ((*train, own, "--window", 30), f"{own}, line 3: 6 of its 8 rows are in the training part"),
        ((*train, own, "--cell", "grru"), "no cell is called 'grru': did you mean 'gru'?"),
        ((*train, plant), f"{plant}: where are the labels? give --label COLUMN"),
        ((*train, plant, "--label", "stat"), f"{plant}: --label: no column 'stat'; did you mean 'state'?"),
        ((*train, plant, "--label", "state", "--series", "unti"), f"{plant}: --series: no column 'unti'; did you"),
        ((*train, plant, "--label", "state"), f"{plant}: row 62: 2020-01-01 after 2020-01-01 00:59; the rows are not"),
        ((*train, own, "--sort"), "--sort: is of a table; name the column of its labels too, --label COLUMN"),
        ((*train, source), f"{source}: where are the labels? give --label-from"),
        (("predict", folder, "--out", table), f"predict {folder}: name the recordings to classify"),
        (("predict", folder, test, "--out", out.with_suffix(".doc")), f"--out {out.with_suffix('.doc')}: want a name"),
        (("predict", folder, wide, "--out", table), f"{wide}, line 3: the classifier learned from recordings of 2"),
        (("predict", folder, test, "--frames", 3, "--out", table), "--frames: a run of this task has no use"),
    ):
        answer = gatewise_(*arguments, *((*SMALL, "--out", out) if arguments[0] == "train" else ()))
        assert answer.refusal.startswith(f"gatewise: {message}"), (arguments, answer)
    assert not out.exists()
    assert not table.exists()


@pytest.mark.parametrize(("standing", "noted"), [(0.67, True), (0.02, False), (None, False)])
def test_delays_beside_standing_alarms_are_said_to_tell_little(capsys, standing, noted):
    fault = {"detected": 1.0, "events": 2, "delay": 3.0}
    rates = {"false_alarm_rate": 0.7, "false_alarm_rate_in_a_row": standing, "missed_rate": 0.1}
    classify._tell_diagnosis({"in_a_row": 3, "faults": {"hot": fault}, **rates}, True)
    said = capsys.readouterr().out
    assert "2 of 2 faults noticed, 3 steps after the onset" in said
    assert ("an alarm stands at 67% of normal operation too" in said) == noted
