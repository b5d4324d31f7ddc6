"""A column as time stamps: which form its entries have, and what they are in it."""

from __future__ import annotations

import functools
import re

import numpy as np
import polars as pl

_DATES = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y年%m月%d日",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%b-%Y",
    "%d %b %Y",
    "%b %d, %Y",
)

_MONTHS = ("%Y-%m", "%Y/%m", "%Y年%m月", "%b %Y", "%b-%Y", "%m/%Y")

_TIMES = ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")

_DIGITS = {6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}

_SINCE_1970 = {"s": 10, "ms": 13, "us": 16, "ns": 19}
"""Units since 1970, and the digits of such a number between 2001 and 2286."""

_ZONE = r"(\d)\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)$"

_YEARS = (1600, 2300)
"""What lies outside is no date: years of two digits, for one."""

_SAMPLE = 200

_LOOKED_AT = 5
"""Entries of which one must look like a time."""


def forms_of(column: pl.Series, most: bool = False) -> tuple[str, ...]:
    """The forms in which all of the first and last entries are times, or most of them are.

    There is more than one where day and month may be swapped.

    A form is "" for a column of times, a pattern of :func:`time.strptime` (its time of the day may be left out at
    midnight), "year", or "s", "ms", "us" or "ns" since 1970.

    >>> forms_of(pl.Series(["2014-01-05 03:00:00", "2014-01-06"])), forms_of(pl.Series(["NW", "SE"]))
    (('%Y-%m-%d %H:%M:%S%.f',), ())
    >>> forms_of(pl.Series(["3/4/2014"])), forms_of(pl.Series(["3/14/2014"])), forms_of(pl.Series([1949, 1950]))
    (('%d/%m/%Y', '%m/%d/%Y'), ('%m/%d/%Y',), ('year',))
    """
    if column.dtype in (pl.Datetime, pl.Date):
        return ("",)
    sample = column.drop_nulls()
    if not len(sample):
        return ()
    # From both ends: the day of the month is above 12 somewhere.
    sample = pl.concat([sample.head(_SAMPLE), sample.tail(_SAMPLE)])
    if column.dtype == pl.String:
        forms = [date + time for date in _DATES for time in _TIMES] + list(_MONTHS)
        texts = sample.head(_LOOKED_AT).to_list()
        forms = [form for form in forms if any(map(_shape(form).fullmatch, texts))]
        found = [form for form in forms if _fits(sample, form, most)]
        # Midnights fit every form of a date: the shortest says all there is.
        return tuple(form for form in found if not any(form != short and form.startswith(short) for short in found))
    if not column.dtype.is_numeric() or not (sample == sample.round()).all():
        return ()
    lengths = sample.cast(pl.Int64, strict=False).cast(pl.String).str.len_chars().unique().to_list()
    forms = ["year"] if lengths == [4] else [_DIGITS[size] for size in lengths if len(lengths) == 1 and size in _DIGITS]
    forms += [unit for unit, digits in _SINCE_1970.items() if lengths == [digits]]
    return tuple(form for form in forms if _fits(sample, form, most))[:1]


def _fits(sample: pl.Series, form: str, most: bool) -> bool:
    return as_times(sample, form)[0].null_count() <= (len(sample) - 1) // 2 * most


@functools.cache
def _shape(form: str) -> re.Pattern[str]:
    """What a text in the form looks like: most texts are no times, and this shows it sooner than reading them does."""
    date, _, time = form.partition(" %H") if " %H" in form else form.partition(" %I")
    digits = {"%Y": r"\d{4}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%b": r"[^\W\d]{3}"}
    pattern = re.sub("%[Ymdb]", lambda part: digits[part[0]], re.escape(date).replace("\\%", "%"))
    return re.compile(rf"\s*{pattern}([T\s].*)?" if time else rf"\s*{pattern}\s*", re.IGNORECASE)


def as_times(column: pl.Series, form: str) -> tuple[pl.Series, pl.Series | None]:
    """The times in a form, and how far each is ahead of UTC, in minutes; None where no offset is written.

    Both are as the clock on the wall showed them. What is no time in the form is null.

    >>> as_times(pl.Series(["2014-01-05T03:00:00+02:00"]), "%Y-%m-%d %H:%M:%S%.f")[1].to_list()
    [120]
    """
    if form == "":
        return _native(column)
    if form == "year":
        return _within(pl.select(_datetime_of_years(column)).to_series()), None
    if form in _SINCE_1970:
        number = column.cast(pl.Int64, strict=False)
        times = number.cast(pl.Datetime("ns")) if form == "ns" else number.cast(pl.Datetime("us"))
        factor = {"s": 1_000_000, "ms": 1000}.get(form, 1)
        return _within((number * factor).cast(pl.Datetime("us")) if factor > 1 else times.cast(pl.Datetime("us"))), None
    text = column if column.dtype == pl.String else column.cast(pl.Int64, strict=False).cast(pl.String)
    text = text.str.strip_chars()
    offsets = None
    if ":" in form:
        offsets, text = _offsets(text)
        text = text.str.replace(r"(\d)[Tt](\d)", "$1 $2").str.replace(r"(:\d\d),(\d)", "$1.$2")
    return _within(_parsed(text, form)), offsets


def as_written(times: np.ndarray, form: str) -> pl.Series:
    """Times in a form, as a file has them: texts, or whole numbers for years and the like.

    >>> as_written(np.array(["1961-01-01"], "M8[us]"), "%Y-%m").to_list()
    ['1961-01']
    """
    column = pl.Series(times.astype("M8[us]"))
    if form == "year":
        return column.dt.year().cast(pl.Int64)
    if form in _SINCE_1970:
        return pl.Series(times.astype(f"M8[{form}]").astype(np.int64))
    if not form:
        return column
    if form in _DIGITS.values():
        return column.dt.strftime(form).cast(pl.Int64)
    whole = not (times.astype("M8[us]").astype(np.int64) % 1_000_000).any()
    return column.dt.strftime(form.replace("%S%.f", "%S" if whole else "%S%.6f"))


def _parsed(text: pl.Series, form: str) -> pl.Series:
    if form in _MONTHS or form == "%Y%m":
        return (text + " 1").str.to_datetime(form + " %d", strict=False, time_unit="us")
    if form == "%Y%m%d%H":  # an hour wants its minutes
        return (text + "00").str.to_datetime(form + "%M", strict=False, time_unit="us")
    times = text.str.to_datetime(form, strict=False, time_unit="us")
    date, _, time = form.partition(" %H") if " %H" in form else form.partition(" %I")
    if time and times.null_count() > text.null_count():
        midnights = text.str.to_datetime(date, strict=False, time_unit="us")
        times = times.zip_with(times.is_not_null(), midnights)
    return times


def _offsets(text: pl.Series) -> tuple[pl.Series | None, pl.Series]:
    """Minutes ahead of UTC, and the text without them."""
    zone = text.str.extract(r":\d\d(?:[.,]\d+)?" + _ZONE.replace(r"(\d)", ""), 1)
    if zone.null_count() == len(zone):
        return None, text
    parts = zone.str.replace(r"^(Z|UTC)$", "+00:00").str.extract_groups(r"^([+-])(\d\d):?(\d\d)?$").struct.unnest()
    sign, hours, minutes = (parts.to_series(number) for number in range(3))
    ahead = hours.cast(pl.Int32) * 60 + minutes.fill_null("0").cast(pl.Int32)
    ahead = ahead.zip_with(sign == "+", -ahead)
    return ahead, text.str.replace(_ZONE, "$1")


def _native(column: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    zone = getattr(column.dtype, "time_zone", None)
    if zone is None:
        return column.cast(pl.Datetime("us")), None
    wall = column.dt.replace_time_zone(None)
    utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return wall.cast(pl.Datetime("us")), (wall - utc).dt.total_minutes()


def _datetime_of_years(years: pl.Series) -> pl.Series:
    text = years.cast(pl.Int64, strict=False).cast(pl.String)
    return (text + "-01-01").str.to_datetime("%Y-%m-%d", strict=False, time_unit="us")


def _within(times: pl.Series) -> pl.Series:
    year = times.dt.year()
    return times.set(~year.is_between(*_YEARS), None)
