"""The rows of a table by series and time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from gatewise.data.table.clock import Frequency, steps_between
from gatewise.data.table.tables import Table
from gatewise.errors import UserError


@dataclass(frozen=True)
class Strand:
    """One series of a table, its rows in order of time.

    Attributes:
        key: its name; "" where the table is one series.
        order: (T,) places in the table.
        times: (T,) ``datetime64[us]``; None where there is no time.
    """

    key: str
    order: np.ndarray
    times: np.ndarray | None


def strands_of(table: Table, times: np.ndarray | None, series: str, sort: bool) -> list[Strand]:
    """The series in the order in which the file first names them.

    Args:
        table: of them all.
        times: of its rows.
        series: the column with the name of each row's series; "" for one series.
        sort: put the rows of each in order of time.

    Raises:
        UserError: a row without series; rows that are not in order and not to be sorted.
    """
    strands = []
    for key, order in _by_key(table, series):
        own = times if times is None or order is None else times[order]
        if order is None:
            order = np.arange(table.frame.height)
        if own is not None and len(own) > 1:
            backward = np.flatnonzero(own[1:] < own[:-1])
            if len(backward) and not sort:
                place = backward[0]
                raise UserError(
                    f"{table.name}: row {order[place + 1] + table.first_row}: {said(own[place + 1])} after "
                    f"{said(own[place])}{_of(key)}; the rows are not in order of time, --sort puts them so"
                    f"{_several(series)}{_summer(own[place])}"
                )
            if len(backward):
                sorting = np.argsort(own, kind="stable")
                order, own = order[sorting], own[sorting]
        strands.append(Strand(key, order, own))
    return strands


def common_frequency(table: Table, strands: list[Strand], series: str, wanted: Frequency | None) -> Frequency | None:
    """From one time stamp to the next, the same in all series; None where none has two rows.

    Args:
        table: for messages.
        strands: its series, which have times.
        series: the column of series, "" where there is one.
        wanted: what it must be, if that is known.

    Raises:
        UserError: two rows of one time in a series; steps that are not alike, or not those wanted.
    """
    first, first_key = wanted, ""
    for strand in strands:
        if strand.times is None or len(strand.times) < 2:
            continue
        check_once(table, strand, series)
        steps, found = steps_between(strand.times, wanted)
        expected = found.months or found.microseconds
        odd = np.flatnonzero(steps != expected)
        if len(odd):
            raise UserError(_uneven(table, strand, int(odd[0]), steps, found, len(odd)))
        if first is None:
            first, first_key = found, strand.key
        elif (first.months, first.microseconds) != (found.months, found.microseconds):
            other = f"{_of(first_key).removeprefix(' of ')}" if first_key else "the data trained on"
            raise UserError(
                f"{table.name}: row {strand.order[0] + table.first_row}: steps of {found}{_of(strand.key)}, but of "
                f"{first} in {other}; give all one, or --resample {first}"
            )
        elif found.day > first.day:  # 30 in a series that has seen no month of 31 days
            first = found
    return first


def check_once(table: Table, strand: Strand, series: str) -> None:
    """No time stands twice in a series."""
    assert strand.times is not None
    same = np.flatnonzero(strand.times[1:] == strand.times[:-1])
    if len(same):
        one, other = sorted(int(row) + table.first_row for row in strand.order[same[0] : same[0] + 2])
        raise UserError(
            f"{table.name}: rows {one} and {other} have the same time, {said(strand.times[same[0]])}{_of(strand.key)}; "
            f"keep one, or --resample takes their mean{_several(series)}{_summer(strand.times[same[0]])}"
        )


def _by_key(table: Table, series: str) -> list[tuple[str, np.ndarray | None]]:
    """Each series' name and places; None for all places."""
    if not series:
        return [("", None)]
    column = table.frame[series]
    if column.null_count():
        row = int(column.is_null().arg_max() or 0) + table.first_row
        raise UserError(f"{table.name}: row {row}, column '{series}': the row names no series; fill it in")
    if column.dtype.is_float() and (column == column.round()).all():
        column = column.cast(pl.Int64)
    codes = column.to_frame().select(pl.col(column.name).rank("dense"))[column.name].to_numpy().astype(np.int64)
    by_code = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[by_code], prepend=-1))
    parts = np.split(by_code, starts[1:])
    parts.sort(key=lambda part: int(part[0]))
    return [(str(column[int(part[0])]), part) for part in parts]


def _uneven(table: Table, strand: Strand, place: int, steps: np.ndarray, usual: Frequency, count: int) -> str:
    assert strand.times is not None
    size = int(steps[place])
    step = str(Frequency.calendar(size, 0) if usual.months else Frequency.fixed(size))
    if 2 * count > len(steps):
        kind = f"the steps are uneven; --resample with a step of your choice, say {usual}, makes them even"
    elif steps[place] > (usual.months or usual.microseconds):
        kind = f"while most steps are {usual}; put the missing rows in, or --resample {usual} does"
    else:
        kind = f"while most steps are {usual}; take the row out, or --resample {usual} takes means"
    return (
        f"{table.name}: row {strand.order[place + 1] + table.first_row}: {said(strand.times[place + 1])} comes {step} "
        f"after the row before{_of(strand.key)}, {kind}{_summer(strand.times[place])}"
    )


def said(time: Any) -> str:
    """A ``datetime64`` without what is zero at its end.

    >>> said(np.datetime64("2024-01-31T13:00:00.000000")), said(np.datetime64("2024-01-31T00:00:00.000000"))
    ('2024-01-31 13:00', '2024-01-31')
    """
    text = str(time.astype("M8[us]")).replace("T", " ")
    for end in (".000000", ":00", " 00:00"):
        text = text.removesuffix(end)
    return text


def _of(key: str) -> str:
    return f" of series '{key}'" if key else ""


def _several(series: str) -> str:
    return "" if series else "; if the table holds several series, --series names their column"


def _summer(time: Any) -> str:
    """A hint where clocks may have been changed: a Sunday night in spring or autumn."""
    day = time.astype("M8[D]")
    sunday, month = (day.astype(np.int64) + 4) % 7 == 0, int(time.astype("M8[M]").astype(np.int64)) % 12 + 1
    if sunday and month in (3, 4, 9, 10, 11) and (time - day) < np.timedelta64(4, "h"):
        return " (if summer time began or ended here: write times in UTC, or with their offset)"
    return ""
