"""How a run ends: spoiled at the last step, stopped while it is measured, killed before its last file."""

import math
import os
import signal
from typing import Any

import pytest

from gatewise.errors import UserError
from gatewise.tasks import TextTask
from gatewise.training import (
    Interrupted,
    Source,
    Watch,
    load_text_run,
    resume,
    text_settings,
    text_source,
    train_text,
)
from gatewise.training.run import Run

SMALL: dict[str, Any] = {"hidden": 8, "batch": 2, "steps": 5, "epochs": 2, "threads": 1}


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return Source(file)


def test_weights_spoiled_by_the_very_last_step_are_put_back(text, tmp_path):
    settings = text_settings(
        cell="rnn-relu", optimizer="sgd", lr=1e37, clip=0.0, schedule="constant", warmup=0.0, keep="last",
        hidden=8, batch=2, steps=400, epochs=1, threads=1,
    )  # fmt: skip
    with pytest.raises(UserError, match="last good weights"):
        train_text(text, settings, tmp_path / "run")
    trained = load_text_run(tmp_path / "run")
    assert math.isfinite(trained.heldout_loss()[0])
    assert "".join(trained.generate("the", 5))


def test_a_signal_while_the_heldout_text_is_measured_is_answered(text, tmp_path, monkeypatch):
    measure = TextTask.heldout_loss

    def interrupted(task, model, progress):
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(task, model, progress)

    monkeypatch.setattr(TextTask, "heldout_loss", interrupted)
    with pytest.raises(Interrupted) as caught:
        train_text(text, text_settings(**SMALL), tmp_path / "run")
    assert caught.value.exit_code == 143
    run = Run(tmp_path / "run")
    assert not run.summary_file.exists()
    assert not (run.folder / "lock.pid").exists()

    monkeypatch.setattr(TextTask, "heldout_loss", measure)
    _, summary = resume(run.folder)
    _, whole = train_text(text, text_settings(**SMALL), tmp_path / "whole")
    assert summary["heldout_loss"] == whole["heldout_loss"]


def test_the_summary_is_the_last_file(text, tmp_path):
    def killed(run):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_text(text, text_settings(**SMALL), tmp_path / "run", Watch(on_trained=killed))
    drawn = []
    run, _ = resume(tmp_path / "run", Watch(on_trained=drawn.append))
    assert drawn == [run]
    with pytest.raises(UserError, match="finished"):
        resume(tmp_path / "run")


def test_a_run_keeps_its_tokenizer(text, tmp_path, monkeypatch):
    def killed(run):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_text(text, text_settings(**SMALL), tmp_path / "run", Watch(on_trained=killed))

    def fitted_anew(*args, **kwargs):
        raise AssertionError("another version might number the tokens otherwise")

    monkeypatch.setattr(text_source, "fit_tokenizer", fitted_anew)
    _, summary = resume(tmp_path / "run")
    assert load_text_run(tmp_path / "run").heldout_loss()[0] == summary["heldout_loss"]


def test_a_folder_left_with_nothing_but_its_lock_can_be_used(text, tmp_path, monkeypatch):
    def fails(self, *args):
        raise UserError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_config", fails)
        with pytest.raises(UserError):
            train_text(text, text_settings(**SMALL), tmp_path / "run")
    assert (tmp_path / "run" / ".lock").exists()
    train_text(text, text_settings(**SMALL), tmp_path / "run")
    with pytest.raises(UserError, match="holds a run already"):
        train_text(text, text_settings(**SMALL), tmp_path / "run")


def test_a_file_name_that_cannot_be_recorded_is_refused_before_anything_is_made(tmp_path):
    file = tmp_path / os.fsdecode(b"\xff.txt")
    file.write_text("the quick brown fox " * 40)
    with pytest.raises(UserError, match="rename it"):
        train_text(Source(file), text_settings(**SMALL), tmp_path / "run")
    assert not (tmp_path / "run").exists()
