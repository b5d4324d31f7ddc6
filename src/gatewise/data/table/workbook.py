"""A table from a sheet of an Excel workbook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from gatewise.data.table.entries import MISSING, settled
from gatewise.data.table.header import column_names
from gatewise.errors import UserError, nearest


def read_sheet(path: Path, sheet: str, say: Callable[[str], None]) -> tuple[pl.DataFrame, int]:
    """The columns of a sheet, and the sheet's row of the first values; its names are in the first row with anything.

    Raises:
        UserError: no Excel file, no such sheet, several sheets and none named, an empty sheet, a bad header.
    """
    import fastexcel  # for those alone who have workbooks

    try:
        book = fastexcel.read_excel(path)
    except Exception as error:  # its readers of damaged files raise almost anything
        raise UserError(f"{path}: cannot be read as Excel ({_in_a_line(error)}); save it anew as .xlsx") from None
    name = _which(book.sheet_names, sheet, path)
    place = f"{path}, sheet '{name}'"
    fields = _loaded(book, name, "string", place)
    filled = (
        fields.with_row_index("").filter(pl.any_horizontal(pl.exclude("").is_not_null()))[""] if fields.width else []
    )
    if len(filled) < 2:
        raise UserError(f"{place}: is empty; give a sheet with a row of names and rows of values")
    header, last = filled[0], filled[-1]
    names = [field or "" for field in fields.row(header)]
    frame = fields[header + 1 : last + 1]
    named = [number for number, field in enumerate(names) if field.strip() or frame.to_series(number).count()]
    names = column_names([names[number] for number in named], MISSING, f"{place}: row {header + 1}", say)
    columns = [settled(frame.to_series(number).rename(name)) for number, name in zip(named, names, strict=True)]
    of_numbers = [fields.columns[number] for number, column in zip(named, columns, strict=True) if _is_number(column)]
    types = dict.fromkeys(fields.columns, "string") | dict.fromkeys(of_numbers, "float")
    exact = _loaded(book, name, types, place)[header + 1 : last + 1]
    columns = [
        _exact(exact.to_series(number), column) if _is_number(column) else column
        for number, column in zip(named, columns, strict=True)
    ]
    return pl.DataFrame(columns), header + 2


def _loaded(book: Any, sheet: str, types: str | dict[str, str], place: str) -> pl.DataFrame:
    try:
        return book.load_sheet(sheet, header_row=None, skip_rows=0, dtypes=types).to_polars()
    except Exception as error:
        raise UserError(f"{place}: cannot be read ({_in_a_line(error)}); save it anew as .xlsx") from None


def _is_number(column: pl.Series) -> bool:
    return column.dtype.is_numeric()


def _exact(numbers: pl.Series, from_text: pl.Series) -> pl.Series:
    """A cell of a number as the file has it, and one of text by its text: a number read as text has nine decimals."""
    values = numbers.rename(from_text.name).zip_with(numbers.is_not_null(), from_text.cast(pl.Float64))
    return values.cast(pl.Int64) if (values == values.cast(pl.Int64, strict=False)).all() else values


def _which(sheets: list[str], wanted: str, path: Path) -> str:
    listed = ", ".join(sheets)
    if wanted in sheets:
        return wanted
    if wanted:
        raise UserError(f"{path}: no sheet '{wanted}'; {nearest(wanted, sheets)}")
    if len(sheets) != 1:
        raise UserError(f"{path}: has {len(sheets)} sheets ({listed}); name one with --sheet")
    return sheets[0]


def _in_a_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
