"""A table with a label a row, as recordings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import polars as pl

from gatewise.data.arrange import said
from gatewise.data.column import Column
from gatewise.data.sequences import Recording, Sequences
from gatewise.data.tables import Table
from gatewise.data.time_columns import find_time, holds_times, times_of
from gatewise.errors import UserError, nearest

_FEW = 3
"""Rows from which on numbers that rise by one are taken for a count."""


def recordings_of(
    table: Table,
    label: str,
    series: str = "",
    columns: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Sequences:
    """The recordings of a table: the rows of one series, in the table's order, are one.

    Args:
        table: rows in order of time, a series at a time or mixed.
        label: the column of labels, a text or a whole number a row; "" where they are not known, and empty then.
        series: the column that says which recording a row is of; "": all rows are one.
        columns: the channels; (): all other columns that hold numbers, but for those that only count the rows of
            every recording: how long it lasts already is no sign of what is wrong.
        say: told of columns that are left out.

    Raises:
        UserError: a column that is not there or holds no numbers, a row without a label or a series, rows that are not
            in order of time.

    >>> frame = pl.DataFrame({"run": [1, 1, 2], "x": [0.5, 1, 2], "note": ["", "", ""], "state": ["ok", "bad", "ok"]})
    >>> found = recordings_of(Table(frame, "made up", 2), "state", "run", say=print)
    made up: column 'note' is left out: it holds no numbers
    >>> [(one.name, one.values.tolist(), one.labels.tolist()) for one in found]
    [('1', [[0.5], [1.0]], ['ok', 'bad']), ('2', [[2.0]], ['ok'])]
    """
    frame = table.frame
    labels = _texts(table, label, "--label") if label else np.full(frame.height, "")
    keys = _texts(table, series, "--series") if series else np.full(frame.height, table.name)
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys.tolist()):
        rows.setdefault(key, []).append(row)
    names = list(columns) or _numeric(table, {label, series}, rows.values(), say)
    for name in names:
        if name not in frame.columns:
            raise UserError(f"{table.name}: no column '{name}'; {nearest(name, frame.columns)}")
    _check_order(table, {label, series, *names}, rows)
    values = np.stack([Column(name).read(table, say) for name in names], 1)
    recordings = (
        Recording(key, values[places], labels[places], table.name if series else "") for key, places in rows.items()
    )
    return Sequences(table.name, tuple(recordings), tuple(names))


def _numeric(
    table: Table, others: set[str], recordings: Collection[Sequence[int]], say: Callable[[str], None]
) -> list[str]:
    names, counting = [], []
    for column in table.frame:
        if column.name in others:
            continue
        if column.null_count() == len(column) or not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
            say(f"{table.name}: column '{column.name}' is left out: it holds no numbers")
        elif _counts_rows(column, recordings):
            counting.append(column.name)
        else:
            names.append(column.name)
    for name in counting if names else ():
        say(f"{table.name}: column '{name}' is left out: it only counts the rows; --inputs takes it in")
    if not (names or counting):
        raise UserError(f"{table.name}: no column of numbers to learn from; give some")
    return names or counting


def _counts_rows(column: pl.Series, recordings: Collection[Sequence[int]]) -> bool:
    """Whether it rises by one from row to row in every recording, one of which has three rows at least."""
    if not column.dtype.is_numeric() or column.null_count() or max(map(len, recordings), default=0) < _FEW:
        return False
    values = column.cast(pl.Float64).to_numpy()
    return all(bool((np.diff(values[rows]) == 1).all()) for rows in recordings)


def _check_order(table: Table, others: set[str], rows: Mapping[str, list[int]]) -> None:
    """Raise where a table has one column of times, and it goes back within a recording."""
    found = [column.name for column in table.frame if column.name not in others and holds_times(column)]
    if len(found) != 1:
        return
    time = find_time(table, found[0], lambda line: None)
    times = times_of(table, time, lambda line: None) if time else np.zeros(0)
    for key, places in rows.items():
        back = np.flatnonzero(np.diff(times[places]) < np.timedelta64(0))
        if len(back):
            before, row = places[back[0]], places[back[0] + 1]
            named = f" of '{key}'" if len(rows) > 1 else ""
            raise UserError(
                f"{table.name}: row {row + table.first_row}: {said(times[row])} after {said(times[before])}{named}; "
                f"the rows are not in order of time: sort them, or take column '{found[0]}' out if it says something "
                "else"
            )


def _texts(table: Table, name: str, option: str) -> np.ndarray:
    """A column of labels or of names of series, as texts; whole numbers are written as such."""
    if name not in table.frame.columns:
        raise UserError(f"{table.name}: {option}: no column '{name}'; {nearest(name, table.frame.columns)}")
    column = table.frame[name]
    if column.dtype.is_float() and bool(((column == column.round()) | column.is_null()).all()):
        column = column.cast(pl.Int64)
    if column.dtype.is_float():
        raise UserError(f"{table.name}: {option}: column '{name}' holds fractions; want texts or whole numbers")
    if column.null_count():
        row = int(column.is_null().arg_max() or 0) + table.first_row
        raise UserError(f"{table.name}: row {row}, column '{name}' ({option}): nothing there; fill it in")
    return column.cast(pl.String).to_numpy().astype(str)
