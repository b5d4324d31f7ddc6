"""A search of a closed form instead of trainings, in this process and in others."""

import multiprocessing
import sys
import time
from pathlib import Path

import pytest
from optuna.storages import InMemoryStorage

sys.path.insert(0, str(Path(__file__).parent))  # for the helper module that stands beside the tests

from closed_form import bowl, plan_of  # type: ignore[import-not-found]

from gatewise.training.tune.plan import join, open_study
from gatewise.training.tune.search import Outcome, search

_PROCESSES = multiprocessing.get_context("fork")  # quickly: nothing is imported anew


@pytest.fixture
def study_of():
    """``study_of(plan)`` opens a study in memory; of one name it is the same."""
    kept: dict[str, InMemoryStorage] = {}
    return lambda plan, name="": join(plan, kept.setdefault(name, InMemoryStorage()), "a study")


def _search(url: str, kind: str, trials: int, seconds: float, log: Path) -> None:
    plan = plan_of(kind)

    def objective(place, look) -> Outcome:
        with log.open("a") as file:
            file.write(f"{multiprocessing.current_process().pid} {place.slot}\n")
        time.sleep(seconds)  # so that two of them meet
        return Outcome(bowl(place.settings))

    search(open_study(plan, url, "a study"), plan, trials, objective)


@pytest.fixture
def start_process():
    """Calls a function in a process of its own."""
    processes = []

    def start(function, *arguments):
        process = _PROCESSES.Process(target=function, args=arguments)
        process.start()
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()


@pytest.fixture
def start_search(start_process, tmp_path):
    """Starts a search of the closed form in a process of its own, which writes its trials into ``log.txt``."""
    return lambda *arguments: start_process(_search, *arguments, tmp_path / "log.txt")
