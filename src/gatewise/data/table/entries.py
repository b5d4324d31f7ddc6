"""What a field of a text says: a number, a truth, nothing, or a text."""

from __future__ import annotations

import polars as pl

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "NULL", "null", "-")
"""What stands for a missing value in a text file or a sheet; blanks around it do not count."""

_COMMA = r"^[+-]?(\d+|\d*,\d+)([eE][+-]?\d+)?$"
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+$"


def settled(column: pl.Series) -> pl.Series:
    """Numbers or truths where all entries are, else the text without blanks around it; null for what is missing.

    >>> settled(pl.Series([" 5", "NA", "+1e2"])).to_list()
    [5.0, None, 100.0]
    >>> settled(pl.Series(["5", "N "])).to_list()
    ['5', 'N']
    """
    if column.dtype == pl.Float64:
        return column.fill_nan(None)
    if column.dtype != pl.String:
        return column
    entry = pl.col(column.name).str.strip_chars()
    text = column.to_frame().select(pl.when(~entry.is_in(MISSING)).then(entry))[column.name]
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == text.null_count() < len(text):
        return whole
    numbers = as_numbers(text)
    if numbers.null_count() == text.null_count():
        return numbers
    truths = text.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
    return truths if truths.null_count() == text.null_count() else text


def as_numbers(text: pl.Series) -> pl.Series:
    """Float64; null for what is no number, and for what is missing."""
    return text.cast(pl.Float64, strict=False).fill_nan(None)


def comma_numbers(text: pl.Series) -> pl.Series:
    """The same of numbers with a decimal comma or without decimals.

    >>> comma_numbers(pl.Series(["1,5", "2", "1.5"])).to_list()
    [1.5, 2.0, None]
    """
    entry = pl.col(text.name)
    kept = text.to_frame().select(pl.when(entry.str.contains(_COMMA)).then(entry.str.replace(",", ".", literal=True)))
    return kept[text.name].cast(pl.Float64, strict=False)


def may_be_thousands(text: pl.Series) -> bool:
    """Whether all commas could separate thousands: "1,500", "12,250,000".

    >>> may_be_thousands(pl.Series(["1,500", "12"])), may_be_thousands(pl.Series(["1,500", "1,5"]))
    (True, False)
    """
    with_comma = text.filter(text.str.contains(",", literal=True))
    return bool(with_comma.str.contains(_THOUSANDS).all())
