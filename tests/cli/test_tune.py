"""``gatewise tune``: the search of real trainings, its files, its recipe, bad input."""

import csv
import json
import math
import os
import shlex
import shutil
import signal
import tomllib
from pathlib import Path

import pytest

from gatewise.training.tune.trial import Trials

SMALL = ("--batch", 4, "--steps", 8, "--threads", 1, "--engine", "torch")
RANGES = ("--only", "lr,hidden", "--range", "lr=0.003:0.3", "--range", "hidden=4:16")


@pytest.fixture(scope="module")
def tuned(gatewise_, text_file, tmp_path_factory):
    """A search that is done; not to be changed."""
    folder = tmp_path_factory.mktemp("tuned") / "search"
    command = ("tune", "text", text_file, *SMALL, *RANGES, "--epochs", 1, "--particles", 3, "--trials", 5, "--json")
    answer = gatewise_(*command, "--out", folder)
    assert answer.code == 0, answer
    return answer, folder


def table(folder) -> list[dict[str, str]]:
    with (folder / "study.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tried(folder) -> list[tuple[str, ...]]:
    """Everything of the table but how long it took."""
    return [tuple(row[c] for c in ("trial", "value", "state", "lr", "hidden")) for row in table(folder)]


def next_command(answer) -> list[str]:
    """What it says to call next, without the program's name."""
    (line,) = (line for line in answer.out.splitlines() if line.startswith("next "))
    words = shlex.split(line)
    return words[words.index("train") :]


def test_every_trial_has_a_line_a_row_and_a_place_in_the_json(tuned):
    answer, folder = tuned
    told = json.loads(answer.out.splitlines()[-1])
    rows = table(folder)
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4", "5"]
    values = [float(row["value"]) for row in rows]
    assert [trial["value"] for trial in told["trials"]] == values
    best = values.index(min(values))
    assert told["best"]["trial"] == best + 1
    assert answer.out.splitlines()[1].split()[0] == str(best + 1)  # the table begins with it
    lines = [line for line in answer.err.splitlines() if line.startswith("trial ")]
    assert len(lines) == 5
    for place, line in enumerate(lines):
        assert line.startswith(f"trial {place + 1} of 5  {values[place]:.5g}  lr ")
        assert f"best {min(values[: place + 1]):.5g}" in line
        assert ("left" in line) == (place < 4)
    for row in rows:
        assert 0.003 <= float(row["lr"]) <= 0.3
        assert 4 <= int(row["hidden"]) <= 16
        assert row["state"] == "complete"


def test_the_best_run_is_kept_and_measured_and_no_other(tuned):
    answer, folder = tuned
    told = json.loads(answer.out.splitlines()[-1])
    (run,) = (path for path in folder.iterdir() if path.is_dir())
    assert str(run) == told["run"] == told["best"]["run"]
    metrics = list(csv.DictReader((run / "metrics.csv").open(newline="")))
    assert min(float(row["heldout_loss"]) for row in metrics) == told["best"]["value"]
    assert json.loads((run / "summary.json").read_text())["heldout_loss"] is not None
    assert (run / "curve.svg").exists()
    assert (folder / "study.svg").exists()
    assert (folder / "study.png").read_bytes().startswith(b"\x89PNG")


def test_train_takes_the_recipe_and_comes_to_the_same(tuned, gatewise_, text_file, tmp_path):
    answer, folder = tuned
    told = json.loads(answer.out.splitlines()[-1])
    recipe = tomllib.loads((folder / "best.toml").read_text())
    assert recipe["settings"]["lr"] == told["best"]["settings"]["lr"]
    assert recipe["settings"]["epochs"] == 1
    run = tmp_path / "run"
    trained = gatewise_(*next_command(answer), "--threads", 1, "--out", run)
    assert trained.code == 0, trained
    there, here = (json.loads((f / "summary.json").read_text()) for f in (run, folder / told["run"]))
    assert there["heldout_loss"] == here["heldout_loss"]
    again = gatewise_(
        "train", "text", text_file, "--recipe", folder / "best.toml", "--hidden", 5, "--threads", 1,
        "--out", tmp_path / "other",
    )  # fmt: skip
    assert again.code == 0, again
    settings = tomllib.loads((tmp_path / "other" / "config.toml").read_text())["settings"]
    assert (settings["hidden"], settings["lr"]) == (5, told["best"]["settings"]["lr"])


def test_the_command_to_call_next_names_all_of_the_data(gatewise_, tmp_path):
    """With the part to test on, which is no setting and stands in no recipe."""
    for name, level in (("learn", 0), ("to test", 1)):
        rows = [f"{level + n},{n + 1},{n}:{'ab'[n % 2]}" for n in range(8)]
        (tmp_path / f"{name}.ts").write_text("\n".join(["@classLabel true a b", "@data", *rows]))
    answer = gatewise_(
        "tune", "classify", tmp_path / "learn.ts", "--test", tmp_path / "to test.ts", "--hidden", 3, "--members", 1,
        "--baselines", "none", "--only", "lr", "--trials", 1, "--epochs", 1, "--threads", 1, "--engine", "eager",
        "--out", tmp_path / "search",
    )  # fmt: skip
    assert answer.code == 0, answer
    assert next_command(answer) == [
        "train", "classify", str(tmp_path / "learn.ts"), "--test", str(tmp_path / "to test.ts"), "--recipe",
        str(tmp_path / "search" / "best.toml"),
    ]  # fmt: skip


def test_the_same_command_again_trains_nothing_and_more_trials_go_on(tuned, gatewise_, text_file, tmp_path):
    folder = Path(shutil.copytree(tuned[1], tmp_path / "search"))  # others look at that one, before or after
    before = table(folder)
    command = ("tune", "text", text_file, *SMALL, *RANGES, "--epochs", 1, "--particles", 3, "--out", folder)
    again = gatewise_(*command, "--trials", 5)
    assert again.code == 0, again
    assert "this search ends there" not in again.out
    assert again.out.endswith("for as long as a trial, 1 epochs; --minutes gives it longer\n")
    assert "5 of 5 trials are done already" in again.err
    assert not [line for line in again.err.splitlines() if line.startswith("trial ")]
    assert table(folder) == before
    more = gatewise_(*command, "--trials", 6)
    assert more.code == 0, more
    assert table(folder)[:5] == before
    assert len([line for line in more.err.splitlines() if line.startswith("trial ")]) == 1
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 1


def test_stopped_in_a_trial_it_goes_on_as_if_it_had_not_been(tuned, gatewise_, text_file, tmp_path, monkeypatch):
    command = ("tune", "text", text_file, *SMALL, *RANGES, "--epochs", 1, "--particles", 3, "--trials", 5)
    real = Trials.__call__

    def stopped(self, place, look):
        def look_and_stop(value: float) -> None:
            if place.slot == 2:
                os.kill(os.getpid(), signal.SIGINT)
            look(value)

        return real(self, place, look_and_stop)

    with monkeypatch.context() as patch:
        patch.setattr(Trials, "__call__", stopped)
        answer = gatewise_(*command, "--out", tmp_path / "search")
    assert answer.code == 130
    assert answer.err.splitlines()[-1].startswith("gatewise: stopped; the trials that are done are kept")
    assert [row["trial"] for row in table(tmp_path / "search")] == ["1", "2"]
    assert len([path for path in (tmp_path / "search").iterdir() if path.is_dir()]) == 1  # the best so far
    assert gatewise_(*command, "--out", tmp_path / "search").code == 0
    assert tried(tmp_path / "search") == tried(tuned[1])[:5]


@pytest.mark.slow
def test_killed_in_a_trial_it_goes_on_as_if_it_had_not_been(tuned, start, gatewise_, text_file, tmp_path):
    command = ("tune", "text", text_file, *SMALL, *RANGES, "--epochs", 1, "--particles", 3, "--trials", 5)
    folder = tmp_path / "search"
    for seen in (1, 3):
        process = start(*command, "--out", folder)
        for line in process.stderr:
            if line.startswith(f"trial {seen} of 5"):
                process.kill()
                break
        process.wait()
    assert gatewise_(*command, "--out", folder).code == 0
    assert tried(folder) == tried(tuned[1])[:5]
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 1


def test_diverging_trials_are_told_and_the_search_goes_on(gatewise_, text_file, tmp_path):
    wild = ("--only", "lr", "--range", "lr=1e35:1e37", "--clip", 0)
    answer = gatewise_(
        "tune", "text", text_file, *SMALL, *wild, "--epochs", 1, "--search", "random", "--trials", 2, "--json",
        "--out", tmp_path / "search",
    )  # fmt: skip
    assert answer.code == 0, answer
    told = json.loads(answer.out.splitlines()[-1])
    assert [trial["state"] for trial in told["trials"]] == ["diverged", "diverged"]
    assert [trial["value"] for trial in told["trials"]] == [None, None]
    assert told["best"] is told["recipe"] is told["run"] is None
    assert "every trial was pruned or diverged" in answer.out
    assert [math.isinf(float(row["value"])) for row in table(tmp_path / "search")] == [True, True]
    assert not (tmp_path / "search" / "best.toml").exists()
    assert not [path for path in (tmp_path / "search").iterdir() if path.is_dir()]


def test_ranges_are_shown_and_nothing_is_done(gatewise_, text_file, tmp_path):
    answer = gatewise_("tune", "text", text_file, "--show-ranges", "--hidden", 64, "--out", tmp_path / "search")
    assert answer.code == 0, answer
    shown = answer.out.splitlines()
    assert shown[0] == "lr 0.0001 to 0.03, log"
    assert [line.split()[0] for line in shown] == ["lr", "layers", "weight_decay", "dropout", "steps"]
    assert not (tmp_path / "search").exists()


def test_a_default_reach_ends_where_the_data_end_and_one_that_was_given_is_refused(gatewise_, refused, tmp_path):
    short, recipe = tmp_path / "short.txt", tmp_path / "long.toml"
    short.write_text("abcdefgh" * 20)  # 144 characters to learn from
    recipe.write_text('format = 1\ntask = "text"\n[settings]\nsteps = 96\n')
    command = ("tune", "text", short, "--recipe", recipe, "--batch", 2, "--only", "steps", "--show-ranges")
    answer = gatewise_(*command)
    assert answer.code == 0, answer
    name, low, _, high, _ = answer.out.split()
    assert (name, low) == ("steps", "24")
    assert int(high.rstrip(",")) == 143  # and one that comes next
    assert "steps" in gatewise_(*command, "--range", "steps=24:192").err.splitlines()[-1]


def test_forecasts_are_tuned_with_what_the_data_decide(gatewise_, tmp_path):
    """The steps looked back on are around two seasons, and anchor and standardising are the same for all trials."""
    months = [f"{1950 + m // 12}-{m % 12 + 1:02}" for m in range(120)]
    table_file = tmp_path / "sales.csv"
    values = [100 + m + 30 * math.sin(math.pi * m / 6) + m * m % 7 for m in range(120)]
    table_file.write_text("month,sales\n" + "\n".join(f"{m},{v:.2f}" for m, v in zip(months, values, strict=True)))
    command = ("tune", "forecast", table_file, "--threads", 1, "--engine", "torch")
    answer = gatewise_(*command, "--anchor", "seasonal", "--normalise", "off", "--show-ranges")
    assert answer.code == 0, answer
    shown = {line.split()[0]: line for line in answer.out.splitlines()}
    assert list(shown) == ["lr", "hidden", "layers", "weight_decay", "dropout", "lookback"]
    assert shown["lookback"] == "lookback 12 to 48, log"  # no less than the season, where a forecast begins from it
    options = ("--only", "lookback,lr", "--search", "random", "--epochs", 3, "--hidden", 4, "--trials", 2, "--json")
    answer = gatewise_(*command, *options, "--out", tmp_path / "search")
    assert answer.code == 0, answer
    swarm = ("--only", "lookback,lr", "--search", "pso", "--epochs", 1, "--hidden", 4, "--trials", 2)
    few = gatewise_(*command, *swarm, "--out", tmp_path / "swarm")
    assert "note: a swarm of 6 begins at random, and this search ends there" in few.out
    told = json.loads(answer.out.splitlines()[-1])
    recipe = tomllib.loads((tmp_path / "search" / "best.toml").read_text())["settings"]
    assert recipe["lookback"] == told["best"]["settings"]["lookback"]
    assert {"anchor", "normalise"} <= set(recipe)
    summary = json.loads((tmp_path / "search" / told["run"] / "summary.json").read_text())
    assert summary["test"]["standardised"]["mean"]["mse"] > 0
    plan = tomllib.loads((tmp_path / "search" / "search.toml").read_text())
    assert plan["settings"]["anchor"] == recipe["anchor"] != "auto"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", 0], "--trials 0: want 1 at least"),
        (["--search", "psoo"], "did you mean 'pso'"),
        (["--range", "lrr=0.1:1"], "did you mean 'lr'"),
        (["--range", "lr=0.3:0.1"], "the smaller end first"),
        (["--lr", 0.1, "--range", "lr=0.1:1"], "a value and a range"),
        (["--particles", 2], "a swarm has 3 at least"),
        (["--heldout", 0], "nothing is held out to choose by"),
        (["--storage", "study.txt"], "want a file that ends in .db"),
        (["--recipe", "none.toml"], "no such file"),
        (["--recipe", "d3l"], "did you mean 'd2l'"),
    ],
)
def test_bad_input(refused, text_file, tmp_path, options, message):
    assert message in refused("tune", "text", text_file, *options, "--out", tmp_path / "search")
    assert not (tmp_path / "search").exists()


def test_a_folder_of_something_else_is_refused(tuned, refused, text_file, trained, tmp_path):
    _, folder = tuned
    command = ("tune", "text", text_file, *SMALL, *RANGES, "--particles", 3, "--trials", 5)
    assert "with --epochs 1 where 2 is wanted" in refused(*command, "--epochs", 2, "--out", folder)
    assert "holds a run" in refused(*command, "--epochs", 1, "--out", trained)
    other = tmp_path / "other.txt"
    other.write_text(text_file.read_text().upper())
    others = ("tune", "text", other, *command[3:], "--epochs", 1, "--study", "text words")
    assert "with data (sha256)" in refused(*others, "--out", folder)


@pytest.mark.parametrize("library", ["optuna", "pymoo"])
def test_without_the_extra_one_line_says_what_to_install(refused, text_file, tmp_path, monkeypatch, library):
    import importlib

    real = importlib.import_module

    def without(name: str, *more):
        if name.split(".")[0] == library:
            raise ModuleNotFoundError(f"No module named '{library}'")
        return real(name, *more)

    monkeypatch.setattr("importlib.import_module", without)
    told = refused("tune", "text", text_file, *SMALL, *RANGES, "--epochs", 1, "--out", tmp_path / "search")
    assert f"{library} is not installed; run: pip install 'gatewise[tune]'" in told
    assert not (tmp_path / "search").exists()


def test_every_training_can_be_tuned(gatewise_):
    from gatewise.training import TRAININGS

    answer = gatewise_("tune", "--help")
    for task in TRAININGS:
        assert task in answer.out
        assert "--search" in gatewise_("tune", task, "--help").out
