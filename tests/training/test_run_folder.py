"""The run folder: what lies in it, who may write in it."""

import csv
import json
import os
import signal
import subprocess
import sys
import tomllib
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import gatewise
from gatewise.errors import UserError
from gatewise.training import Run
from gatewise.training.checkpoint import read_about

FILES = {
    "config.toml", "weights.safetensors", "metrics.csv", "summary.json", "curve.svg", "curve.png", "samples.txt",
    "checkpoint/last.safetensors", "checkpoint/best.safetensors",
}  # fmt: skip
SUMMARY = [
    "task", "cell", "engine", "parameters", "seconds", "steps", "tokens_per_second", "train_loss", "train_perplexity",
    "heldout_loss", "heldout_perplexity",
]  # fmt: skip
METRICS = [
    "step", "epoch", "seconds", "lr", "train_loss", "train_perplexity", "heldout_loss", "heldout_perplexity",
    "tokens_per_second",
]  # fmt: skip


def test_all_files_and_nothing_else(trained):
    found = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert found - {".lock"} == FILES


def test_the_summary_is_the_last_line_under_json(tmp_path, text_file, gatewise_, small):
    answer = gatewise_("train", "text", text_file, *small, "--epochs", 1, "--json", "--out", tmp_path / "run")
    assert answer.code == 0
    summary = json.loads(answer.out.splitlines()[-1])
    assert list(summary) == SUMMARY
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["task"], summary["cell"]) == ("text", "gru")
    assert summary["engine"] == gatewise.which(gatewise.GRU(3, 5)).engine
    shapes = read_about(tmp_path / "run" / "weights.safetensors")[1].values()
    size = 0
    for shape in shapes:
        count = 1
        for n in shape:
            count *= n
        size += count
    assert summary["parameters"] == size


def test_the_configuration_says_what_was_run(trained, text_file):
    config = tomllib.loads((trained / "config.toml").read_text())
    assert config["task"] == "text"
    assert config["format"] == 1
    assert config["data"]["path"] == str(text_file)
    assert config["data"]["characters"] == len(text_file.read_text())
    assert config["settings"]["hidden"] == 12
    assert config["settings"]["epochs"] == 4
    assert config["settings"]["minutes"] == 0


def test_the_weights_carry_their_own_configuration(trained):
    about, _ = read_about(trained / "weights.safetensors")
    assert about["task"] == "text"
    assert about["format"] == 1
    assert about["model"]["hidden_size"] == 12
    assert about["tokenizer"]["kind"] == "char"


def test_metrics(trained):
    rows = list(csv.DictReader((trained / "metrics.csv").open()))
    assert list(rows[0]) == METRICS
    steps = [int(row["step"]) for row in rows]
    assert steps == sorted(set(steps))
    assert len(rows) == 10
    assert steps[-1] == json.loads((trained / "summary.json").read_text())["steps"]
    assert float(rows[-1]["heldout_loss"]) < float(rows[0]["heldout_loss"])


def test_the_curve_is_a_picture(trained):
    root = xml.etree.ElementTree.parse(trained / "curve.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "held out" in "".join(root.itertext())


def test_samples_tell_what_is_copied(trained):
    samples = (trained / "samples.txt").read_text()
    assert samples.count("longest verbatim copy") == 3
    assert "--- greedy" in samples


@pytest.mark.parametrize("name", ["cost $x^$ {", "红楼梦", "a & <b>", "𝔊"])
def test_any_folder_name_can_be_drawn(name, tmp_path, text_file, gatewise_, small, recwarn):
    answer = gatewise_("train", "text", text_file, *small, "--epochs", 1, "--out", tmp_path / name)
    assert answer.code == 0, answer
    assert "Warning" not in answer.err
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
    assert name in "".join(xml.etree.ElementTree.parse(tmp_path / name / "curve.svg").getroot().itertext())


def test_tensorboard_reads_the_log_back(tmp_path, text_file, gatewise_, small):
    run = tmp_path / "run"
    assert gatewise_("train", "text", text_file, *small, "--epochs", 2, "--tensorboard", "--out", run).code == 0
    log = EventAccumulator(str(run / "tensorboard"))
    log.Reload()
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert set(log.Tags()["scalars"]) == set(METRICS) - {"step"}
    for name in ("train_loss", "heldout_loss", "lr"):
        events = log.Scalars(name)
        assert [event.step for event in events] == [int(row["step"]) for row in rows]
        assert [event.value for event in events] == pytest.approx([float(row[name]) for row in rows], rel=1e-6)


# --- one process at a time

_HOLD = """
import sys, time
from pathlib import Path
from gatewise.training import Run
with Run(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(run_copy):
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(run_copy)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_held_run_names_its_holder_and_is_free_once_the_holder_is_dead(run_copy, holder, refused, gatewise_):
    line = refused("resume", run_copy)
    assert line.startswith(f"gatewise: {run_copy}: in use by process {holder.pid}")
    assert gatewise_("generate", run_copy, "--length", 3).code == 0  # reading is free
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (run_copy / "lock.pid").read_text() == f"{holder.pid}\n"  # stale
    with Run.open(run_copy).lock():
        assert (run_copy / "lock.pid").read_text() == f"{os.getpid()}\n"
    assert not (run_copy / "lock.pid").exists()


def test_the_lock_holds_within_a_process_too(run_copy):
    with ThreadPoolExecutor(1) as pool, Run.open(run_copy).lock():

        def second():
            with Run.open(run_copy).lock():
                pass

        with pytest.raises(UserError, match=f"in use by process {os.getpid()}"):
            pool.submit(second).result()
    with Run.open(run_copy).lock():
        pass


def test_out_that_holds_a_run(trained, text_file, small, refused):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    line = refused("train", "text", text_file, *small, "--epochs", 1, "--out", trained)
    assert "holds a run already" in line
    assert f"gatewise resume {trained}" in line
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_out_that_holds_something_else(tmp_path, text_file, small, refused):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    for out in (tmp_path / "out", tmp_path / "out" / "thesis.txt", tmp_path / "out" / "thesis.txt" / "below"):
        assert "--out" in refused("train", "text", text_file, *small, "--epochs", 1, "--out", out)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "thesis.txt"]


def test_an_empty_folder_will_do(tmp_path, text_file, small, gatewise_):
    assert gatewise_("train", "text", text_file, *small, "--epochs", 1, "--out", tmp_path).code == 0
    assert (tmp_path / "summary.json").exists()


def test_runs_without_a_name_get_folders_of_their_own(tmp_path, text_file, small, gatewise_, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in (1, 2):
        assert gatewise_("train", "text", text_file, *small, "--epochs", 1).code == 0
        assert (tmp_path / "runs" / f"words-gru-{n}" / "summary.json").exists()


def test_raced_default_folders_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: Run.create(None, "text-gru").folder, range(200)))
    assert sorted(run.name for run in runs) == sorted(f"text-gru-{n}" for n in range(1, 201))


def test_resuming_a_finished_run(trained, refused):
    assert "finished" in refused("resume", trained)
