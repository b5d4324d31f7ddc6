"""Recipes: files of settings that ``train`` takes, as ``tune`` writes them."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from gatewise.cells import CELLS
from gatewise.errors import UserError, nearest
from gatewise.training.checkpoint import write_text
from gatewise.training.settings import TrainingSettings, listed, settings_from

FORMAT = 1
ENDING = ".toml"
"""How the name of a recipe's file ends; what does not is the name of a recipe that comes with a task."""

_OF_THE_MACHINE = ("threads",)


def write_recipe(path: Path, task: str, settings: TrainingSettings, remark: str) -> None:
    """Write those of the settings that are not at their default.

    Args:
        path: of the file; replaced whole.
        task: that they are of.
        settings: to be written.
        remark: a line that says where they come from.
    """
    plain = {field.name: field.default for field in dataclasses.fields(settings)}
    values = {name: value for name, value in dataclasses.asdict(settings).items() if value != plain[name]}
    budgets = {name: getattr(settings, name) for name in ("epochs", "minutes") if getattr(settings, name)}
    values = {name: value for name, value in values.items() if name not in (*_OF_THE_MACHINE, "epochs", "minutes")}
    document = tomlkit.document()
    document.add(tomlkit.comment(remark))
    document["format"] = FORMAT
    document["task"] = task
    document["settings"] = {**values, **budgets}
    write_text(path, tomlkit.dumps(document))


def read_recipe(path: Path, task: str, kind: type[TrainingSettings]) -> dict[str, Any]:
    """The settings of a recipe.

    Args:
        path: of the file.
        task: that the recipe must be of.
        kind: what its settings are.

    Raises:
        UserError: no such file, not a recipe, one of another task, or a setting that is not known or out of range.
    """
    if not os.path.isfile(path):
        raise UserError(f"--recipe {path}: no such file; `gatewise tune {task} ...` writes one")
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"--recipe {path}: cannot be read: {error}; mend that line") from None
    version, values = recipe.get("format"), recipe.get("settings")
    if not isinstance(version, int) or not isinstance(values, dict) or "task" not in recipe:
        raise UserError(f"--recipe {path}: not a recipe: it has no format, task and settings")
    if version > FORMAT:
        raise UserError(f"--recipe {path}: made by a newer gatewise; run: pip install --upgrade gatewise")
    if recipe["task"] != task:
        raise UserError(f"--recipe {path}: is one of the task '{recipe['task']}', not of {task}")
    known = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            raise UserError(f"--recipe {path}: '{name}' is not a setting of {task}; {nearest(name, known)}")
    if all(name.strip() in CELLS for name in str(values.get("cell", "gru")).split(",")):  # a user's come later
        try:
            settings_from(kind, values)
        except UserError as error:
            raise UserError(f"--recipe {path}: {error}") from None
    return values


def under(recipe: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What a user chose (None is not chosen), over a recipe.

    What belongs together is replaced together: a budget that is chosen replaces the recipe's, a list of cells or sizes
    its number of layers, plain gradient descent its weight decay.

    >>> under({"epochs": 5, "hidden": 32}, {"minutes": 2.0, "hidden": None})
    {'hidden': 32, 'minutes': 2.0}
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    replaced: set[str] = set()
    if {"epochs", "minutes"} & set(given):
        replaced |= {"epochs", "minutes"}
    if listed(given.get("cell"), given.get("hidden")):
        replaced |= {"layers"}
    if given.get("optimizer") == "sgd":
        replaced |= {"weight_decay"}
    return {name: value for name, value in recipe.items() if name not in replaced} | given
