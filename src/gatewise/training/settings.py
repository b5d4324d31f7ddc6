"""Settings of a training run, whatever the task: each with its default, its range and the words of its help."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gatewise.cells import CELLS, resolve
from gatewise.engines import check_engine
from gatewise.errors import UserError, nearest
from gatewise.graph import KINDS_OF_RECURRENT_DROPOUT
from gatewise.training.run import Run

_MOST_INTEGER, _MOST_FLOAT = (1 << 63) - 1, 1e38  # what PyTorch takes as a seed and as a float32


@dataclass(frozen=True)
class About:
    """What is known of a setting besides its name, type and default.

    Attributes:
        help: what it does; the command line adds the default.
        group: of the command line's options.
        choices: for a text, what it may be.
        positive: whether 0 is too little.
        share: whether it must be below 1.
        most: the largest value.
        listed: whether a number may also be several, with commas between, one a layer.
        apart: a value outside the range that has a meaning of its own.
        default: the default in words, where the value itself does not say it.
    """

    help: str
    group: str
    choices: tuple[str, ...] = ()
    positive: bool = False
    share: bool = False
    most: float | None = None
    listed: bool = False
    apart: int | None = None
    default: str | None = None


def setting(value: Any, help: str, group: str = "Training", **more: Any) -> Any:
    """A field of a settings class; ``more`` as :class:`About` has it."""
    return dataclasses.field(default=value, metadata={"about": About(help, group, **more)})


def about(field: dataclasses.Field[Any]) -> About:
    return field.metadata["about"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a run is trained. A value outside its range raises :class:`UserError`, which names the option."""

    batch: int = setting(64, "Rows of a batch", positive=True)
    optimizer: str = setting("adamw", "`adamw` or `sgd`", choices=("adamw", "sgd"))
    lr: float = setting(0.01, "Peak learning rate", positive=True)
    weight_decay: float = setting(0.05, "Of AdamW")
    clip: float = setting(1.0, "Largest norm of the gradient; 0: no clipping")
    minutes: float = setting(3.0, "Wall-clock budget")
    epochs: int = setting(
        0, "Passes over the data; with `--minutes` too, whichever ends first", default="as many as the minutes allow"
    )
    schedule: str = setting(
        "cosine", "`cosine` (down to a hundredth of lr) or `constant`", choices=("cosine", "constant")
    )
    warmup: float = setting(0.05, "Share of the run in which lr rises", share=True)
    keep: str = setting(
        "best", "Which weights the run is left with, `best` (by held-out loss) or `last`", choices=("best", "last")
    )
    evaluations: int = setting(10, "How often the held-out part is measured during training", positive=True)
    patience: int = setting(0, "Stop when so many of these measurements bring no gain", default="never")
    seed: int = setting(0, "The same seed gives the same run")
    threads: int = setting(
        0, "Threads of PyTorch", default="its own choice, fewer where other programs keep the cores busy"
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if self.epochs == 0 and self.minutes == 0:
            raise UserError("--minutes 0: a run needs a budget; give --minutes or --epochs above 0")
        remedy = self.to_hold_out()
        if self.patience and remedy:
            raise UserError(f"--patience {self.patience}: nothing is held out to look at; {remedy}")

    def to_hold_out(self) -> str:
        """What to do for anything to be held out; nothing where something is."""
        return ""


@dataclass(frozen=True)
class NetworkSettings(TrainingSettings):
    """And what recurrent layers it has."""

    cell: str = setting("gru", "The cell's name (`gatewise cells` lists them), or `lstm,gru`: one a layer", "Model")
    layers: int = setting(
        1, "Recurrent layers", "Model", positive=True, most=1000, default="1, or as many as cells or sizes are listed"
    )
    hidden: int | str = setting(
        256, "Units of a layer, or `256,128`: one number a layer", "Model", positive=True, most=1 << 20, listed=True
    )
    dropout: float = setting(0.1, "Dropout between layers, before and after them", "Model", share=True)
    zoneout: float = setting(0.0, "Rate at which units keep their old state (Krueger 2016)", "Model", share=True)
    recurrent_dropout: float = setting(
        0.0, "Dropout on the recurrent products' input, one mask a sequence (Gal 2016)", "Model", share=True
    )
    recurrent_dropout_kind: str = setting(
        "gal", "`gal`, as above, or `semeniuta`: on the candidate, one mask a step (Semeniuta 2016)", "Model",
        choices=KINDS_OF_RECURRENT_DROPOUT,
    )  # fmt: skip
    weight_drop: float = setting(0.0, "Dropout of recurrent weights (Merity 2018)", "Model", share=True)
    layer_norm: bool = setting(False, "Normalise both projections of every step (Ba 2016)", "Model")
    residual: bool = setting(False, "Every layer but the first adds its input to its output (Wu 2016)", "Model")
    learned_state: bool = setting(False, "Learn the state in which a sequence starts", "Model")
    engine: str = setting("auto", "`auto`, `native`, `torch`, `scan` or `eager`", "Model")
    precision: str = setting(
        "float32", "`float32`, or `bf16` for the products: faster on a CPU with AMX", "Model",
        choices=("float32", "bf16"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for cell in self.cells:
            if ":" in cell:
                raise UserError(f"--cell {cell}: use {_as_options(cell)}")
            resolve(cell)
        if "," not in str(self.hidden):
            object.__setattr__(self, "hidden", int(self.hidden))
        if {len(self.cells), len(self.sizes)} - {1, self.layers}:
            raise UserError(
                f"--cell {self.cell} --hidden {self.hidden} --layers {self.layers}: want one cell and one size, or as "
                "many as there are layers; where several are given, --layers can be left out"
            )
        if self.recurrent_dropout_kind != "gal" and not self.recurrent_dropout:
            raise UserError(
                f"--recurrent-dropout-kind {self.recurrent_dropout_kind}: nothing is dropped; give the rate too, "
                "--recurrent-dropout 0.1"
            )
        check_engine(self.engine, *self.engines_of_its_own())

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells' names: one, or one a layer."""
        return tuple(name.strip() for name in self.cell.split(","))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The layers' units: one number, or one a layer."""
        return tuple(map(int, str(self.hidden).split(",")))

    def stack(self) -> dict[str, Any]:
        """What the layers are, as :class:`gatewise.Recurrent` is told."""
        cells, sizes = (given[0] if len(given) == 1 else list(given) for given in (self.cells, self.sizes))
        return {"cell": cells, "hidden_size": sizes, "num_layers": self.layers}

    def engines_of_its_own(self) -> tuple[str, ...]:
        """Engines that this task has beside those of all."""
        return ()

    def noise(self) -> dict[str, Any]:
        """The options of the recurrent layers that are not at their default."""
        names = ("zoneout", "recurrent_dropout", "recurrent_dropout_kind", "weight_drop", "layer_norm")
        names += ("residual", "learned_state")
        plain = {field.name: field.default for field in dataclasses.fields(self)}
        return {name: value for name in names if (value := getattr(self, name)) != plain[name]}


@dataclass(frozen=True)
class HeldOutSettings(NetworkSettings):
    """And how much of the data, whose end is held out."""

    heldout: float = setting(0.1, "Share of the data, its end, that is held out", "Data", share=True)

    def to_hold_out(self) -> str:
        return "" if self.heldout > 0 else "give --heldout above 0"


def _as_options(cell: str) -> str:
    """A cell with settings, as ``compare`` takes it, in the words of ``train``.

    >>> _as_options("lstm+gru:zoneout=0.1:layer-norm")
    '--cell lstm,gru --zoneout 0.1 --layer-norm'
    """
    name, *changes = cell.split(":")
    return " ".join([f"--cell {name.replace('+', ',')}", *(f"--{change.replace('=', ' ')}" for change in changes)])


def _check(field: dataclasses.Field[Any], value: Any) -> None:
    option, rules, wanted = f"--{field.name.replace('_', '-')}", about(field), type(field.default)
    if rules.listed and isinstance(value, str):
        if not all(number.strip().removeprefix("-").isdecimal() for number in value.split(",")):
            raise UserError(f"{option} {value!r}: want a whole number, or several with commas between")
        for number in value.split(","):
            _check(field, int(number))
        return
    right = isinstance(value, (int, float) if wanted is float else wanted)
    if not right or (isinstance(value, bool) and wanted is not bool):
        kind = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[wanted]
        raise UserError(f"{option} {value!r}: want {kind}")
    if rules.choices and value not in rules.choices:
        # The nearest name of a precision would be that of another format.
        hint = f"want {' or '.join(rules.choices)}" if field.name == "precision" else nearest(str(value), rules.choices)
        raise UserError(f"{option} {value}: {hint}")
    if isinstance(value, str | bool) or (rules.apart is not None and value == rules.apart):
        return
    too_little = not math.isfinite(value) or value < 0 or (rules.positive and value == 0)
    if rules.share and (too_little or value >= 1):
        raise UserError(f"{option} {value}: want a share, {'above' if rules.positive else 'at least'} 0 and below 1")
    if too_little:
        raise UserError(f"{option} {value}: want a number {'above' if rules.positive else 'of at least'} 0")
    most = rules.most if rules.most is not None else _MOST_INTEGER if isinstance(value, int) else _MOST_FLOAT
    if value > most:
        raise UserError(f"{option} {value}: too large; give at most {most:,}")


def listed(cell: str | None, hidden: int | str | None) -> int | None:
    """How many layers a list of cells or of sizes is for; None where there is no list."""
    count = max(str(cell).count(","), str(hidden).count(",")) + 1
    return count if count > 1 else None


Settings = TypeVar("Settings", bound=TrainingSettings)
Source = TypeVar("Source")


def settings_from(
    kind: type[Settings], chosen: Mapping[str, Any], instead: Mapping[str, Any] | None = None
) -> Settings:
    """The defaults of ``kind``, under those given ``instead``, under what was chosen (None is not chosen).

    Raises:
        UserError: a value outside its range, or a setting that does not exist.
    """
    values = dict(instead or {})
    given = {name: value for name, value in chosen.items() if value is not None}
    for budget in ("minutes", "epochs"):
        if given.get(budget, 1) <= 0:
            raise UserError(
                f"--{budget} {given[budget]:g}: a run needs a budget; give a number above 0, or leave it out"
            )
    if given.get("weight_decay") and given.get("optimizer", values.get("optimizer")) == "sgd":
        raise UserError("--weight-decay belongs to AdamW: leave it out, or take --optimizer adamw")
    layers = listed(given.get("cell"), given.get("hidden"))
    if layers:
        given.setdefault("layers", layers)
    for one, other in (("epochs", "minutes"), ("minutes", "epochs")):
        # A budget that is given replaces the default or the recipe's; both given is both: whichever ends first.
        if given.get(one) and other not in given:
            given[other] = 0
    try:
        return kind(**(values | given))
    except TypeError as error:
        raise UserError(f"unknown setting: {error}") from None


def read_settings(
    run: Run, task: str, kind: type[Settings], source: Callable[[dict[str, Any]], Source]
) -> tuple[Settings, Source]:
    """The settings that a run's ``config.toml`` records, and the source that it says the data have.

    Raises:
        UserError: a run of another task, or settings that this version does not take.
    """
    config = check_task(run, task)
    check_cell(run.config_file, config.get("settings"))
    try:
        return kind(**config["settings"]), source(config["data"])
    except UserError as error:
        raise UserError(f"{run.config_file}: {error}") from None
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise UserError(f"{run.config_file}: not this version's settings: {error}; mend or train anew") from None


_USED_BY = {"text": "generate", "autoencode": "sample"}
"""The command that uses a run, by task; of any other it is ``predict``."""


def check_task(run: Run, *tasks: str) -> dict[str, Any]:
    """The configuration of a run, which must be one of these tasks'."""
    config = run.read_config()
    if config["task"] not in tasks:
        task, wanted = config["task"], " or ".join(tasks)
        raise UserError(
            f"{run.config_file}: a run of the task '{task}', not of {wanted}; it is used by "
            f"`gatewise {_USED_BY.get(task, 'predict')} {run.folder}`"
        )
    return config


def check_cell(path: Path, model: Any) -> None:
    """Raise if a configuration names a cell that is not registered here."""
    cell = model.get("cell") if isinstance(model, dict) else None
    for name in cell.split(",") if isinstance(cell, str) else cell if isinstance(cell, list) else ():
        if isinstance(name, str) and name.strip() not in CELLS:
            raise UserError(
                f"{path}: no cell is called '{name.strip()}' here; import the module that registers it, or give "
                "its file: --cell-file FILE"
            )
