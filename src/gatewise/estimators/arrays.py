"""Arrays, lists and data frames as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from gatewise.data import table_of
from gatewise.errors import UserError

SERIES = "series"
"""The column that numbers the sequences of an array."""


def is_frame(data: Any) -> bool:
    """Whether it has columns with names."""
    return hasattr(data, "columns") and not isinstance(data, np.ndarray)


def sequences_of(data: Any, what: str = "X") -> list[np.ndarray]:
    """An array (n, T, d), or a list of sequences (T_i, d) or (T_i,), as float64 arrays (T_i, d).

    Raises:
        UserError: no numbers, other dimensions, sequences of different numbers of features, none at all.
    """
    given = list(data) if isinstance(data, Sequence) else list(_numbers(data, what))
    found = [_numbers(one, f"{what}[{place}]") for place, one in enumerate(given)]
    found = [one[:, None] if one.ndim == 1 else one for one in found]
    for place, one in enumerate(found):
        if one.ndim != 2 or not one.size:
            raise UserError(f"{what}[{place}]: has the shape {one.shape}; want (steps, features)")
        if one.shape[1] != found[0].shape[1]:
            raise UserError(
                f"{what}[{place}]: has {one.shape[1]} features, {what}[0] has {found[0].shape[1]}; all want as many"
            )
    if not found:
        raise UserError(f"{what}: has no sequences; give at least one")
    return found


def is_one_series(data: Any) -> bool:
    """Whether an array is one series, (T,) or (T, d), and not several."""
    return isinstance(data, np.ndarray) and data.ndim <= 2


def _numbers(data: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(
            f"{what}: is no array of numbers; give (n, T, d), or a list of sequences (T, d) where their lengths differ"
        ) from None


def stacked(sequences: Sequence[np.ndarray], letter: str) -> pl.DataFrame:
    """Sequences (T_i, d) one after the other: columns ``x0``, ``x1``, ... with the letter x, and ``series``."""
    rows = np.concatenate(sequences)
    numbers = np.repeat(np.arange(len(sequences)), [len(one) for one in sequences])
    columns = {f"{letter}{place}": rows[:, place] for place in range(rows.shape[1])}
    return pl.DataFrame({SERIES: [f"{number}" for number in numbers], **columns})


def check_lengths(sequences: Sequence[np.ndarray], least: int) -> None:
    """Raise where a sequence has fewer steps than are looked at."""
    for place, one in enumerate(sequences):
        if len(one) < least:
            raise UserError(f"X[{place}]: has {len(one)} steps, and {least} are looked at; leave it out")


def columns_of(y: Any, rows: int) -> pl.DataFrame:
    """Targets (rows,) or (rows, k) as columns: ``y0``, ``y1``, ..., or with the names of a data frame.

    Raises:
        UserError: no numbers, or of another length.
    """
    if isinstance(y, pl.DataFrame) or is_frame(y):
        found = table_of(y, "y").frame
    else:
        values = _numbers(y, "y")
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2:
            raise UserError(f"y: has the shape {values.shape}; want (rows,) or (rows, targets)")
        found = pl.DataFrame({f"y{place}": values[:, place] for place in range(values.shape[1])})
    if len(found) != rows:
        raise UserError(f"y: has {len(found)} values, and X has {rows}; give one for each")
    return found
