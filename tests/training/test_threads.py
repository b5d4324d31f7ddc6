"""Fewer threads where other programs keep the cores busy: recorded, said, and never against what was asked for."""

import psutil
import pytest
import torch

from gatewise import UserError
from gatewise.training import Run, Watch, resume
from gatewise.training.lifecycle import train
from gatewise.training.progress import Silent
from gatewise.training.text_settings import text_settings
from gatewise.training.text_source import Source
from gatewise.training.threads import choose_threads
from gatewise.training.trainings import TRAININGS

SMALL = {"hidden": 4, "batch": 2, "steps": 5, "epochs": 1, "engine": "eager"}


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def two_cores(monkeypatch):
    """Of which this share, in percent, is busy with other programs."""

    def busy(percent: float) -> None:
        monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
        monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: percent)
        torch.set_num_threads(2)

    return busy


@pytest.mark.parametrize(("percent", "threads"), [(0.0, 2), (20.0, 2), (55.0, 1), (100.0, 1)])
def test_threads_are_the_cores_that_nobody_uses(two_cores, percent, threads):
    two_cores(percent)
    said: list[str] = []
    assert choose_threads(said.append) == threads
    assert len(said) == (threads < 2)
    assert all(f"{percent / 50:.1f} of 2 cores" in line and "--threads" in line for line in said)


def test_a_run_records_its_threads_and_goes_on_with_them(two_cores, text_file, tmp_path):
    two_cores(60.0)
    heard = Heard()
    run, _ = train(TRAININGS["text"], Source(text_file), text_settings(**SMALL), tmp_path / "run", Watch(heard))
    assert (run.read_config()["settings"]["threads"], torch.get_num_threads()) == (1, 1)
    assert any("1 of 2 threads" in line for line in heard.lines)
    two_cores(0.0)
    run.summary_file.unlink()
    resume(Run.open(tmp_path / "run").folder)
    assert torch.get_num_threads() == 1


def test_nothing_is_said_of_threads_where_the_data_are_refused(two_cores, tmp_path):
    two_cores(60.0)
    heard = Heard()
    with pytest.raises(UserError, match="does not exist"):
        train(TRAININGS["text"], Source(tmp_path / "nowhere.txt"), text_settings(**SMALL), None, Watch(heard))
    assert heard.lines == []


def test_what_is_asked_for_is_taken(two_cores, text_file, tmp_path):
    two_cores(100.0)
    settings = text_settings(**SMALL, threads=2)
    run, _ = train(TRAININGS["text"], Source(text_file), settings, tmp_path / "run")
    assert (run.read_config()["settings"]["threads"], torch.get_num_threads()) == (2, 2)


def test_runs_that_are_compared_have_the_same(two_cores, gatewise_, text_file, tmp_path, monkeypatch):
    two_cores(0.0)
    busy = iter((90.0, 0.0, 0.0))
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: next(busy))
    options = ("--hidden", 4, "--batch", 2, "--steps", 5, "--epochs", 1, "--seeds", 1, "--match", "hidden")
    answer = gatewise_("compare", "text", text_file, "--cells", "rnn,gru", *options, "--out", tmp_path / "compared")
    assert answer.code == 0, answer
    runs = [Run(folder) for folder in sorted((tmp_path / "compared").glob("*-seed0"))]
    assert [run.read_config()["settings"]["threads"] for run in runs] == [1, 1]
