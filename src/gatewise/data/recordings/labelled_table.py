"""A table with a label a row, as recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from gatewise.data.recordings.sequences import Recording, Sequences
from gatewise.data.table.column import Column
from gatewise.data.table.schema import Choice, Schema
from gatewise.data.table.tables import Table
from gatewise.errors import UserError, nearest

_NEAR = 0.7
"""How like a name is to be suggested: a new file may have no labels at all."""


def _unsaid(line: str) -> None: ...


def channels_of(table: Table, label: str, choice: Choice, say: Callable[[str], None] = _unsaid) -> Schema:
    """What is known of a labelled table besides its labels: its times, its recordings and its channels.

    Args:
        table: rows of one recording after the other, or mixed.
        label: the column of labels.
        choice: what is wanted of the others; without columns, all that hold numbers are channels, but for those that
            only count the rows.
        say: is told what is left out.

    Raises:
        UserError: columns that are not there, rows without a label, times that are not regular, the labels as a
            channel.
    """
    _labels(table, label)
    if label in choice.columns:
        raise UserError(f"{table.name}: --inputs: column '{label}' has the labels; leave it out")
    return Schema.fitted(_without(table, label), choice, None, say)


def recordings_of(
    table: Table, label: str, schema: Schema, complete: bool = False, say: Callable[[str], None] = _unsaid
) -> Sequences:
    """The recordings of a table: the rows of one series, in order of time.

    Args:
        table: the one that the schema was made of, or a new one.
        label: the column of labels, a text or a whole number a row; "" where they are not known, and empty then.
        schema: of the other columns, as :func:`channels_of` finds it. Where it resamples, a step has its commonest
            label, and one without a row that of the step before.
        complete: refuse missing values.
        say: is told what was found, and what differs from the table that the schema was made of.

    Raises:
        UserError: a column that is not there or holds no numbers, a row without a label or a series, rows that are not
            in order of time or not regular.

    >>> frame = pl.DataFrame({"run": [1, 1, 2], "x": [0.5, 1, 2], "note": ["", "", ""], "state": ["ok", "bad", "ok"]})
    >>> table = Table(frame, "made up", 2)
    >>> schema = channels_of(table, "state", Choice(time="none", series="run"), say=print)
    made up: column 'note' is left out: it holds no numbers
    >>> [(one.name, one.values.tolist(), one.labels.tolist()) for one in recordings_of(table, "state", schema)]
    [('1', [[0.5], [1.0]], ['ok', 'bad']), ('2', [[2.0]], ['ok'])]
    """
    labels = _labels(table, label) if label else np.full(table.frame.height, "")
    found = schema.read(_without(table, label), say=say)
    if complete:
        found.check_complete(range(len(found.columns)), "interpolate or mask")
    of_steps = (
        _commonest(table, label, labels, schema)
        if schema.resample and label
        else [labels[np.maximum(series.rows - table.first_row, 0)] for series in found.series]
    )
    recordings = (
        Recording(series.key or table.name, series.values, own, table.name if schema.series else "")
        for series, own in zip(found.series, of_steps, strict=True)
    )
    return Sequences(table.name, tuple(recordings), found.columns, schema)


def _without(table: Table, label: str) -> Table:
    return replace(table, frame=table.frame.drop(label, strict=False)) if label else table


def _commonest(table: Table, label: str, labels: np.ndarray, schema: Schema) -> list[np.ndarray]:
    """The labels of the steps that a table is resampled to, series by series."""
    classes = np.unique(labels)
    column = Column(label, tuple(classes.tolist()))
    whole = replace(table, frame=table.frame.with_columns(pl.Series(label, labels)))
    found = []
    for series in replace(schema, columns=(column,)).read(whole).series:
        known = ~np.isnan(series.values[:, 0])  # the first step of a series always has a row
        of_known = series.values[known].argmax(1)
        found.append(classes[of_known[known.cumsum() - 1]])
    return found


def _labels(table: Table, name: str) -> np.ndarray:
    """A column of labels as texts; whole numbers are written as such."""
    if name not in table.frame.columns:
        hint = nearest(name, table.frame.columns, _NEAR)
        raise UserError(f"{table.name}: --label: no column '{name}'; {hint}")
    column = table.frame[name]
    if column.dtype.is_float() and bool(((column == column.round()) | column.is_null()).all()):
        column = column.cast(pl.Int64)
    if column.dtype.is_float():
        raise UserError(f"{table.name}: --label: column '{name}' holds fractions; want texts or whole numbers")
    if column.null_count():
        row = int(column.is_null().arg_max() or 0) + table.first_row
        raise UserError(f"{table.name}: row {row}, column '{name}' (--label): nothing there; fill it in")
    return column.cast(pl.String).to_numpy().astype(str)
