"""A case: which work is timed, on which cell, at which sizes, and the ratio that is wanted there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from gatewise import Cell
from gatewise.cells import resolve


class Sizes(NamedTuple):
    """Steps, batch, features (the vocabulary, where the input is tokens), hidden units."""

    T: int
    B: int
    I: int
    H: int

    def __str__(self) -> str:
        return ",".join(map(str, self))


class What(Enum):
    """The work that is timed; its value says it in the output."""

    TRAIN = "forward+backward"
    TRAIN_INPUT = "forward+backward with dx"
    INFER = "inference"
    STEP = "one streaming step"
    GENERATE = "generation"
    TEXT = "training step, recipe d2l"

    @property
    def counts_tokens(self) -> bool:
        return self in (What.GENERATE, What.TEXT)

    @property
    def over_a_sequence(self) -> bool:
        """A layer runs over (T, B, I) in one call."""
        return self in (What.TRAIN, What.TRAIN_INPUT, What.INFER)


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        cell: the name of a cell, or the class of one that is made up.
        what: the work.
        sizes: (T, B, I, H).
        precision: "float32", or "bf16": products in bf16, sums in float32.
        targets: peer's key -> the least wanted ratio of its time to ours; measured by the owner of the number with
            ``TARGET_THREADS`` threads.
    """

    cell: str | type[Cell]
    what: What
    sizes: Sizes
    precision: str = "float32"
    targets: Mapping[str, float] = field(default_factory=dict)

    @property
    def cell_name(self) -> str:
        return resolve(self.cell).name

    @property
    def in_float32(self) -> bool:
        return self.precision == "float32"

    @property
    def name(self) -> str:
        """What ``--only`` goes by: cell/work/sizes, with the precision where it is not float32."""
        precision = "" if self.in_float32 else f"/{self.precision}"
        return f"{self.cell_name}/{self.what.name.lower().replace('_', '-')}{precision}/{self.sizes}"


TARGET_THREADS = 2
"""The targets say how fast it must be with two threads; with any other number they are not judged."""
