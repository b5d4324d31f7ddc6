"""Options of commands, made from the settings they set."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from gatewise.errors import UserError
from gatewise.training import TRAININGS, Run
from gatewise.training.recipe import ENDING, read_recipe, under
from gatewise.training.settings import TrainingSettings, about

GROUPS = {
    name: Group(name, sort_key=place) for place, name in enumerate(("Search", "Data", "Model", "Training", "Output"), 1)
}

Out = Annotated[Path | None, Parameter(group=GROUPS["Output"], help="The run folder (default: runs/NAME-CELL-N).")]
Json = Annotated[
    bool,
    Parameter(
        name="--json",
        group=GROUPS["Output"],
        negative=(),
        show_default=False,
        help="Print the summary as the last line, as JSON.",
    ),
]
Quiet = Annotated[
    bool, Parameter(group=GROUPS["Output"], negative=(), show_default=False, help="Print the result alone.")
]
TensorBoard = Annotated[
    bool, Parameter(group=GROUPS["Output"], negative=(), show_default=False, help="Also write a TensorBoard log.")
]


_RECIPE = inspect.Parameter(
    "recipe", inspect.Parameter.KEYWORD_ONLY, default=None,
    annotation=Annotated[
        str | None,
        Parameter(group=GROUPS["Training"], help="A .toml file of settings, as `gatewise tune` writes it."),
    ],
)  # fmt: skip


def with_settings(
    settings: type[TrainingSettings], only: Collection[str] = (), **instead: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting; those that the user gives reach it as the dictionary ``chosen``.

    A command with all of them has ``--recipe FILE.toml`` too, whose settings come beneath those that the user gives.

    Args:
        settings: whose fields become options.
        only: the names of those that do; all if empty.
        instead: defaults of this command in words, where they are not those of ``settings``.
    """
    fields = [field for field in dataclasses.fields(settings) if not only or field.name in only]

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for name, parameter in signature.parameters.items() if name != "chosen"]
        named = "recipe" in signature.parameters  # recipes of its own, by name
        if not only and not named:
            own.append(_RECIPE)
        options = [_option(field, instead.get(field.name)) for field in sorted(fields, key=_place)]

        def run(*arguments: Any, **options: Any) -> None:
            chosen = {field.name: options.pop(field.name) for field in fields if field.name in options}
            recipe = options.pop("recipe", None)
            if recipe is not None and (not named or recipe.endswith(ENDING)):
                chosen = under(read_recipe(Path(recipe), _task_of(settings), settings), chosen)
            elif named:
                options["recipe"] = recipe
            command(*arguments, chosen=chosen, **options)

        # What the command line's library reads a command from.
        run.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *options]}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return with_options


def _task_of(settings: type[TrainingSettings]) -> str:
    return next(name for name, training in TRAININGS.items() if training.settings is settings)


def _place(field: dataclasses.Field[Any]) -> int:
    """The cell comes first: it is what people come for."""
    return 0 if field.name == "cell" else 1


def _option(field: dataclasses.Field[Any], default: str | None) -> inspect.Parameter:
    rules, kind = about(field), type(field.default)
    words = default or rules.default or (f"`{field.default}`" if kind is str else f"{field.default:g}")
    kind = str if rules.listed else kind
    text = f"{rules.help}." if kind is bool else f"{rules.help} (default: {words})."
    parameter = Parameter(group=GROUPS[rules.group], help=text, negative=(), show_default=False)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, parameter]
    )


def tensorboard_log(wanted: bool) -> Callable[[Run, dict[str, Any]], None] | None:
    """What writes every row of metrics into a run's TensorBoard log; None where none is wanted."""
    if not wanted:
        return None
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard: not installed; run: pip install tensorboard") from None

    def log(run: Run, row: dict[str, Any]) -> None:
        with SummaryWriter(str(run.folder / "tensorboard")) as writer:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, row["step"])

    return log
