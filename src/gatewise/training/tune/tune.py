"""A search from end to end: what is looked for, in which study, and what is left of it in the folder."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomlkit

from gatewise.errors import UserError
from gatewise.training.checkpoint import write_text
from gatewise.training.lifecycle import Training
from gatewise.training.settings import NetworkSettings
from gatewise.training.signals import Interrupted
from gatewise.training.tune.extra import need
from gatewise.training.tune.keeper import Audience, Found, Keeper, Wish
from gatewise.training.tune.outset import set_out
from gatewise.training.tune.plan import Plan, check_search, open_study, study_file
from gatewise.training.tune.ranges import Range
from gatewise.training.tune.search import search
from gatewise.training.tune.storage import check_url
from gatewise.training.tune.trial import Trials


class SearchInterrupted(Interrupted):
    """Ctrl-C or SIGTERM in a search: the trials that are done are in the study."""

    def __init__(self, signum: int, folder: Path) -> None:
        Exception.__init__(
            self,
            f"stopped; the trials that are done are kept, and the same command goes on with the search in {folder}",
        )
        self.exit_code = 128 + signum


def tune(
    training: Training, source: Any, settings: NetworkSettings, wish: Wish, folder: Path | None = None,
    audience: Audience | None = None,
) -> Found:  # fmt: skip
    """Look for the settings with which a training comes to the smallest loss on what is held out.

    Args:
        training: of the task.
        source: of the data.
        settings: of every trial, but for those that are looked for; the same budget and seed for each.
        wish: what is looked for, and how.
        folder: of the search (default: ``runs/NAME-tune``): the study, a table, the best run, its recipe. One that
            holds the same search already is gone on with.
        audience: is told of it.

    Raises:
        UserError: nothing is held out, the data or the storage cannot be used, the study wants something else.
        SearchInterrupted: Ctrl-C or SIGTERM; the same call goes on.
    """
    audience = audience or Audience()
    _check(wish, settings)
    say = audience.watch.report.say
    outset = set_out(training, source, settings, wish.looked, say)
    settings, ranges = outset.settings, outset.ranges
    plan = Plan(
        training.name, wish.search, ranges, settings.seed, wish.particles if wish.search == "pso" else 0,
        wish.search != "pso" if wish.prune is None else wish.prune, _fixed(settings, ranges), outset.data,
    )  # fmt: skip
    folder = folder or Path("runs") / f"{outset.name}-tune"
    text = _check_folder(folder, plan)
    study = open_study(plan, wish.storage or str(study_file(folder)), wish.study or f"{plan.task} {outset.name}")
    _write_plan(folder, text)
    if plan.particles:
        from gatewise.training.tune.samplers import SwarmSampler, check_swarm

        check_swarm(study, SwarmSampler(ranges, plan.particles, plan.seed))
    for r in ranges:
        say(f"looking for {r}")
    trials = Trials(training, source, settings, folder, audience.watch.report)
    keeper = Keeper(study, plan, wish, settings, trials, audience)
    try:
        ledger = search(study, plan, wish.trials, trials, settings.evaluations, keeper.onlooker())
        return keeper.finish(ledger)
    except (Interrupted, KeyboardInterrupt) as stopped:
        signum = getattr(stopped, "exit_code", 128 + signal.SIGINT) - 128
        raise SearchInterrupted(signum, folder) from None
    finally:
        keeper.tidy()


def _check(wish: Wish, settings: NetworkSettings) -> None:
    """Refuse what can be seen to be wrong before anything is read or written."""
    check_search(wish.search, wish.particles)
    for library in ("optuna", *(["pymoo"] if wish.search == "pso" else [])):
        need(library)
    if wish.trials < 1:
        raise UserError(f"--trials {wish.trials}: want 1 at least")
    if wish.storage:
        check_url(wish.storage)
    remedy = settings.to_hold_out()
    if remedy:
        raise UserError(f"nothing is held out to choose by; {remedy}")


def _fixed(settings: NetworkSettings, ranges: Sequence[Range]) -> dict[str, Any]:
    names = [r.name for r in ranges]
    return {name: value for name, value in asdict(settings).items() if name not in names}


def _check_folder(folder: Path, plan: Plan) -> str:
    """Refuse a folder that something else lies in; what is to be written there for the reader."""
    document = tomlkit.document()
    document.add(tomlkit.comment("What is searched. `gatewise tune` with the same options goes on with it."))
    document.update(plan.to_config())
    text = tomlkit.dumps(document)
    file = folder / "search.toml"
    try:
        there = file.read_text(encoding="utf-8") if file.exists() else text
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}; choose another --out") from None
    # A folder with a study of its own is compared with that, part by part.
    if there != text and not study_file(folder).exists():
        raise UserError(f"{folder}: holds another search; choose another --out")
    if (folder / "config.toml").exists():
        raise UserError(f"{folder}: holds a run; choose another --out")
    return text


def _write_plan(folder: Path, text: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}; choose another --out") from None
    if not (folder / "search.toml").exists():
        write_text(folder / "search.toml", text)
