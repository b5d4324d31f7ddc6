"""What decides a search: whoever joins it must want the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewise.errors import UserError, nearest
from gatewise.training.tune.extra import need
from gatewise.training.tune.ranges import Range
from gatewise.training.tune.storage import open_storage

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage

SEARCHES = ("pso", "tpe", "random")
FORMAT = 1
_PLAN = "gatewise"


@dataclass(frozen=True)
class Plan:
    """What a study is of.

    Attributes:
        task: what is trained.
        search: ``pso``, ``tpe`` or ``random``.
        ranges: what is looked for, and where.
        seed: of the search.
        particles: of the swarm; 0 without one.
        prune: whether hopeless trials are stopped early.
        settings: those that all trials share.
        data: what the data are, as a run's ``config.toml`` records it.
    """

    task: str
    search: str
    ranges: Sequence[Range]
    seed: int = 0
    particles: int = 0
    prune: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_search(self.search, self.particles)

    def to_config(self) -> dict[str, Any]:
        """What tells one search from another, as plain types. Where the data lie and how many threads there are may
        differ from machine to machine."""
        return {
            "format": FORMAT,
            "task": self.task,
            "search": self.search,
            "ranges": {r.name: r.to_config() for r in self.ranges},
            "seed": self.seed,
            "particles": self.particles,
            "prune": self.prune,
            "settings": {name: value for name, value in self.settings.items() if name != "threads"},
            "data": {name: value for name, value in self.data.items() if name != "path"},
        }


def check_search(search: str, particles: int) -> None:
    """Raise if there is no such search, or not one of so many particles."""
    if search not in SEARCHES:
        raise UserError(f"--search {search}: {nearest(search, SEARCHES)}")
    if search == "pso" and particles < 3:
        raise UserError(f"--particles {particles}: a swarm has 3 at least")


def open_study(plan: Plan, url: str, name: str) -> Study:
    """The study of this name in a storage, begun if it is not there yet.

    Raises:
        UserError: the storage cannot be used, or holds a study of this name that wants something else.
    """
    return join(plan, open_storage(url), name)


def join(plan: Plan, storage: BaseStorage, name: str) -> Study:
    """As :func:`open_study`, in a storage that is open."""
    optuna = need("optuna")
    config = json.loads(json.dumps(plan.to_config()))
    study = optuna.create_study(
        storage=storage, study_name=name, load_if_exists=True, pruner=optuna.pruners.NopPruner()
    )
    recorded = study.user_attrs.get(_PLAN)
    if recorded is None:
        if study.get_trials(deepcopy=False):
            raise UserError(f"--study {name}: is a study of somebody else's in that storage; choose another --study")
        study.set_user_attr(_PLAN, config)
        recorded = study.user_attrs[_PLAN]  # of two that begin it at the same time, the other's perhaps
    _compare(recorded, config, name)
    return study


def _compare(recorded: Mapping[str, Any], wanted: Mapping[str, Any], name: str) -> None:
    if recorded.get("format", FORMAT + 1) > FORMAT:
        raise UserError(f"the study '{name}' was begun by a newer gatewise; run: pip install --upgrade gatewise")
    for part in wanted:
        there, here = recorded.get(part), wanted[part]
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            key = next(key for key in {**there, **here} if there.get(key) != here.get(key))
            there, here = there.get(key), here.get(key)
            part = {"settings": "--" + key.replace("_", "-"), "ranges": f"--range {key}", "data": f"data ({key})"}[part]
        elif part in ("search", "seed", "particles", "prune"):
            part = f"--{part}"
        raise UserError(
            f"the study '{name}' is there already, with {part} {_said(there)} where {_said(here)} is wanted now; "
            "go on with what it was begun with, or choose another --out (with --storage, another --study)"
        )


def _said(value: Any) -> str:
    if isinstance(value, dict) and "low" in value:
        return f"{value['low']:g}:{value['high']:g}:{'log' if value['log'] else 'linear'}"
    return "nothing" if value is None else str(value)


def study_file(folder: Path) -> Path:
    """Where a study lies if nothing else is said: beside its pictures."""
    return folder / "study.db"
