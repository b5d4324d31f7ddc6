"""Which columns of a table are learned from, and what is made of each; the same for a new file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from gatewise.data.table.clock import Frequency
from gatewise.data.table.column import TEXTS, Column, check_no_numbers, is_feature
from gatewise.data.table.layout import Layout
from gatewise.data.table.series_table import SeriesTable
from gatewise.data.table.split import Split
from gatewise.data.table.tables import Table
from gatewise.data.table.time_columns import TimeColumns, find_time, holds_times
from gatewise.errors import UserError, nearest

_FEW = 3
"""Rows of a series from which on numbers that rise by one are taken for a count."""


def _unsaid(line: str) -> None: ...


def once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Says every line once: a table is looked at to be fitted to, and then again to be read.

    >>> say = once(print)
    >>> for line in "aba":
    ...     say(line)
    a
    b
    """
    lines: set[str] = set()

    def say_new(line: str) -> None:
        if line not in lines:
            lines.add(line)
            say(line)

    return say_new


@dataclass(frozen=True)
class Choice:
    """What the user asks of a table.

    Attributes:
        time: the column of times; several as in "date,hour" or "year,month,day"; "none" for steps without times;
            "" to find it.
        series: the column that names each row's series; "" where the table is one series.
        columns: those wanted; () for all but the time, the series and row numbers.
        sort: put the rows in order of time.
        resample: to steps of so long, "1h"; "" for the file's own.
    """

    time: str = ""
    series: str = ""
    columns: tuple[str, ...] = ()
    sort: bool = False
    resample: str = ""


@dataclass(frozen=True)
class Schema:
    """What a run knows of its table.

    Attributes:
        time: where the times stand; None where there are none.
        series: the column of series; "" where there is one.
        columns: those learned from, in the order of their features.
        frequency: from one time stamp to the next; None where there are none.
        sort: rows are put in order of time.
        resample: rows are made one a step of ``frequency``.
        ignored: other columns of the table fitted to.
    """

    time: TimeColumns | None
    series: str
    columns: tuple[Column, ...]
    frequency: Frequency | None
    sort: bool
    resample: bool
    ignored: tuple[str, ...]

    @classmethod
    def fitted(
        cls,
        table: Table,
        choice: Choice,
        split: Split | None,
        say: Callable[[str], None] = _unsaid,
    ) -> Schema:
        """The categories of each text are those of the rows to learn from alone.

        Args:
            table: of all rows.
            choice: what is wanted of it.
            split: which rows are learned from, in each series; None where that is not known yet: then columns of text,
                whose categories would be those of all rows, are left out.
            say: is told what is left out.

        Raises:
            UserError: columns that are not there or have nothing to learn from, times that are not regular; the
                message names the first row and column.
        """
        time = find_time(table, choice.time, say)
        time = time and time.settled(table)
        others = {name for name in (choice.series, *(time.names if time else ())) if name}
        if choice.series and choice.series not in table.frame.columns:
            raise UserError(
                f"{table.name}: --series: no column '{choice.series}'; {nearest(choice.series, table.frame.columns)}"
            )
        wanted = Frequency.parse(choice.resample, "--resample") if choice.resample else None
        if wanted and not time:
            raise UserError(
                f"{table.name}: --resample {choice.resample}: the table has no times; name them with --time"
            )
        layout = Layout.of(table, time, choice.series, choice.sort, wanted, wanted is not None, say)
        names = _wanted(table, choice, time, layout, split is not None, say)
        training = None if split is None else layout.training(split)
        columns = tuple(Column(name) if training is None else Column.fitted(table, name, training) for name in names)
        features = [feature for column in columns for feature in column.features]
        for number, feature in enumerate(features):
            if feature in features[:number]:
                raise UserError(f"{table.name}: two features would be called '{feature}'; rename the column")
        ignored = tuple(name for name in table.frame.columns if name not in names and name not in others)
        return cls(time, choice.series, columns, layout.frequency, choice.sort, wanted is not None, ignored)

    def read(
        self,
        table: Table,
        complete: bool = True,
        say: Callable[[str], None] = _unsaid,
    ) -> SeriesTable:
        """The series of the table fitted to, or of a new one.

        Args:
            table: with the columns learned from; others are ignored, which is said.
            complete: refuse a table in which a column is not there; else its features are missing values.
            say: is told what was found, and what differs.

        Raises:
            UserError: a column that is not there, steps of another length, what :meth:`Column.read` refuses.
        """
        columns = self._present(table, complete, say)
        layout = Layout.of(table, self.time, self.series, self.sort, self.frequency, self.resample, say)
        say(layout.described(table.name, self.time))
        values = layout.values(table, self.columns, columns, say)
        features = [(feature, column.name) for column in self.columns for feature in column.features]
        return SeriesTable(
            table.name,
            tuple(feature for feature, _ in features),
            tuple(name for _, name in features),
            tuple(
                layout.series(number, values, self.columns, table.first_row) for number in range(len(layout.strands))
            ),
            self.frequency,
        )

    def _present(self, table: Table, complete: bool, say: Callable[[str], None]) -> tuple[Column, ...]:
        """The columns learned from that the table has."""
        there = table.frame.columns
        must = [*(self.time.names if self.time else ()), *([self.series] if self.series else [])]
        must += [column.name for column in self.columns] if complete else []
        absent = [name for name in must if name not in there]
        if absent:
            listed = ", ".join(f"'{name}'" for name in absent)
            raise UserError(
                f"{table.name}: no column {listed}, which the run was trained with; {nearest(absent[0], there)}"
            )
        known = {*must, *(column.name for column in self.columns), *self.ignored}
        extra = ", ".join(f"'{name}'" for name in there if name not in known)
        if extra:
            say(f"{table.name}: columns that the run was not trained with are ignored: {extra}")
        return tuple(column for column in self.columns if column.name in there)

    def to_config(self) -> dict[str, Any]:
        """Plain values, without None: for TOML and JSON."""
        return {
            "time": list(self.time.names) if self.time else [],
            "form": self.time.form if self.time else "",
            "offset": self.time.offset if self.time else "",
            "series": self.series,
            "frequency": str(self.frequency) if self.frequency else "",
            "day": self.frequency.day if self.frequency else 0,
            "sort": self.sort,
            "resample": self.resample,
            "ignored": list(self.ignored),
            "columns": [{"name": column.name, "categories": list(column.categories)} for column in self.columns],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Schema:
        """The inverse of :meth:`to_config`.

        Raises:
            UserError: the description is malformed.
        """
        try:
            times, ignored = _texts(config["time"]), _texts(config["ignored"])
            columns = tuple(
                Column(_texts([column["name"]])[0], _texts(column["categories"])) for column in config["columns"]
            )
            form, offset, series, step = _texts([config[name] for name in ("form", "offset", "series", "frequency")])
            time = TimeColumns(times, form, offset) if times else None
            sort, resample, day = config["sort"], config["resample"], config["day"]
            if {type(sort), type(resample)} != {bool} or type(day) is not int or not 0 <= day <= 31 or not columns:
                raise ValueError
            frequency = Frequency.parse(step) if step else None
            if frequency:
                frequency = Frequency(frequency.count, frequency.unit, day)
        except (KeyError, TypeError, ValueError):
            raise UserError("malformed schema of a table; train anew") from None
        return cls(time, series, columns, frequency, sort, resample, ignored)


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise TypeError
    return tuple(values)


def _wanted(
    table: Table, choice: Choice, time: TimeColumns | None, layout: Layout, texts: bool, say: Callable[[str], None]
) -> list[str]:
    """The columns to learn from."""
    if choice.columns:
        return _named(table, choice, time, texts)
    names, counting = [], []
    kinds = "no numbers and no categories" if texts else "no numbers"
    for column in table.frame:
        if column.name == choice.series or (time and column.name in time.names):
            continue
        if _counts_rows(column, layout):
            counting.append(column.name)
        elif not (is_feature(column) if texts else _has_numbers(column)) or holds_times(column):
            if column.dtype in TEXTS and not holds_times(column):
                check_no_numbers(table, column)
            say(f"{table.name}: column '{column.name}' is left out: it holds {kinds}")
        else:
            names.append(column.name)
    if names:
        for name in counting:
            say(f"{table.name}: column '{name}' is left out: it only counts the rows; --inputs takes it in")
    if not (names or counting):
        raise UserError(
            f"{table.name}: no column to learn from, besides {', '.join(map(repr, table.frame.columns))}; give some"
        )
    return names or counting


def _named(table: Table, choice: Choice, time: TimeColumns | None, texts: bool) -> list[str]:
    """The columns that the user names."""
    frame = table.frame
    for name in choice.columns:
        if name not in frame.columns:
            raise UserError(f"{table.name}: no column '{name}'; {nearest(name, frame.columns)}")
        if name == choice.series or (time and name in time.names and not frame[name].dtype.is_numeric()):
            part = "names the series" if name == choice.series else "says when; the calendar's features come from it"
            raise UserError(f"{table.name}: column '{name}' {part}; leave it out of the columns to learn from")
        if not texts and frame[name].dtype in TEXTS:
            check_no_numbers(table, frame[name])
            raise UserError(f"{table.name}: column '{name}' holds text; want numbers: leave it out")
    return list(dict.fromkeys(choice.columns))


def _has_numbers(column: pl.Series) -> bool:
    return column.null_count() < len(column) and (column.dtype.is_numeric() or column.dtype == pl.Boolean)


def _counts_rows(column: pl.Series, layout: Layout) -> bool:
    """1, 2, 3, ... or 0, 1, 2, ... to the table's last row; or by one from row to row within every series, as the file
    has them: how long a series lasts already is no sign of anything else."""
    if not column.dtype.is_integer() or column.null_count():
        return False
    values = column.cast(pl.Int64, strict=False).to_numpy()
    if values[0] in (0, 1) and bool((np.diff(values) == 1).all()):
        return True
    orders = [strand.order for strand in layout.strands]
    return (
        len(orders) > 1
        and max(map(len, orders)) >= _FEW
        and all(bool((np.diff(values[order]) == 1).all()) for order in orders)
    )
