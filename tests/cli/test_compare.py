"""``gatewise compare text``: the table, the pictures, JSON, bad input."""

import json
import shutil

import pytest

from gatewise.training import learner


@pytest.fixture
def compared(gatewise_, text_file, tmp_path):
    options = ("--hidden", 8, "--batch", 4, "--steps", 8, "--threads", 1, "--epochs", 1, "--seeds", 2, "--json")
    command = ("compare", "text", text_file, "--cells", "rnn,gru", *options, "--out", tmp_path / "c")
    return gatewise_(*command), tmp_path / "c"


def test_table_pictures_and_json(compared):
    answer, folder = compared
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    results = json.loads(lines[-1])
    assert [r["label"] for r in results] == ["rnn", "gru"]
    assert lines[0].split() == ["cell", "hidden", "parameters", "tokens/s", "held-out", "loss", "perplexity"]
    for line, result in zip(lines[1:3], results, strict=True):
        assert line.startswith(result["label"])
        assert f"{result['heldout_loss']:.4f} ± {result['spread']:.4f}" in line
    assert (folder / "comparison.svg").read_text().lstrip().startswith("<?xml")
    assert (folder / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "comparison.json").read_text()) == results


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cells", "gru"], "two different ones"),
        (["--cells", "gru,lstn"], "did you mean 'lstm'"),
        (["--cells", "gru:zonout=0.1"], "'zonout': did you mean 'zoneout'"),
        (["--match", "parms"], "did you mean 'params'"),
        (["--seeds", 0], "--seeds 0: want 1 at least"),
    ],
)
def test_bad_input(refused, text_file, tmp_path, options, message):
    assert message in refused("compare", "text", text_file, *options, "--out", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_run_is_no_comparison(refused, text_file, trained):
    there = sorted(trained.iterdir())
    said = refused("compare", "text", text_file, "--cells", "rnn,gru", "--epochs", 1, "--out", trained)
    assert said.startswith(f"gatewise: --out {trained}: is a run, and no comparison")
    assert sorted(trained.iterdir()) == there


def test_without_a_folder_comparisons_are_numbered(gatewise_, text_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ("--batch", 4, "--steps", 8, "--threads", 1, "--epochs", 1, "--seeds", 1, "--match", "hidden")
    command = ("compare", "text", text_file, "--cells", "rnn,gru", *small, "--hidden")
    for size, n in ((4, 1), (4, 2), (5, 3)):
        answer = gatewise_(*command, size)
        assert answer.code == 0, answer
        assert f"folder     runs/words-compare-{n} " in answer.out
        assert "is there already" not in answer.err
    again = gatewise_(*command, 4, "--out", "runs/words-compare-1")
    assert again.err.count("is there already") == 2
    with monkeypatch.context() as patch:
        patch.setattr("gatewise.training.compare.train_text", lambda *_: pytest.fail("trained"))
        text = tmp_path / "words.txt"
        text.write_text(text_file.read_text().upper())
        on_another = gatewise_("compare", "text", text, *command[3:], 4, "--out", "runs/words-compare-1")
        assert "rnn-seed0: a run on another text is there" in on_another.refusal
        shutil.rmtree("runs/words-compare-1/rnn-seed0")  # the first is not there: another's settings show at once
        other = gatewise_(*command, 5, "--out", "runs/words-compare-1")
        assert "gru-seed0: a run with other settings is there" in other.refusal
    refused = gatewise_(*command, 4, "--threads", "x")
    assert refused.code == 2
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_an_interrupted_comparison_goes_on_in_the_run_that_was_under_way(gatewise_, text_file, tmp_path, monkeypatch):
    small = ("--batch", 4, "--steps", 8, "--threads", 1, "--epochs", 1, "--seeds", 1, "--hidden", 4, "--json")
    command = ("compare", "text", text_file, "--cells", "rnn,gru", *small, "--out")
    whole = gatewise_(*command, tmp_path / "whole")
    steps, left = [json.loads(path.read_text())["steps"] for path in (tmp_path / "whole").glob("*/summary.json")], [0]
    step = learner.TorchLearner.step

    def dying(self, batch, lr, share):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return step(self, batch, lr, share)

    monkeypatch.setattr(learner.TorchLearner, "step", dying)
    left[0] = steps[0] + steps[1] // 2
    assert gatewise_(*command, tmp_path / "parts").code == 130
    answer = gatewise_(*command, tmp_path / "parts")
    assert answer.err.count("is there already") == answer.err.count("going on from step") == 1
    found = [[one["losses"] for one in json.loads(a.out.splitlines()[-1])] for a in (whole, answer)]
    assert found[0] == found[1]
