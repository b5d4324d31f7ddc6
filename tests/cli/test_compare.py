"""``gatewise compare text``: the table, the pictures, JSON, bad input."""

import json

import pytest


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
        (["--match", "parms"], "did you mean 'params'"),
        (["--seeds", 0], "--seeds 0: want 1 at least"),
    ],
)
def test_bad_input(refused, text_file, tmp_path, options, message):
    assert message in refused("compare", "text", text_file, *options, "--out", tmp_path / "c")
    assert not (tmp_path / "c").exists()
