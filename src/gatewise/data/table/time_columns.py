"""Which columns of a table say when, and what they say."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from gatewise.data.table.dates import as_times, as_written, forms_of
from gatewise.data.table.header import shown
from gatewise.data.table.tables import Table
from gatewise.errors import UserError, nearest

_PARTS = {
    "year": ("year", "yr", "年", "年份"),
    "month": ("month", "mon", "mo", "月", "月份"),
    "day": ("day", "dy", "日"),
    "hour": ("hour", "hr", "时", "小时"),
    "minute": ("minute", "min", "分", "分钟"),
    "second": ("second", "sec", "秒"),
}

_OF_A_DAY = {"hour": 24, "minute": 60, "second": 60}

_NUMBERS_MAY_BE_TIMES = {
    *("time", "date", "datetime", "timestamp", "period", "ts", "unix", "epoch", "datum", "zeit", "jahr"),
    *("日期", "时间", "时刻", "时间戳", "column 1", "year", "years", "yr", "年", "年份"),
}
"""Columns of numbers are taken for times under these names alone."""

_NO_TIME = "none"

_FORMS = "2024-01-31, 2024-01-31 13:00, 31.01.2024, 2024-01, 2024 or seconds since 1970"


@dataclass(frozen=True)
class TimeColumns:
    """Where the time stands.

    Attributes:
        names: of one column; of those for year, month and so on; or of one of dates and those of the time of the day.
        form: of the first, see :func:`gatewise.data.table.dates.forms_of`; "parts" where it is the year.
        offset: from UTC that times of every table are told in, "+02:00" or "Z"; "" where none is written, or only the
            day matters.
    """

    names: tuple[str, ...]
    form: str
    offset: str = ""

    def __post_init__(self) -> None:
        if self.offset and not re.fullmatch(r"Z|[+-]\d\d:\d\d", self.offset):
            raise ValueError(f"{self.offset!r} is no offset from UTC")

    def settled(self, table: Table) -> TimeColumns:
        """The same with the offset of a table's times: their own, or UTC where it changes from row to row."""
        column = table.frame[self.names[0]]
        if self.form == "parts" or as_times(column.drop_nulls().head(1), self.form)[1] is None:
            return self
        wall, offsets = as_times(column, self.form)
        if offsets is None or not len(wall) or _at_one_time_of_day(wall):
            return self
        return replace(self, offset=_offset_said(int(offsets[0] or 0) if offsets.n_unique() == 1 else 0))

    def written(self, times: np.ndarray) -> pl.Series:
        """``datetime64`` times as the column has them: "1961-01" where it holds months; times where it is several."""
        found = as_written(times, self.form if len(self.names) == 1 and self.form != "parts" else "")
        return found + self.offset if self.offset and found.dtype == pl.String else found

    def read(self, column: pl.Series) -> pl.Series:
        """The inverse of :meth:`written`, of a column of a CSV: times, dates where all are midnights; as it is where it
        holds neither.

        >>> TimeColumns(("month",), "%Y-%m").read(pl.Series(["1961-01"])).to_list()
        [datetime.date(1961, 1, 1)]
        """
        own = self.form if len(self.names) == 1 and self.form != "parts" else ""
        times = as_times(column, own or "%Y-%m-%d %H:%M:%S%.f")[0]
        if times.null_count() > column.null_count():
            return column
        return times.cast(pl.Date) if (times.drop_nulls() == times.drop_nulls().dt.truncate("1d")).all() else times


def find_time(table: Table, wanted: str, say: Callable[[str], None]) -> TimeColumns | None:
    """The columns that say when; None where there are none.

    A column named is taken ("date", or "date,hour", "year,month,day"; "none" for rows that count as steps). Else the
    one whose entries are all times; else columns called year, month, day, hour; else numbers (20240131, 2024, seconds
    since 1970) in a column that is called time, date, timestamp, year or the like.

    Raises:
        UserError: no such column, one that holds no times, several that could be meant, a day and a month that could
            be swapped in every row.
    """
    if wanted:
        return _named(table, wanted)
    texts = [column.name for column in table.frame if holds_times(column)]
    if len(texts) > 1:
        listed = ", ".join(map(shown, texts))
        raise UserError(f"{table.name}: the columns {listed} all hold times; name the one that counts with --time")
    if texts:
        return TimeColumns((texts[0],), _form(table, texts[0]))
    parts = _parts(table)
    if parts:
        return TimeColumns(parts, "parts")
    numbers = [
        column.name
        for column in table.frame
        if column.dtype.is_numeric() and column.name.lower() in _NUMBERS_MAY_BE_TIMES and forms_of(column)
    ]
    if len(numbers) > 1:
        listed = ", ".join(map(shown, numbers))
        raise UserError(f"{table.name}: the columns {listed} may all be times; name the one that counts with --time")
    if numbers:
        return TimeColumns((numbers[0],), _form(table, numbers[0]))
    say(f"{table.name}: no column of times; the rows count as steps of equal length (--time names a column)")
    return None


def _named(table: Table, wanted: str) -> TimeColumns | None:
    columns = table.frame.columns
    if wanted not in columns and wanted == _NO_TIME:
        return None
    names = (wanted,) if wanted in columns else tuple(name.strip() for name in wanted.split(","))
    for name in names:
        if name not in columns:
            raise UserError(f"{table.name}: --time {wanted}: no column '{name}'; {nearest(name, columns)}")
    levels = [_level(name) for name in names]
    if levels[:2] == ["year", "month"] and levels == list(_PARTS)[: len(levels)]:
        return TimeColumns(names, "parts")
    return TimeColumns(names, _form(table, names[0]))


def _level(name: str) -> str:
    return next((level for level, called in _PARTS.items() if name.lower() in called), "")


def _parts(table: Table) -> tuple[str, ...]:
    """Columns called year, month, day and so on, without a gap between."""
    found = {_level(column.name): column.name for column in table.frame if column.dtype.is_numeric()}
    names: list[str] = []
    for level in _PARTS:
        if level not in found:
            break
        names.append(found[level])
    return tuple(names) if len(names) > 1 else ()


def holds_times(column: pl.Series) -> bool:
    """Whether most entries of a column, which are no numbers, are times."""
    return not column.dtype.is_numeric() and bool(forms_of(column, most=True))


def _form(table: Table, name: str) -> str:
    column = table.frame[name]
    forms = forms_of(column) or forms_of(column, most=True)
    if not forms:
        known = column.drop_nulls().head(1)
        example = f" ({shown(known[0])} is the first entry)" if len(known) else ""
        raise UserError(f"{table.name}: column '{name}' holds no times{example}; known forms: {_FORMS}")
    if len(forms) > 1:  # the rows between the first and the last ones may tell day from month
        fitting = [form for form in forms if as_times(column, form)[0].null_count() == column.null_count()]
        forms = tuple(fitting) or forms[:1]
    if len(forms) > 1:
        raise UserError(
            f"{table.name}: column '{name}': which is the day and which the month of {shown(column.drop_nulls()[0])} "
            "cannot be told from any row; write 2024-01-31"
        )
    return next(iter(forms))


def times_of(table: Table, columns: TimeColumns, say: Callable[[str], None]) -> np.ndarray:
    """When each row is: (T,) ``datetime64[us]``.

    With an offset from UTC ("+02:00", "Z", the time zone of a data frame) they are told in that of ``columns``. Where
    that is not settled: as on the clock where all rows have the same, in UTC where it changes, as with summer time; but
    rows of one a day and fewer stay at their time of the day.

    Raises:
        UserError: a row without time, or with something else in its place; a part out of its range.
    """
    name = columns.names[0]
    if columns.form == "parts":
        times, rest = _dates_of_parts(table, columns.names[:3]), columns.names[3:]
    else:
        column = table.frame[name]
        form = "" if column.dtype.is_temporal() else columns.form or _form(table, name)
        times, offsets = as_times(column, form)
        if times.null_count() > column.null_count():  # a new file may write them in another way
            times, offsets = as_times(column, _form(table, name))
        _check_all(table, column, times)
        if offsets is not None:
            times = _on_one_clock(table, columns, times, offsets, say)
        rest = columns.names[1:]
    found = times.to_numpy().astype("M8[us]", copy=False)
    for name in rest:
        found = found + _within_day(table, name)
    return found


def _check_all(table: Table, column: pl.Series, times: pl.Series) -> None:
    if not times.null_count():
        return
    place = int(times.is_null().arg_max() or 0)
    where = f"{table.name}: row {place + table.first_row}, column '{column.name}'"
    if column[place] is None:
        raise UserError(f"{where}: no time; fill it in, or take the row out")
    known = column.filter(times.is_not_null()).head(1)
    as_others = f" as {shown(known[0])} is" if len(known) else ""
    raise UserError(f"{where}: {shown(column[place])} is no time{as_others}; mend it, or take the row out")


def _on_one_clock(
    table: Table, columns: TimeColumns, wall: pl.Series, offsets: pl.Series, say: Callable[[str], None]
) -> pl.Series:
    name = columns.names[0]
    if offsets.null_count():
        row = int(offsets.is_null().arg_max() or 0) + table.first_row
        raise UserError(
            f"{table.name}: row {row}, column '{name}': no offset from UTC, as other rows have; write all alike"
        )
    own = _offset_said(int(offsets[0])) if offsets.n_unique() == 1 else ""
    if own and columns.offset in ("", own):
        if own != "Z":
            say(f"{table.name}: times stay {own} of UTC, as '{name}' has them")
        return wall
    if not columns.offset and _at_one_time_of_day(wall):
        say(f"{table.name}: the offset from UTC changes in '{name}'; times stay at {wall[0]:%H:%M} of their days")
        return wall
    why = f"is {own}" if own else "changes"
    clock = "UTC" if columns.offset in ("", "Z") else f"{columns.offset} of UTC"
    say(f"{table.name}: the offset from UTC {why} in '{name}'{'' if own else ' (summer time)'}; times are in {clock}")
    moved = offsets.cast(pl.Int64) - _minutes(columns.offset)
    return wall - (moved * 60_000_000).cast(pl.Duration("us"))


def _at_one_time_of_day(wall: pl.Series) -> bool:
    return bool((wall.dt.time() == wall[0].time()).all()) if wall[0] is not None else False


def _offset_said(minutes: int) -> str:
    return f"{'-+'[minutes > 0]}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}" if minutes else "Z"


def _minutes(offset: str) -> int:
    if offset in ("", "Z"):
        return 0
    size = 60 * int(offset[1:3]) + int(offset[4:])
    return -size if offset[0] == "-" else size


def _dates_of_parts(table: Table, names: tuple[str, ...]) -> pl.Series:
    parts = [_whole(table, name) for name in names]
    text = parts[0].cast(pl.String)
    for part in [*parts[1:], *([pl.repeat(1, len(text), eager=True)] * (3 - len(parts)))]:
        text = text + "-" + part.cast(pl.String)
    times = as_times(text, "%Y-%m-%d")[0]
    if times.null_count():
        place = int(times.is_null().arg_max() or 0)
        listed = ", ".join(f"'{name}'" for name in names)
        raise UserError(
            f"{table.name}: row {place + table.first_row}, columns {listed}: {shown(text[place])} is no date; mend it, "
            "or take the row out"
        )
    return times


def _within_day(table: Table, name: str) -> np.ndarray:
    """How long after midnight: hours, minutes or seconds by the column's name, or times of the day."""
    column, level = table.frame[name], _level(name)
    if column.dtype == pl.Time:
        return column.cast(pl.Int64).to_numpy().astype("m8[ns]").astype("m8[us]")
    if column.dtype == pl.String:
        text = "2000-01-01 " + column.str.replace_all(".", ":", literal=True)
        times = pl.coalesce(*(pl.lit(as_times(text, f"%Y-%m-%d {form}")[0]) for form in ("%H:%M:%S%.f", "%H:%M")))
        found = pl.select(times).to_series()
        _check_all(table, column, found)
        return found.to_numpy().astype("M8[us]") - np.datetime64("2000-01-01", "us")
    if level not in _OF_A_DAY:
        raise UserError(
            f"{table.name}: --time: column '{name}' is no time of the day; want 13:00:00, or hours in 'hour'"
        )
    values = _whole(table, name).to_numpy()
    bad = np.flatnonzero((values < 0) | (values >= _OF_A_DAY[level]))
    if len(bad):
        raise UserError(
            f"{table.name}: row {bad[0] + table.first_row}, column '{name}': {values[bad[0]]} is no {level} (0 to "
            f"{_OF_A_DAY[level] - 1})"
        )
    return values.astype(f"m8[{level[0] if level != 'minute' else 'm'}]").astype("m8[us]")


def _whole(table: Table, name: str) -> pl.Series:
    column = table.frame[name]
    whole = column.cast(pl.Int64, strict=False) if column.dtype.is_numeric() else None
    bad = (whole.is_null() | (whole != column)) if whole is not None else pl.Series([True])
    if whole is None or bad.any():
        place = int(bad.arg_max() or 0)
        raise UserError(
            f"{table.name}: row {place + table.first_row}, column '{name}': {shown(column[place])} is no whole number; "
            "it says when the row is"
        )
    return whole
