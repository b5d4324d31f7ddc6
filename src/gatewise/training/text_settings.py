"""The settings of ``train text``: what it has beside those of every task, its recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gatewise.data import KINDS
from gatewise.errors import UserError, nearest
from gatewise.training.settings import HeldOutSettings, setting, settings_from

AUTO = -1
"""The embedding that suits the vocabulary."""

NUMPY_ENGINE = "numpy"
"""The engine of ``gatewise.scratch``: trains the textbook GRU, every gradient derived by hand."""


@dataclass(frozen=True)
class TextSettings(HeldOutSettings):
    """Everything that decides a run of ``gatewise train text``, besides the text itself."""

    embedding: int = setting(
        AUTO, "Features of a learned embedding; 0: one-hot", "Model", most=1 << 20, apart=AUTO,
        default="64 up to 256 tokens, else 128",
    )  # fmt: skip
    init: str = setting(
        "default", "`default`, or `d2l`: N(0, 0.01) and zero biases", "Model", choices=("default", "d2l")
    )
    tokens: str = setting("char", "`char`, `word`, `byte` or `bpe`", "Data", choices=KINDS)
    vocabulary: int = setting(0, "Most tokens of the vocabulary", "Data", default="all; bpe: 1024")
    clean: str = setting("none", "`none`, or `d2l`: letters only, lower case", "Data", choices=("none", "d2l"))
    train_tokens: int = setting(
        0, "Train on this many characters from the start, hold out the rest", "Data", default="by `--heldout`"
    )
    steps: int = setting(32, "Tokens of a window: how far back the truncated gradient reaches", positive=True)
    partition: str = setting(
        "sequential", "`sequential` (the state is carried) or `random` (it starts at zero)",
        choices=("sequential", "random"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.engine == NUMPY_ENGINE:
            self._check_numpy()

    def engines_of_its_own(self) -> tuple[str, ...]:
        return (NUMPY_ENGINE,)

    def to_hold_out(self) -> str:
        return "" if self.train_tokens > 0 else super().to_hold_out()

    def embedding_for(self, vocabulary_size: int) -> int:
        """Features of the embedding, 0 for one-hot: what ``embedding`` says, or what suits the vocabulary."""
        if self.embedding != AUTO:
            return self.embedding
        return suited_embedding(vocabulary_size)

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


def suited_embedding(vocabulary_size: int) -> int:
    """Features of a learned embedding that suit a vocabulary."""
    return 64 if vocabulary_size <= 256 else 128


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
    if chosen.get("heldout") is not None and (chosen.get("train_tokens") or values.get("train_tokens")):
        raise UserError("--heldout: --train-tokens (or the recipe) says already what is held out: all the rest")
    return settings_from(TextSettings, chosen, values)
