"""Killed, stopped, resumed: the same bits as a run that nobody disturbed."""

import csv
import json
import os
import random
import shutil
import signal
import time

import pytest
import torch

from gatewise.training import Source, fit, resume, text_settings, train_text
from gatewise.training import learner as learners
from gatewise.training.checkpoint import read_about, read_tensors
from gatewise.training.numpy_learner import NumpyLearner

CASES = {
    "dropout, cosine, warm-up": {"cell": "gru", "dropout": 0.3, "embedding": 5, "warmup": 0.2},
    "random windows": {"cell": "gru", "dropout": 0.3, "partition": "random", "layers": 2},
    "two carried states": {"cell": "lstm", "layers": 2, "dropout": 0.2},
    "reference engine": {"cell": "gru-before", "hidden": 6, "optimizer": "sgd", "lr": 1.0},
    "constant rate, last weights": {"cell": "rnn", "schedule": "constant", "keep": "last"},
    "patience": {"cell": "gru", "lr": 0.3, "patience": 2, "evaluations": 30},
    "numpy": {"engine": "numpy", "hidden": 6},
    "numpy, random windows": {"engine": "numpy", "partition": "random", "hidden": 6},
    "a stack": {"cell": "lstm,gru", "hidden": "10,6", "learned_state": True, "dropout": 0.2},
    "residuals": {"layers": 3, "residual": True, "recurrent_dropout": 0.2, "recurrent_dropout_kind": "semeniuta"},
    "bytes": {"tokens": "byte", "hidden": 6, "seed": 12345678901234},
}


def settings_of(case):
    plain = {"hidden": 10, "batch": 6, "steps": 8, "epochs": 3, "threads": 1, "lr": 0.02, "evaluations": 7}
    return text_settings(**plain | case)


def same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert one[name].numpy().tobytes() == other[name].numpy().tobytes(), name


def timeless(figures):
    return {name: value for name, value in figures.items() if name not in ("seconds", "tokens_per_second")}


def same_run(one, other):
    """Weights, checkpoints, metrics, summary and samples agree to the bit, but for the times."""
    for name in ("weights.safetensors", "checkpoint/last.safetensors", "checkpoint/best.safetensors"):
        same_bits(read_tensors(one / name), read_tensors(other / name))
    rows = [list(csv.DictReader((run / "metrics.csv").open())) for run in (one, other)]
    assert [timeless(row) for row in rows[0]] == [timeless(row) for row in rows[1]]
    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, other)]
    assert timeless(summaries[0]) == timeless(summaries[1])
    assert (one / "samples.txt").read_text() == (other / "samples.txt").read_text()


class Killed(BaseException):
    """As abrupt as can be had without a second process."""


@pytest.fixture
def kill_at_step(monkeypatch):
    """``kill_at_step(n)``: the process dies instead of taking its n-th step from now."""
    steps = {kind: kind.step for kind in (learners.TorchLearner, NumpyLearner)}

    def kill_at_step(n):
        left = iter(range(n))

        def patched(kind):
            def step(self, batch, lr, share):
                if next(left, None) is None:
                    raise Killed
                return steps[kind](self, batch, lr, share)

            return step

        for kind in steps:
            monkeypatch.setattr(kind, "step", patched(kind))

    return kill_at_step


@pytest.mark.parametrize("name", CASES)
def test_a_run_that_died_twice_ends_with_the_bits_of_one_that_did_not(
    name, tmp_path, text_file, monkeypatch, kill_at_step
):
    settings, source = settings_of(CASES[name]), Source(text_file)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    _, summary = train_text(source, settings, whole)
    # About every third step is saved, so work is lost and done again.
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_CHECKPOINTS", 3 * summary["seconds"] / summary["steps"])
    draw = random.Random(name)
    kill_at_step(draw.randrange(1, summary["steps"] // 2))
    with pytest.raises(Killed):
        train_text(source, settings, torn)
    assert not (torn / "summary.json").exists()
    kill_at_step(draw.randrange(1, summary["steps"] // 3))
    with pytest.raises(Killed):
        resume(torn)
    kill_at_step(10**9)
    torch.manual_seed(99)  # what the process drew before must not matter
    resume(torn)
    same_run(whole, torn)


def test_a_run_killed_after_its_last_step_is_finished_by_resuming(tmp_path, text_file, monkeypatch):
    settings, source = settings_of(CASES["two carried states"]), Source(text_file)
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    train_text(source, settings, whole)
    shutil.copytree(whole, torn)
    for name in ("summary.json", "samples.txt"):
        (torn / name).unlink()
    resume(torn)
    same_run(whole, torn)


@pytest.mark.parametrize(
    "options",
    [
        ("--cell", "gru", "--dropout", "0.2", "--warmup", "0.1", "--hidden", "16", "--epochs", "5"),
        pytest.param(
            ("--cell", "lstm", "--layers", "2", "--dropout", "0.2", "--partition", "random", "--hidden", "16",
             "--epochs", "5"),
            marks=pytest.mark.slow,
        ),
        pytest.param(("--engine", "numpy", "--hidden", "16", "--epochs", "6"), marks=pytest.mark.slow),
    ],
    ids=["gru", "lstm, random windows", "numpy"],
)  # fmt: skip
def test_kill_minus_nine(options, tmp_path, text_file, gatewise_, start):
    """A real process, a real SIGKILL, at a moment nobody chose."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    command = ("train", "text", text_file, "--batch", 4, "--steps", 8, "--threads", 1, "--evaluations", 20, *options)
    assert gatewise_(*command, "--out", whole).code == 0

    process = start(*command, "--out", torn, every=0.02)
    metrics = torn / "metrics.csv"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (torn / "summary.json").exists()
    left = read_about(torn / "checkpoint" / "last.safetensors")[0]["journal"]
    assert left["position"]["step"] > 0
    assert not left["finished"]

    (torn / ".weights.safetensors.1234.part").write_bytes(b"half a file")
    answer = gatewise_("resume", torn)
    assert answer.code == 0, answer
    assert f"going on from step {left['position']['step']}" in answer.err
    assert not list(torn.rglob("*.part"))
    same_run(whole, torn)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_once_and_can_be_resumed(
    signum, code, tmp_path, text_file, monkeypatch, gatewise_, small
):
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    command = ("train", "text", text_file, *small, "--epochs", 2, "--dropout", 0.1)
    assert gatewise_(*command, "--out", whole).code == 0

    step, save, saves = learners.TorchLearner.step, learners.TorchLearner.save, []
    taken = []

    def interrupted_step(self, batch, lr, share):
        taken.append(batch)
        if len(taken) == 17:
            os.kill(os.getpid(), signum)
        return step(self, batch, lr, share)

    with monkeypatch.context() as patch:
        patch.setattr(learners.TorchLearner, "step", interrupted_step)
        patch.setattr(learners.TorchLearner, "save", lambda self: saves.append(len(taken)) or save(self))
        answer = gatewise_(*command, "--out", torn)
    assert answer.code == code
    assert answer.err.splitlines()[-1] == f"gatewise: stopped and saved; `gatewise resume {torn}` goes on from here"
    assert "Traceback" not in answer.err
    assert saves == [0, 17]
    assert read_about(torn / "checkpoint" / "last.safetensors")[0]["journal"]["position"]["step"] == 17
    assert signal.getsignal(signum) in (signal.default_int_handler, signal.SIG_DFL)
    assert gatewise_("generate", torn, "--length", 5).code == 0  # usable as it is
    assert gatewise_("resume", torn).code == 0
    same_run(whole, torn)


def test_a_second_ctrl_c_stops_at_once(tmp_path, text_file, monkeypatch, gatewise_, small):
    step = learners.TorchLearner.step

    def step_with_two(self, batch, lr, share):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch, lr, share)

    monkeypatch.setattr(learners.TorchLearner, "step", step_with_two)
    answer = gatewise_("train", "text", text_file, *small, "--epochs", 2, "--out", tmp_path / "run")
    assert answer.code == 130
    assert "Traceback" not in answer.err
    assert gatewise_("generate", tmp_path / "run", "--length", 5).code == 0


def test_sigterm_from_outside(tmp_path, text_file, start, gatewise_, small):
    run = tmp_path / "run"
    process = start("train", "text", text_file, *small, "--minutes", 5, "--evaluations", 10_000, "--out", run)
    while not (run / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert out == ""
    assert "Traceback" not in err
    assert "gatewise resume" in err.splitlines()[-1]
    assert not (run / "lock.pid").exists()
    assert gatewise_("generate", run, "--length", 5).code == 0


def test_the_seed_decides_the_bits(tmp_path, text_file):
    for name, seed in (("one", 7), ("same", 7), ("other", 8)):
        train_text(Source(text_file), settings_of({"dropout": 0.2, "seed": seed}), tmp_path / name)
    same_run(tmp_path / "one", tmp_path / "same")
    one, other = (read_tensors(tmp_path / name / "weights.safetensors") for name in ("one", "other"))
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_a_changed_text_is_not_resumed(tmp_path, text_file, kill_at_step, refused):
    text = tmp_path / "text.txt"
    shutil.copy(text_file, text)
    kill_at_step(9)
    with pytest.raises(Killed):
        train_text(Source(text), settings_of({}), tmp_path / "run")
    text.write_text(text.read_text() + " more")
    line = refused("resume", tmp_path / "run")
    assert str(text) in line
    assert "is not the text" in line


@pytest.mark.parametrize(
    "change",
    [
        ("hidden = 10", "hidden = 11"), ("batch = 6", "batch = 5"), ("steps = 8", "steps = 700"),
        ("lr = 0.02", "lr = 0.03"), ("seed = 0", "seed = 1"),
        ("layers = 1", "layers = 2"), ('cell = "gru"', 'cell = "lstm"'), ('engine = "auto"', 'engine = "numpy"'),
    ],
    ids=lambda change: change[1],
)  # fmt: skip
def test_a_checkpoint_that_belongs_to_other_settings(change, tmp_path, text_file, monkeypatch, kill_at_step, gatewise_):
    run = tmp_path / "run"
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_CHECKPOINTS", 0)
    kill_at_step(40)
    with pytest.raises(Killed):
        train_text(Source(text_file), settings_of({"cell": "gru"}), run)
    before = (run / "checkpoint" / "last.safetensors").read_bytes()
    config = run / "config.toml"
    assert config.read_text().count(change[0]) == 1
    config.write_text(config.read_text().replace(*change))
    kill_at_step(10**9)
    answer = gatewise_("resume", run, "--quiet")
    assert answer.refusal.startswith(f"gatewise: {run}")
    assert "config.toml" in answer.refusal
    assert (run / "checkpoint" / "last.safetensors").read_bytes() == before
