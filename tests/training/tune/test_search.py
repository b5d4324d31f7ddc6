"""The search in one process and in several: none lost, none doubled, the same swarm after a kill."""

import math
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from closed_form import RANGES, bowl, plan_of  # type: ignore[import-not-found]

from gatewise.errors import UserError
from gatewise.training.signals import Interrupted
from gatewise.training.tune.ledger import DIED, read
from gatewise.training.tune.plan import open_study
from gatewise.training.tune.ranges import Range
from gatewise.training.tune.results import best_of, rows_of
from gatewise.training.tune.samplers import SwarmSampler, check_swarm
from gatewise.training.tune.search import Onlooker, Outcome, search
from gatewise.training.tune.storage import open_storage


def simply(place, look) -> Outcome:
    return Outcome(bowl(place.settings))


def tried(ledger) -> list[dict[str, float]]:
    """What the slots had, in order."""
    return [row.settings for row in rows_of(ledger)]


@pytest.mark.parametrize("kind", ["pso", "tpe", "random"])
def test_so_many_trials_are_done_and_a_later_call_adds_the_rest(study_of, kind):
    plan = plan_of(kind)
    calls = Counter()

    def objective(place, look):
        calls[place.slot] += 1
        return simply(place, look)

    study = study_of(plan)
    assert sorted(search(study, plan, 6, objective).done) == list(range(6))
    ledger = search(study, plan, 10, objective)
    assert sorted(ledger.done) == list(range(10))
    assert calls == Counter(range(10))
    assert [row.value for row in rows_of(ledger)] == [bowl(settings) for settings in tried(ledger)]
    assert search(study, plan, 3, objective).done.keys() == ledger.done.keys()
    assert calls == Counter(range(10))
    whole = search(study_of(plan, "other"), plan, 10, simply)
    assert tried(whole) == tried(ledger)


def test_pso_finds_more_than_random_search_with_as_many_trials(study_of):
    def best(kind: str, seed: int) -> float:
        plan = replace(plan_of(kind), seed=seed, particles=6 if kind == "pso" else 0)
        found = best_of(rows_of(search(study_of(plan, f"{kind}{seed}"), plan, 30, simply)))
        assert found is not None
        return math.log(found.value)

    gained = [best("random", seed) - best("pso", seed) for seed in range(3)]
    assert sum(gained) / 3 > 0.5
    assert sum(g > 0 for g in gained) >= 2


def test_tpe_learns_from_what_was_found(study_of):
    """Its first ten trials are drawn at random; those that come then lie nearer the best."""
    gained = []
    for seed in range(3):
        plans = {kind: replace(plan_of(kind), seed=seed) for kind in ("tpe", "random")}
        rows = {
            kind: rows_of(search(study_of(plan, f"{kind}{seed}"), plan, 30, simply)) for kind, plan in plans.items()
        }
        values = {kind: [row.value for row in found] for kind, found in rows.items()}
        assert values["tpe"][:10] == values["random"][:10]
        gained.append(sum(map(math.log, values["random"][15:])) - sum(map(math.log, values["tpe"][15:])))
    assert all(g > 0 for g in gained)
    assert sum(gained) / 3 / 15 > 0.5


def test_an_interrupted_trial_is_tried_again(study_of):
    plan = plan_of("pso")
    stops = iter([2, 5, 5])
    stop = [next(stops)]

    def objective(place, look):
        if place.slot == stop[0]:
            stop[0] = next(stops, -1)
            raise Interrupted.__new__(Interrupted) if place.slot == 2 else KeyboardInterrupt
        return simply(place, look)

    study = study_of(plan)
    for kind in (Interrupted, KeyboardInterrupt, KeyboardInterrupt):
        with pytest.raises(kind):
            search(study, plan, 9, objective)
    ledger = search(study, plan, 9, objective)
    assert [a.user_attrs["slot"] for a in ledger.attempts if a.state.name == "FAIL"] == [2, 5, 5]
    assert tried(ledger) == tried(search(study_of(plan, "other"), plan, 9, simply))


def test_a_users_mistake_names_the_trial_and_stops_the_search(study_of):
    plan = plan_of("random")

    def objective(place, look):
        if place.slot == 1:
            raise UserError("the disk is full")
        return simply(place, look)

    study = study_of(plan)
    with pytest.raises(UserError, match=r"trial 2 \(lr .*hidden .*dropout .*\): the disk is full"):
        search(study, plan, 4, objective)
    with pytest.raises(ZeroDivisionError):
        search(study, plan, 4, lambda place, look: Outcome(1 / 0))
    assert len(search(study, plan, 4, simply).done) == 4


def test_diverged_trials_count_and_are_never_the_best(study_of):
    plan = plan_of("pso")

    def objective(place, look):
        return Outcome(math.nan if place.slot % 2 else -1.0 - place.slot if place.slot == 2 else math.inf)

    rows = rows_of(search(study_of(plan), plan, 9, objective))
    assert [row.state for row in rows] == ["diverged", "diverged", "complete", *["diverged"] * 6]
    best = best_of(rows)
    assert best is not None
    assert (best.trial, best.value) == (3, -3.0)
    assert best_of(rows[3:]) is None


@pytest.mark.parametrize("kind", ["random", "pso"])
def test_hopeless_trials_are_stopped_and_their_last_value_stands(study_of, kind):
    """From the sixth on, a trial above the median of those before, at the same look, is stopped."""
    plan, looks = plan_of(kind, prune=True), 8
    seen: dict[int, list[float]] = {}

    def objective(place, look):
        for count in range(looks):
            loss = 10.0 + count if place.slot in (6, 8) else 1 + 0.01 * place.slot + 1 / (count + 1)
            seen.setdefault(place.slot, []).append(loss)
            look(loss)
        return Outcome(min(seen[place.slot]))

    rows = rows_of(search(study_of(plan), plan, 9, objective, looks))
    pruned = [row.trial - 1 for row in rows if row.state == "pruned"]
    assert {6, 8} <= set(pruned)
    assert set(range(5)).isdisjoint(pruned)
    for slot in (6, 8):
        # A quarter of the looks are free: the third is the first to be weighed.
        assert len(seen[slot]) == 3
        assert rows[slot].value == seen[slot][-1] == 12
    best = best_of(rows)
    assert best is not None
    assert best.trial == 1
    unpruned = plan_of(kind)
    rows = rows_of(search(study_of(unpruned, "other"), unpruned, 9, objective, looks))
    assert {row.state for row in rows} == {"complete"}


def test_the_last_look_prunes_nothing(study_of):
    plan = plan_of("random", prune=True)

    def objective(place, look):
        for value in (20.0, 20.0, 20.0, 1.0 + place.slot):
            look(value)
        return Outcome(1.0 + place.slot)

    assert {row.state for row in rows_of(search(study_of(plan), plan, 9, objective, 4))} == {"complete"}


def test_a_trial_that_was_taken_away_is_dropped(study_of):
    """Its process slept so long that it was held for dead."""
    plan = plan_of("random")
    study = study_of(plan)
    calls = Counter()

    def objective(place, look):
        calls[place.slot] += 1
        if place.slot == 1 and calls[1] == 1:
            study._storage.set_trial_state_values(study.get_trials()[-1]._trial_id, optuna.trial.TrialState.FAIL)
            look(0.5)
            raise AssertionError("a look tells that it is over")
        return simply(place, look)

    ledger = search(study, plan, 3, objective, 2)
    assert calls == Counter({0: 1, 1: 2, 2: 1})
    assert sorted(ledger.done) == [0, 1, 2]


def test_the_onlooker_is_told_once_of_every_trial(study_of):
    plan = plan_of("tpe")
    counts, begun = [], []

    def on_begun(place):
        begun.append(place.slot)
        return {"run": f"run {place.slot}"}

    onlooker = Onlooker(on_begun, lambda ledger: counts.append(len(ledger.done)))
    ledger = search(study_of(plan), plan, 3, simply, 0, onlooker)
    assert begun == [0, 1, 2]
    assert counts == [0, 1, 2, 3]
    assert [row.run for row in rows_of(ledger)] == ["run 0", "run 1", "run 2"]
    assert all(row.seconds >= 0 for row in rows_of(ledger))


def test_another_pymoo_is_noticed(study_of, monkeypatch):
    plan = plan_of("pso")
    study = study_of(plan)
    sampler = SwarmSampler(RANGES, 4, 3)
    search(study, plan, 7, simply)
    check_swarm(study, sampler)
    monkeypatch.setattr("gatewise.training.tune.swarm.LARGEST_STEP", 0.19)
    with pytest.raises(UserError, match=r"trial [567] .*another version of pymoo"):
        check_swarm(study, sampler)


def begun(log: Path) -> list[int]:
    """The slots that were tried, by all processes."""
    return [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []


def wait_for(log: Path, count: int) -> None:
    end = time.monotonic() + 240
    while len(begun(log)) < count:
        assert time.monotonic() < end, begun(log)
        time.sleep(0.02)


@pytest.mark.parametrize(("kind", "file"), [("pso", "study.db"), ("pso", "study.journal"), ("random", "study.db")])
def test_processes_share_a_search_and_one_is_killed(study_of, start_search, tmp_path, kind, file):
    """Two begin at the same moment, one is killed in a trial, a third comes. None is lost, none is done twice."""
    trials, log = 12, tmp_path / "log.txt"
    one, two = (start_search(str(tmp_path / file), kind, trials, 0.1) for _ in range(2))
    wait_for(log, 6)
    one.kill()
    three = start_search(str(tmp_path / file), kind, trials, 0.1)
    for process in (two, three):
        process.join(240)  # on a machine that is busy with other things
        assert process.exitcode == 0
    plan = plan_of(kind)
    ledger = read(open_study(plan, str(tmp_path / file), "a study"))
    complete = [a.user_attrs["slot"] for a in ledger.attempts if a.state.name == "COMPLETE"]
    assert sorted(complete) == list(range(trials))
    again = [a.user_attrs["slot"] for a in ledger.attempts if a.user_attrs.get("note") == DIED]
    assert len(again) <= 1  # it may have been killed between two trials
    tries = Counter(begun(log))
    assert set(tries) == set(range(trials))
    assert [slot for slot, count in tries.items() if count > 1] in ([], again)
    assert len({line.split()[0] for line in log.read_text().splitlines()}) >= 2
    # Undisturbed, in one process, the search is the same to the last bit.
    alone = search(study_of(plan), plan, trials, simply)
    assert [sorted(s.items()) for s in tried(alone)] == [sorted(s.items()) for s in tried(ledger)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "forecast"}, "task text where forecast is wanted"),
        ({"search": "tpe", "particles": 0}, "--search pso where tpe"),
        ({"seed": 4}, "--seed 3 where 4"),
        ({"particles": 5}, "--particles 4 where 5"),
        ({"prune": True}, "--prune False where True"),
        ({"ranges": (*RANGES[:2], Range("dropout", 0.0, 0.4))}, "--range dropout 0:0.5:linear where 0:0.4:linear"),
        ({"ranges": RANGES[:2]}, "--range dropout 0:0.5:linear where nothing"),
        ({"settings": {"epochs": 3}}, "--epochs nothing where 3"),
        ({"data": {"sha256": "ab"}}, r"data \(sha256\) nothing where ab"),
    ],
)
def test_a_study_of_something_else_is_refused(study_of, change, message):
    study_of(plan_of("pso"))
    with pytest.raises(UserError, match=message):
        study_of(replace(plan_of("pso"), **change))
    study_of(replace(plan_of("pso"), settings={"threads": 2}, data={"path": "/elsewhere"}))


def test_what_one_process_reads_before_it_writes_no_other_changes_meanwhile(tmp_path):
    """SQLite by itself would let another in between the reading and the writing."""
    storage = open_storage(str(tmp_path / "study.db"))
    other = sqlite3.connect(tmp_path / "study.db", timeout=0)
    with storage.engine.begin() as reading:  # type: ignore[attr-defined]
        reading.exec_driver_sql("SELECT * FROM trials").all()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("DELETE FROM trials")
    other.execute("DELETE FROM trials")
    other.close()


def test_storages_that_cannot_be_used(tmp_path):
    def opened(url: object) -> None:
        open_study(plan_of("tpe"), str(url), "a study")

    theirs = optuna.create_study(storage=f"sqlite:///{tmp_path / 'theirs.db'}", study_name="a study")
    theirs.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(UserError, match="somebody else's"):
        opened(tmp_path / "theirs.db")
    (tmp_path / "text.db").write_text("this is no database, but a text that is long enough to be looked at" * 10)
    with pytest.raises(UserError, match=r"text\.db: .*not a database"):
        opened(tmp_path / "text.db")
    (tmp_path / "file").write_text("")
    for name in ("study.db", "study.journal"):
        with pytest.raises(UserError, match="cannot be written"):
            opened(tmp_path / "file" / name)
    wrong = {"study.txt": "ends in .db", "a b://x": "not a database's URL", "nix://u:geheim@h/n": "no driver"}
    for url, message in wrong.items():
        with pytest.raises(UserError, match=message) as refused:
            opened(url)
        assert "geheim" not in str(refused.value)
