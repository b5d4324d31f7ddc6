"""One column of a table as features: numbers as they are, a text one-hot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from gatewise.data.table.entries import as_numbers, comma_numbers
from gatewise.data.table.header import shown
from gatewise.data.table.tables import Table
from gatewise.errors import UserError

MOST_CATEGORIES = 100

_LONGEST_CATEGORY = 200

TEXTS = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True)
class Column:
    """What is made of one column.

    Attributes:
        name: of the column.
        categories: each is a feature of 0 and 1; none for a column of numbers, or of true and false as 1 and 0.
    """

    name: str
    categories: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """Their names.

        >>> Column("wind", ("N", "S")).features, Column("temperature").features
        (('wind=N', 'wind=S'), ('temperature',))
        """
        return tuple(f"{self.name}={category}" for category in self.categories) or (self.name,)

    @classmethod
    def fitted(cls, table: Table, name: str, training: np.ndarray | None) -> Column:
        """From the rows to learn from; categories in the order of the alphabet.

        Args:
            table: of all rows.
            name: of the column.
            training: places of the rows to learn from, None for all.

        Raises:
            UserError: neither numbers nor text; no value in the rows to learn from; text among numbers; more than a
                hundred categories.
        """
        column = table.frame[name]
        if not is_feature(column):
            raise UserError(
                f"{table.name}: column '{name}' holds {_kind(column)}, not numbers or categories; leave it out"
            )
        known = column if training is None else column.gather(pl.Series(training))
        if column.dtype.is_float():
            known = known.fill_nan(None)
        if known.null_count() == len(known):
            part = "" if column.null_count() == len(column) else " in the rows to learn from"
            raise UserError(f"{table.name}: column '{name}' has no value{part}; leave it out")
        if not isinstance(column.dtype, TEXTS):
            return cls(name)
        check_no_numbers(table, column)
        categories = sorted(known.drop_nulls().cast(pl.String).unique().to_list())
        if len(categories) > MOST_CATEGORIES:
            raise UserError(
                f"{table.name}: column '{name}' has {len(categories)} different texts ({shown(categories[0])}, "
                f"{shown(categories[1])}, ...), more than {MOST_CATEGORIES} categories; leave it out, or name it with "
                "--series if it names the series"
            )
        longest = max(categories, key=len)
        if len(longest) > _LONGEST_CATEGORY:
            raise UserError(
                f"{table.name}: column '{name}' has a text of {len(longest)} characters ({shown(longest)}), no "
                "category; leave the column out"
            )
        return cls(name, tuple(categories))

    def read(self, table: Table, say: Callable[[str], None]) -> np.ndarray:
        """(T,) numbers, or (T, k) zeros and ones; NaN where the table has nothing.

        A category that was not learned is 0 everywhere, which is said.

        Raises:
            UserError: an infinite value; text where numbers were learned, or the other way round.
        """
        column = table.frame[self.name]
        if self.categories:
            return self._one_hot(table, column, say)
        if isinstance(column.dtype, TEXTS):
            check_no_numbers(table, column, all_numbers=True)
        if not is_feature(column):
            raise UserError(f"{table.name}: column '{self.name}' holds {_kind(column)}; want numbers, as learned")
        values = column.cast(pl.Float64).to_numpy()
        infinite = np.flatnonzero(np.isinf(values))
        if len(infinite):
            raise UserError(
                f"{table.name}: row {infinite[0] + table.first_row}, column '{self.name}': an infinite value; mend it, "
                "or leave it empty if it is missing"
            )
        return values

    def _one_hot(self, table: Table, column: pl.Series, say: Callable[[str], None]) -> np.ndarray:
        if not isinstance(column.dtype, (*TEXTS, pl.Null)) and not column.dtype.is_integer():
            listed = ", ".join(map(shown, self.categories[:3]))
            raise UserError(
                f"{table.name}: column '{self.name}' holds {_kind(column)}; want texts, as learned ({listed}, ...)"
            )
        text = column.cast(pl.String)
        number = text.replace_strict(
            list(self.categories), range(len(self.categories)), default=-1, return_dtype=pl.Int16
        )
        codes = number.fill_null(-1).to_numpy()
        values = (codes[:, None] == np.arange(len(self.categories))).astype(np.float64)
        missing = text.is_null().to_numpy()
        values[missing] = np.nan
        unknown = np.flatnonzero((codes < 0) & ~missing)
        if len(unknown):
            place = int(unknown[0])
            say(
                f"{table.name}: column '{self.name}': {shown(text[place])} (row {place + table.first_row}, the first "
                f"of {len(unknown)}) is no category of the rows learned from; it is 0 in all features of the column"
            )
        return values


def is_feature(column: pl.Series) -> bool:
    """Whether numbers can be made of it."""
    return isinstance(column.dtype, (*TEXTS, pl.Boolean, pl.Null)) or column.dtype.is_numeric()


def _kind(column: pl.Series) -> str:
    return "times" if column.dtype.is_temporal() else f"values of the type {column.dtype}"


def check_no_numbers(table: Table, column: pl.Series, all_numbers: bool = False) -> None:
    """A text of numbers with something else in between is no list of categories.

    Which entry is something else depends on what most others are: numbers with points, or with decimal commas.
    """
    text = column.cast(pl.String)
    with_point, with_comma = as_numbers(text).is_not_null(), comma_numbers(text).is_not_null()
    known = text.is_not_null()
    different = as_numbers(text.drop_nulls().unique())
    numbers = len(text.filter(with_point | with_comma))
    shares = (numbers / max(1, text.count()), different.count() / max(1, len(different)))
    if not all_numbers and (max(shares) <= 0.5 or with_point.sum() == known.sum()):
        return
    commas = with_comma.sum() > with_point.sum()
    bad = known & ~(with_comma if commas else with_point)
    if not bad.any():
        bad = known & ~with_point
    place = int(bad.arg_max() or 0)
    hint = "; decimals want a point, or semicolons between the fields" if with_comma[place] else ""
    raise UserError(
        f"{table.name}: row {place + table.first_row}, column '{column.name}': {shown(text[place])} is text among "
        f"numbers{hint}; mend it, leave it empty if it is missing, or leave the column out"
    )
