"""`gatewise probe` as a user meets it."""

import json
import re

import pytest

SMALL = ("probe", "--hidden", 16, "--batch", 16, "--steps", 150, "--lr", "0.02", "--length", "2,4", "--quiet")


@pytest.fixture(scope="module")
def probed(tmp_path_factory, gatewise_):
    folder = tmp_path_factory.mktemp("probe") / "run"
    return folder, gatewise_(*SMALL, "--cell", "gru,rnn", "--task", "recall,add", "--chrono", "--out", folder, "--json")


def test_table(probed):
    folder, answer = probed
    assert answer.code == 0, answer
    assert "synthetic" in answer.out
    head, gru, rnn = answer.out.splitlines()[:3]
    assert head.split() == ["cell", "parameters", "recall", "add"]
    summary = json.loads((folder / "summary.json").read_text())
    for line, cell in ((gru, "gru"), (rnn, "rnn")):
        longest = [f["longest"] for f in summary["findings"] if f["cell"] == cell]
        assert line.split()[0] == cell
        assert [int(n) for n in re.findall(r"\d+", line.split(maxsplit=2)[2])] == [n or 2 for n in longest]
    assert re.search(r"recall, gru, T \d: z \(1 keeps\)  first 0\.\d\d  noise 0\.\d\d  question 0\.\d\d", answer.out)
    assert "chrono: gru: biases of z" in answer.out
    assert "chrono: not defined for rnn" in answer.out
    assert answer.err == ""  # --quiet


def test_files(probed):
    folder, answer = probed
    summary = json.loads((folder / "summary.json").read_text())
    assert json.loads(answer.out.splitlines()[-1]) == summary
    assert summary["synthetic"] is True
    assert summary["settings"]["ladder"] == [2, 4]
    assert summary["findings"][0]["gates"]["z"].keys() == {"first", "noise", "question"}
    svg = (folder / "probe.svg").read_text()
    assert "longest T solved" in svg
    assert "recall: gates at the decisive moments" in svg
    assert (folder / "probe.png").read_bytes().startswith(b"\x89PNG")
    assert {f.name for f in folder.iterdir() if not f.name.startswith(".")} == {
        "probe.svg", "probe.png", "summary.json",
    }  # fmt: skip


BAD = {
    "cell": (("--cell", "gru,lstn"), "no cell is called 'lstn': did you mean 'lstm'?"),
    "task": (("--task", "recall,coppy"), "no diagnostic task is called 'coppy': did you mean 'copy'?"),
    "no cell": (("--cell", ","), "--cell: empty"),
    "length": (("--length", "10,x"), "--length 10,x: want whole numbers"),
    "rate": (("--lr", "fast"), "--lr fast: want numbers"),
    "budget": (("--minutes", 1), "--steps beside --minutes"),
    "minutes": (("--minutes", 0), "--minutes 0: want a number above 0"),
    "steps": (("--steps", 0), "--steps 0"),
    "steps, a word": (("--steps", "many"), "'many' is not a whole number"),
    "hidden": (("--hidden", 0), "--hidden 0"),
    "seed": (("--seed", -1), "--seed -1"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=BAD)
def test_bad_input(options, message, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        message in refused("probe", "--steps", 5, *options) if options[0] != "--steps" else refused("probe", *options)
    )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(refused, probed):
    assert "not an empty folder" in refused(*SMALL, "--cell", "gru", "--out", probed[0])


def test_without_a_folder_runs_are_numbered(gatewise_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = gatewise_("probe", "--cell", "rnn", "--minutes", 0.0005, "--length", "300", "--hidden", 4)
    assert answer.code == 0, answer
    assert re.search(r"rnn +\d+ +< 300", answer.out)
    assert (tmp_path / "runs" / "probe-1" / "summary.json").exists()
    assert "gate openings" not in answer.out  # nothing was solved
    assert re.search(r"^recall, rnn, T 300: not solved, .*$", answer.err, re.MULTILINE)
