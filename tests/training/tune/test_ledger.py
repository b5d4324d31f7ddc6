"""Slots are taken once, whoever asks; what a dead process had is free again, with the same settings."""

import math
import os
import signal
import time

import optuna
import pytest
from closed_form import RANGES, plan_of  # type: ignore[import-not-found]
from optuna.trial import TrialState

from gatewise.training.tune import ledger, worker
from gatewise.training.tune.ledger import Clerk, read
from gatewise.training.tune.samplers import sampler_for


@pytest.fixture
def study(study_of):
    return study_of(plan_of("random"))


@pytest.fixture
def clerk(study):
    return Clerk(study, RANGES)


def states(study) -> list[tuple[int, str, str]]:
    """Slot, state and note of every attempt."""
    attempts = study.get_trials(deepcopy=False)
    return [(a.user_attrs["slot"], a.state.name, a.user_attrs.get("note", "")) for a in attempts]


def test_of_two_that_saw_the_same_slot_free_the_first_has_it(study, clerk):
    seen = clerk.look()  # both look before either takes
    other = Clerk(study, RANGES)
    first, second = clerk.take(seen, 0), other.take(seen, 0)
    assert first is not None
    assert second is None
    assert states(study) == [(0, "RUNNING", ""), (0, "FAIL", ledger.LATE)]
    assert clerk.complete(first, 1.5)
    assert other.take(seen, 0) is None  # an old look, at a slot that is done by now
    assert states(study)[2:] == [(0, "FAIL", ledger.LATE)]
    assert [a.value for a in read(study).done.values()] == [1.5]


def test_the_slot_of_a_dead_process_is_tried_again_with_its_settings(study, start_process, tmp_path):
    process = start_process(lambda: (tmp_path / "worker").write_text(worker.this_worker()))
    process.join()
    dead = (tmp_path / "worker").read_text()
    attempt = Clerk(study, RANGES, dead).take(read(study), 0, optuna.samplers.RandomSampler(0))
    assert attempt is not None
    tried = Clerk(study, RANGES, dead).settings(attempt)
    clerk = Clerk(study, RANGES)
    assert 0 in read(study).taken
    seen = clerk.look()
    assert 0 not in seen.taken
    assert states(study) == [(0, "FAIL", ledger.DIED)]
    again = clerk.take(seen, 0, optuna.samplers.RandomSampler(99))  # would draw others
    assert again is not None
    assert clerk.settings(again) == tried
    assert set(tried) == {"lr", "hidden", "dropout"}


def test_a_living_process_keeps_its_slot(study, clerk):
    assert clerk.take(clerk.look(), 0) is not None
    assert Clerk(study, RANGES).look().taken == {0}
    assert states(study) == [(0, "RUNNING", "")]


def test_a_process_on_another_machine_is_dead_once_it_is_silent(study, clerk, monkeypatch):
    now = [0.0]
    clerk._watchman = worker.Watchman(lambda: now[0])
    there = Clerk(study, RANGES, "elsewhere/17/1.0")
    attempt = there.take(read(study), 0)
    assert attempt is not None
    for count in range(5):  # it beats, so it lives, however long it takes
        there.beat(attempt, count)
        assert 0 in clerk.look().taken
        now[0] += worker.SECONDS_OF_SILENCE - 1
    assert 0 in clerk.look().taken
    now[0] += 2
    assert 0 not in clerk.look().taken
    assert states(study) == [(0, "FAIL", ledger.DIED)]
    # It comes back from its long sleep, and its result does not count: the slot may be another's by now.
    assert not there.complete(attempt, 0.1)
    assert not there.fail(attempt, "late")
    assert read(study).done == {}


def test_settings_that_kill_their_process_three_times_are_given_up(study, clerk):
    for _ in range(3):
        doomed = Clerk(study, RANGES, f"{worker.this_worker().rsplit('/', 2)[0]}/999999999/1.0")
        assert doomed.take(clerk.look(), 0) is not None
    seen = clerk.look()
    assert [(a.value, a.user_attrs["note"]) for a in seen.done.values()] == [(math.inf, "its process died 3 times")]
    assert sum(state == "FAIL" for _, state, _ in states(study)) == 2


def test_a_process_is_known_by_more_than_its_number():
    me = worker.this_worker()
    assert not worker.is_dead(me)
    machine, pid, _ = me.rsplit("/", 2)
    assert pid == str(os.getpid())
    assert worker.is_dead(f"{machine}/{pid}/1.0")  # the number is another process's now
    assert not worker.is_dead(f"elsewhere/{pid}/1.0")  # who can tell


def test_a_process_that_was_killed_and_not_fetched_is_dead(start_process, tmp_path):
    def live() -> None:
        (tmp_path / "worker").write_text(worker.this_worker())
        time.sleep(60)

    process = start_process(live)
    while not (tmp_path / "worker").exists() or not (tmp_path / "worker").read_text():
        time.sleep(0.01)
    name = (tmp_path / "worker").read_text()
    assert not worker.is_dead(name)
    os.kill(process.pid, signal.SIGKILL)  # its number is still there, until its parent asks
    end = time.monotonic() + 30
    while not worker.is_dead(name):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_values_are_those_of_whole_generations(study, clerk):
    for slot, value in enumerate((3.0, math.inf, 1.0)):
        attempt = clerk.take(clerk.look(), slot)
        assert attempt is not None
        if slot == 2:
            clerk.prune(attempt, value)
        else:
            clerk.complete(attempt, value)
    seen = clerk.look()
    assert seen.values(range(3)) == [3.0, math.inf, 1.0]
    assert seen.values(range(4)) is None
    assert [a.state for a in seen.done.values()] == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED]


def test_of_two_that_finished_a_slot_the_first_counts(study, clerk):
    """It cannot be, and if it is, everybody sees the same."""
    for value in (2.0, 1.0):
        done = {"state": TrialState.COMPLETE, "value": value, "user_attrs": {"slot": 0, "worker": "elsewhere/1/1.0"}}
        study.add_trial(optuna.create_trial(**done))
    assert clerk.look().values(range(1)) == [2.0]


def test_random_slots_have_numbers_of_their_own():
    """Whatever came before, slot 5 has the same settings, and others than slot 6."""

    def drawn(slot: int, before: int) -> dict[str, float]:
        study = optuna.create_study()
        clerk = Clerk(study, RANGES)
        for done in range(before):
            attempt = clerk.take(clerk.look(), 100 + done)
            assert attempt is not None
            clerk.complete(attempt, 0.0)
        attempt = clerk.take(clerk.look(), slot, sampler_for("random", RANGES, 0, 3, slot))
        assert attempt is not None
        return clerk.settings(attempt)

    assert drawn(5, 3) == drawn(5, 0)
    assert drawn(6, 0) != drawn(5, 0)
