"""The settings of a training run: defaults, recipes, checks, and their place in ``config.toml``."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from gatewise.cells import resolve
from gatewise.data import KINDS
from gatewise.engines import check_engine
from gatewise.errors import UserError, nearest
from gatewise.graph import KINDS_OF_RECURRENT_DROPOUT

AUTO = -1
"""The embedding that suits the vocabulary."""

NUMPY_ENGINE = "numpy"
"""The engine of ``gatewise.scratch``: trains the textbook GRU, every gradient derived by hand."""


@dataclass(frozen=True)
class TextSettings:
    """Everything that decides a run of ``gatewise train text``, besides the text itself.

    Attributes:
        cell: the cell's name; several with commas between, ``lstm,gru``: one a layer, from the lowest up.
        layers: recurrent layers.
        hidden: units of a layer; several with commas between, ``"256,128"``: one a layer.
        embedding: features of the learned embedding; 0 is one-hot; -1 is 64 for up to 256 tokens, else 128.
        dropout: on a learned embedding, between layers, before the head.
        zoneout: rate at which units keep their old state (Krueger et al. 2016).
        recurrent_dropout: the rate of :func:`gatewise.recurrent_dropout`.
        recurrent_dropout_kind: "gal" (on what enters the recurrent products, one mask a window) or "semeniuta" (on the
            candidate, one mask a step).
        weight_drop: of the recurrent matrices (Merity et al. 2018).
        layer_norm: of both projections (Ba et al. 2016).
        residual: every layer but the first adds its input to its output (Wu et al. 2016).
        learned_state: the state in which a text starts is learned.
        tokens: "char", "word", "byte" or "bpe".
        vocabulary: most tokens of the vocabulary; 0 is no limit (bpe: 1,024).
        clean: "none", or "d2l" for the book's cleaning (letters only, lower case).
        train_tokens: train on the first so many tokens, hold out the rest; 0 uses ``heldout``.
        heldout: share of the text, its end, that is held out.
        batch: rows of a batch.
        steps: tokens of a window: how far back the truncated gradient reaches.
        partition: "sequential" (the state is carried) or "random" (every window starts at zero).
        optimizer: "adamw" or "sgd".
        lr: peak learning rate.
        weight_decay: of AdamW.
        clip: largest global norm of the gradient; 0 does not clip.
        epochs: passes over the training text; 0 leaves it to ``minutes``.
        minutes: wall-clock budget; 0 leaves it to ``epochs``.
        schedule: "cosine" (down to a hundredth of lr) or "constant".
        warmup: share of the run in which the learning rate rises from 0.
        init: "default" (as PyTorch) or "d2l" (N(0, 0.01), zero biases).
        engine: "auto", an engine's name, or "numpy".
        precision: "float32", or "bf16" for the recurrent layers' matrix products while training.
        keep: "best" (by held-out loss) or "last": which weights the run is left with.
        evaluations: how many times the held-out loss is looked at on the way.
        patience: stop after so many looks without a better held-out loss; 0 never stops early.
        seed: of weights, windows and dropout.
        threads: of PyTorch; 0 is PyTorch's own choice.
    """

    cell: str = "gru"
    layers: int = 1
    hidden: int | str = 256
    embedding: int = AUTO
    dropout: float = 0.1
    zoneout: float = 0.0
    recurrent_dropout: float = 0.0
    recurrent_dropout_kind: str = "gal"
    weight_drop: float = 0.0
    layer_norm: bool = False
    residual: bool = False
    learned_state: bool = False
    tokens: str = "char"
    vocabulary: int = 0
    clean: str = "none"
    train_tokens: int = 0
    heldout: float = 0.1
    batch: int = 64
    steps: int = 32
    partition: str = "sequential"
    optimizer: str = "adamw"
    lr: float = 0.01
    weight_decay: float = 0.05
    clip: float = 1.0
    epochs: int = 0
    minutes: float = 3.0
    schedule: str = "cosine"
    warmup: float = 0.05
    init: str = "default"
    engine: str = "auto"
    precision: str = "float32"
    keep: str = "best"
    evaluations: int = 10
    patience: int = 0
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        self._check_types()
        self._check_stack()
        if self.engine != NUMPY_ENGINE:
            check_engine(self.engine, NUMPY_ENGINE)
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                # The nearest name of a precision would be that of another format.
                hint = f"want {' or '.join(choices)}" if name == "precision" else nearest(value, choices)
                raise UserError(f"--{name} {value}: {hint}")
        for field in dataclasses.fields(self):
            value, option = getattr(self, field.name), f"--{field.name.replace('_', '-')}"
            if field.name == "hidden":
                value = next((size for size in self.sizes if not 0 < size <= _MOST["hidden"]), self.sizes[0])
            if isinstance(value, str | bool):
                continue
            if field.name == "embedding" and value == AUTO:
                continue
            positive = field.name in _POSITIVE
            if not math.isfinite(value) or value < 0 or (positive and value == 0):
                raise UserError(f"{option} {value}: want a number {'above' if positive else 'of at least'} 0")
            most = _MOST.get(field.name, _MOST_INTEGER if isinstance(value, int) else _MOST_FLOAT)
            if value > most:
                raise UserError(f"{option} {value}: too large; give at most {most:,}")
            if field.name in _SHARES and value >= 1:
                raise UserError(f"{option} {value}: want a share, at least 0 and below 1")
        if self.epochs == 0 and self.minutes == 0:
            raise UserError("--minutes 0: a run needs a budget; give --minutes or --epochs above 0")
        if self.patience and not (self.heldout or self.train_tokens):
            raise UserError(f"--patience {self.patience}: nothing is held out to look at; give --heldout above 0")
        if self.engine == NUMPY_ENGINE:
            self._check_numpy()

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells' names: one, or one a layer."""
        return tuple(name.strip() for name in self.cell.split(","))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The layers' units: one number, or one a layer."""
        return tuple(map(int, str(self.hidden).split(",")))

    def embedding_for(self, vocabulary_size: int) -> int:
        """Features of the embedding, 0 for one-hot: what ``embedding`` says, or what suits the vocabulary."""
        if self.embedding != AUTO:
            return self.embedding
        return 64 if vocabulary_size <= 256 else 128

    def _check_types(self) -> None:
        for field in dataclasses.fields(self):
            value, wanted = getattr(self, field.name), type(field.default)
            right = isinstance(value, (int, float) if wanted is float else wanted)
            if field.name == "hidden" and isinstance(value, str):
                right = all(size.strip().removeprefix("-").isdecimal() for size in value.split(","))
            if not right or (isinstance(value, bool) and wanted is not bool):
                kind = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[wanted]
                raise UserError(f"--{field.name.replace('_', '-')} {value!r}: want {kind}")

    def _check_stack(self) -> None:
        for cell in self.cells:
            resolve(cell)
        if "," not in str(self.hidden):
            object.__setattr__(self, "hidden", int(self.hidden))
        if {len(self.cells), len(self.sizes)} - {1, self.layers}:
            raise UserError(
                f"--cell {self.cell} --hidden {self.hidden} --layers {self.layers}: want one cell and one size, or as "
                "many as there are layers; where several are given, --layers can be left out"
            )

    def _check_numpy(self) -> None:
        fixed = {"cell": "gru-before", "layers": 1, "embedding": 0, "dropout": 0.0, "optimizer": "sgd"}
        fixed |= {"zoneout": 0.0, "recurrent_dropout": 0.0, "weight_drop": 0.0, "layer_norm": False}
        fixed |= {"residual": False, "learned_state": False}
        for name, value in fixed.items():
            if getattr(self, name) != value:
                raise UserError(
                    "--engine numpy trains the textbook's GRU with plain SGD: "
                    f"want --{name.replace('_', '-')} {value}, got {getattr(self, name)}"
                )


_CHOICES = {
    "precision": ("float32", "bf16"),
    "tokens": KINDS,
    "clean": ("none", "d2l"),
    "partition": ("sequential", "random"),
    "optimizer": ("adamw", "sgd"),
    "schedule": ("cosine", "constant"),
    "init": ("default", "d2l"),
    "recurrent_dropout_kind": KINDS_OF_RECURRENT_DROPOUT,
    "keep": ("best", "last"),
}
_POSITIVE = {"layers", "hidden", "batch", "steps", "lr", "evaluations"}
_SHARES = {"heldout", "warmup", "dropout", "zoneout", "recurrent_dropout", "weight_drop"}
_MOST = {"layers": 1000, "hidden": 1 << 20, "embedding": 1 << 20}
_MOST_INTEGER, _MOST_FLOAT = (1 << 63) - 1, 1e38  # what PyTorch takes as a seed and as a float32

RECIPES: dict[str, dict[str, Any]] = {
    "d2l": {
        "clean": "d2l", "train_tokens": 10_000, "batch": 32, "steps": 35, "hidden": 256, "embedding": 0,
        "optimizer": "sgd", "lr": 1.0, "clip": 1.0, "epochs": 500, "minutes": 0.0, "schedule": "constant",
        "warmup": 0.0, "keep": "last", "partition": "sequential", "dropout": 0.0,
    },
}  # fmt: skip
"""Named sets of settings. ``d2l`` is the experiment of *Dive into Deep Learning*, chapter 10."""

_NUMPY_DEFAULTS: dict[str, Any] = {
    "cell": "gru-before", "embedding": 0, "optimizer": "sgd", "lr": 1.0, "schedule": "constant", "warmup": 0.0,
    "dropout": 0.0,
}  # fmt: skip


def listed(cell: str | None, hidden: int | str | None) -> int | None:
    """How many layers a list of cells or of sizes is for; None where there is no list."""
    count = max(str(cell).count(","), str(hidden).count(",")) + 1
    return count if count > 1 else None


def text_settings(recipe: str | None = None, **chosen: Any) -> TextSettings:
    """Defaults, under a recipe, under what was chosen (None is not chosen).

    Raises:
        UserError: an unknown recipe, or a value outside its range.

    Example:
        >>> text_settings("d2l", cell="lstm", lr=2.0).epochs
        500
    """
    if recipe is not None and recipe not in RECIPES:
        raise UserError(f"--recipe {recipe}: {nearest(recipe, list(RECIPES))}")
    values = dict(_NUMPY_DEFAULTS) if chosen.get("engine") == NUMPY_ENGINE else {}
    values |= RECIPES.get(recipe or "", {})
    given = {name: value for name, value in chosen.items() if value is not None}
    for budget in ("minutes", "epochs"):
        if given.get(budget) == 0:
            raise UserError(f"--{budget} 0: a run needs a budget; give a number above 0, or leave it out")
    if given.get("heldout") is not None and (given.get("train_tokens") or values.get("train_tokens")):
        raise UserError("--heldout: --train-tokens (or the recipe) says already what is held out: all the rest")
    if given.get("weight_decay") and given.get("optimizer", values.get("optimizer")) == "sgd":
        raise UserError("--weight-decay belongs to AdamW: leave it out, or take --optimizer adamw")
    if given.get("recurrent_dropout_kind") and not given.get("recurrent_dropout"):
        raise UserError("--recurrent-dropout-kind: nothing is dropped; give the rate too, --recurrent-dropout 0.1")
    for one, other in (("epochs", "minutes"), ("minutes", "epochs")):
        # A budget that is given replaces the default or the recipe's; both given is both: whichever ends first.
        if given.get(one) and other not in given:
            given[other] = 0
    given.setdefault("layers", listed(given.get("cell"), given.get("hidden")) or values.get("layers"))
    if given["layers"] is None:
        del given["layers"]
    try:
        return TextSettings(**(values | given))
    except TypeError as error:
        raise UserError(f"unknown setting: {error}") from None
