"""``train frames`` and ``predict`` as commands: what they write and say, what they refuse."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SMALL = ("--hidden", 4, "--layers", 1, "--batch", 4, "--inputs", 3, "--outputs", 2, "--epochs", 1, "--threads", 1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty coloured pictures, a wandering stripe."""
    folder = tmp_path_factory.mktemp("film")
    for t in range(40):
        frame = np.zeros((12, 14, 3), np.uint8)
        frame[:, t % 12 : t % 12 + 2] = (250, 120, 10)
        Image.fromarray(frame).save(folder / f"frame{t}.png")
    return folder


@pytest.fixture(scope="module")
def run(gatewise_, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    answer = gatewise_("train", "frames", pictures, *SMALL, "--out", folder, "--json")
    assert answer.code == 0, answer
    return folder, answer.out


def test_training_says_how_it_compares_and_draws(run):
    folder, out = run
    summary = json.loads(out.splitlines()[-1])
    assert summary == json.loads((folder / "summary.json").read_text())
    names = {
        "copy_last": "the last frame again", "mean_given": "the mean of the given frames",
        "motion": "the last frame moved on", "train_mean": "the mean training picture",
    }  # fmt: skip
    scores = {"forecast": summary, **{words: summary["baselines"][name] for name, words in names.items()}}
    for words, score in scores.items():
        assert re.search(rf"^{words} +MSE {score['mse']:.5f}  SSIM {score['ssim']:.3f}$", out, re.MULTILINE), words
    best = min(summary["baselines"], key=lambda name: summary["baselines"][name]["mse"])
    for name, words in (("copy_last", names["copy_last"]), (best, f"the best without learning, {names[best]}")):
        other = summary["baselines"][name]
        ratio, more = summary["mse"] / other["mse"], summary["ssim"] - other["ssim"]
        assert f"beside {words}: {ratio:.2f} times the squared error, SSIM {more:+.3f}\n" in out
    strip = np.asarray(Image.open(folder / "frames.png").convert("RGB"))
    assert (strip == [250, 120, 10]).all(-1).any()  # in colour
    with Image.open(folder / "frames.gif") as film:
        assert getattr(film, "n_frames", 1) == 5
    assert "forecast" in (folder / "frames.svg").read_text()
    assert "nats per pixel" in (folder / "curve.svg").read_text()


def test_predicting_goes_on_from_new_frames(gatewise_, run, pictures, tmp_path):
    answer = gatewise_("predict", run[0], pictures, "--out", tmp_path / "next.npy", "--frames", 4)
    assert (answer.code, answer.out) == (0, f"4 frames after the 40 of {pictures.name}: {tmp_path / 'next.npy'}\n")
    frames = np.load(tmp_path / "next.npy")
    assert frames.shape == (4, 12, 14, 3)
    assert frames.min() >= 0
    assert frames.max() <= 1
    assert gatewise_("predict", run[0], pictures, "--out", tmp_path / "next.gif").code == 0
    with Image.open(tmp_path / "next.gif") as film:
        assert getattr(film, "n_frames", 1) == 2


def test_the_page_and_the_command_use_the_same_words(run):
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for words in ("the last frame again", "the last frame moved on", "the mean training picture"):
        assert f"| {words} |" in page
        assert f"\n{words} " in run[1]


def test_mistakes_are_answered_in_one_line(refused, run, pictures, trained, tmp_path):
    folder, _ = run
    (tmp_path / "empty").mkdir()
    out, grey = tmp_path / "next.gif", tmp_path / "grey.npy"
    np.save(grey, np.zeros((9, 12, 14)))
    for arguments, message in (
        (("train", "frames", tmp_path / "nowhere"), f"{tmp_path / 'nowhere'}: does not exist"),
        (("train", "frames", tmp_path / "empty"), f"{tmp_path / 'empty'}: no frames in it"),
        (
            ("train", "frames", pictures, "--inputs", 30),
            f"the video '{pictures.name}' has 40 frames, but 80 are needed, 40",
        ),
        (("train", "frames", "--cell", "grru"), "no cell is called 'grru': did you mean 'gru'?"),
        (("train", "frames", "--kernel", 2), "--kernel: kernel_size 2: an even kernel has no middle"),
        (("train", "frames", pictures, "--digits", 3), "--digits is of moving digits, and videos are given: leave it"),
        (("train", "frames", "--heldout", 0.1), "--heldout is of videos that are given, and none are: leave it out"),
        (("train", "frames", "--size", 8), "moving digits: a frame of 8 pixels is too small to move in"),
        (("predict", folder, pictures, "--out", tmp_path / "next.mp4"), f"--out {tmp_path / 'next.mp4'}: want a name"),
        (
            ("predict", folder, grey, "--out", out),
            f"{grey}: grey frames, and {folder} learned from colour ones; give "
            "colour frames, (frames, height, width, 3)",
        ),
        (("predict", folder, pictures, "--out", out, "--frames", 0), "--frames 0: want a number above 0"),
        (
            ("predict", trained, pictures, "--out", out),
            f"{trained}/config.toml: a run of the task 'text', which predicts nothing; give a run of ",
        ),
        (("predict", folder, "--out", out), f"predict {folder}: name the frames to go on from"),
        (("predict", folder, pictures, "--out", out, "--sheet", "a"), "--sheet: a run of this task has no use for it"),
    ):
        assert refused(*arguments).startswith(f"gatewise: {message}"), arguments
    assert not out.exists()
