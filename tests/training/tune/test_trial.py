"""One trial: which loss is its value, and which runs are left."""

import math
from pathlib import Path

import pytest
from closed_form import RANGES, plan_of  # type: ignore[import-not-found]
from optuna.trial import Trial

from gatewise.training import TRAININGS, Silent, TextSettings
from gatewise.training.fit import LossNotFiniteError
from gatewise.training.tune import trial
from gatewise.training.tune.ledger import Clerk
from gatewise.training.tune.results import best_of, rows_of
from gatewise.training.tune.search import Place
from gatewise.training.tune.trial import Trials, tidy


@pytest.fixture
def came_to(monkeypatch, tmp_path):
    """The value of a training with these held-out losses."""

    def value(losses: list[float], keep: str = "best", diverges: bool = False) -> float:
        asked = []

        def train(training, source, settings, out, watch):
            asked.append(settings)
            for loss in losses:
                watch.on_row(None, {"heldout_loss": loss})
            if diverges:
                raise LossNotFiniteError("the loss became nan")
            training.prepare(source, settings, None, lambda line: None).measure()

        monkeypatch.setattr(trial, "train", train)
        monkeypatch.setattr(TRAININGS["text"], "prepare", lambda *arguments: prepared, raising=False)
        settings = TextSettings(keep=keep, lr=0.5)
        trials = Trials(TRAININGS["text"], None, settings, tmp_path, Silent())
        seen: list[float] = []
        outcome = trials(Place(0, 7, {"lr": 0.125, "hidden": 9}), seen.append)
        assert seen == losses
        assert (asked[0].lr, asked[0].hidden, asked[0].keep) == (0.125, 9, keep)
        return outcome.value

    from gatewise.training.lifecycle import Job

    def measured(*unused) -> dict[str, float]:
        raise AssertionError("the test part was looked at")

    none = {}
    prepared = Job("", none, None, ("", ""), none, [], measured)  # type: ignore[arg-type]
    return value


def test_the_value_is_the_loss_of_the_weights_that_are_kept(came_to):
    assert came_to([3.0, 1.0, 2.0]) == 1.0
    assert came_to([3.0, 1.0, 2.0], keep="last") == 2.0
    assert came_to([math.nan, 2.0, math.inf]) == 2.0


def test_what_comes_to_nothing_is_infinitely_bad(came_to):
    assert came_to([3.0, 1.0], diverges=True) == math.inf
    assert came_to([math.nan]) == math.inf


def test_only_the_best_run_and_those_under_way_are_left(study_of, tmp_path):
    clerk = Clerk(study_of(plan_of("random")), RANGES)
    elsewhere = Clerk(clerk.study, RANGES, "elsewhere/1/1.0")

    def run(by: Clerk, slot: int) -> tuple[Trial, Path]:
        attempt, folder = by.take(by.look(), slot), tmp_path / str(slot)
        assert attempt is not None
        folder.mkdir()
        by.note(attempt, run=str(folder))
        return attempt, folder

    (worse, worse_run), (best, best_run), (under_way, its_run), (failed, failed_run), (lost, lost_run) = (
        run(elsewhere if slot == 4 else clerk, slot) for slot in range(5)
    )
    clerk.complete(worse, 2.0)
    clerk.complete(best, 1.0)
    clerk.fail(failed, "interrupted")
    clerk.fail(lost, "its process died")  # so it seems; but it may live, and write
    ledger = clerk.look()
    tidy(ledger, best_of(rows_of(ledger)), clerk.worker)
    left = {folder for folder in (worse_run, best_run, its_run, failed_run, lost_run) if folder.exists()}
    assert left == {best_run, its_run, lost_run}
    clerk.complete(under_way, 0.5)
    ledger = clerk.look()
    tidy(ledger, best_of(rows_of(ledger)), clerk.worker)
    assert not best_run.exists()
    assert its_run.exists()
