"""A table from a text file whose fields are separated by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from gatewise.data.table.encoding import as_utf8
from gatewise.data.table.entries import MISSING, comma_numbers, may_be_thousands, settled
from gatewise.data.table.header import column_names, shown
from gatewise.data.table.records import Records, count_fields, first_record, refuse_stray_quote
from gatewise.errors import UserError


def read_delimited(path: Path, packed: bool, say: Callable[[str], None]) -> pl.DataFrame:
    """The columns of a text file: see :func:`gatewise.data.read_table`.

    Raises:
        UserError: see there.
    """
    content, recoded = as_utf8(_bytes(path, packed), str(path), say)
    records = count_fields(content, str(path))
    fields = _fields(first_record(content), records.separator, str(path))
    try:
        frame = _parsed(content.tobytes() if packed or recoded else path, records, len(fields), str(path))
    except UserError:
        refuse_stray_quote(content, str(path))
        raise
    frame, fields = _without_unnamed_end(frame, fields, str(path), say)
    names = column_names(fields, MISSING, f"{path}: row 1", say)
    frame.columns = list(names)
    frame = _without_empty_end(frame, str(path), say)
    written_with_points = [column.name for column in frame if column.dtype == pl.Float64]
    frame = pl.DataFrame([settled(column) for column in frame])
    if records.separator == ",":
        return frame
    return _with_decimal_commas(frame, written_with_points, records.separator, str(path), say)


def _fields(text: str, separator: str, name: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [""])
    except csv.Error as error:
        raise UserError(f"{name}: row 1: cannot be read as names of columns ({error}); mend it") from None


def _bytes(path: Path, packed: bool) -> np.ndarray:
    if not packed:
        return np.memmap(path, np.uint8, mode="r")
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be unpacked ({error}); pack it anew with gzip") from None
    if not content:
        raise UserError(f"{path}: is empty when unpacked; give a file with a row of names and rows of values")
    return np.frombuffer(content, np.uint8)


def _parsed(source: Path | bytes, records: Records, width: int, name: str) -> pl.DataFrame:
    """The columns, each of the type that all its rows have."""

    def parsed(all_text: bool) -> pl.DataFrame:
        return pl.read_csv(
            source,
            has_header=False,
            skip_rows=1,
            new_columns=[f"{number}" for number in range(width)],
            separator=records.separator,
            null_values=list(MISSING),
            infer_schema=not all_text,
            infer_schema_length=None,
            glob=False,
        )

    if records.count < 2:
        raise UserError(f"{name}: has {'a row of names and ' * records.count}no row of values; give some")
    try:
        try:
            frame = parsed(all_text=False)
        except pl.exceptions.ComputeError:  # whole numbers of 40 digits, for one
            frame = parsed(all_text=True)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"{name}: cannot be read as a table ({reason}); look for quotes within fields") from None
    rows = records.count - 1
    if frame.shape != (rows + records.blank_end, width):
        raise UserError(
            f"{name}: {frame.height} rows of {frame.width} fields, where {rows + records.blank_end} of {width} were "
            "counted; look for quotes within fields"
        )
    return frame[:rows]


def _without_unnamed_end(
    frame: pl.DataFrame, fields: list[str], name: str, say: Callable[[str], None]
) -> tuple[pl.DataFrame, list[str]]:
    """Without a last column that has neither name nor values: rows that end with a separator."""
    if len(fields) > 1 and not fields[-1].strip() and not frame.to_series(-1).count():
        say(f"{name}: every row ends with a separator; the empty column after it is left out")
        return frame[:, :-1], fields[:-1]
    return frame, fields


def _without_empty_end(frame: pl.DataFrame, name: str, say: Callable[[str], None]) -> pl.DataFrame:
    """Without rows of separators alone, as spreadsheets write them; a lone column may well end with missing values."""
    height = frame.height
    while frame.width > 1 and height and frame.row(height - 1).count(None) == frame.width:
        height -= 1
    if not height:
        raise UserError(f"{name}: has a row of names and no row with a value; give some")
    if height < frame.height:
        say(f"{name}: {frame.height - height} rows at the end hold nothing and are left out")
    return frame[:height]


def _with_decimal_commas(
    frame: pl.DataFrame, written_with_points: list[str], separator: str, name: str, say: Callable[[str], None]
) -> pl.DataFrame:
    """Columns of text whose entries are all numbers with a comma become numbers."""
    example = ""
    for column in frame:
        if column.dtype != pl.String or (separator == "\t" and may_be_thousands(column)):
            continue
        numbers = comma_numbers(column)
        if numbers.null_count() > column.null_count():
            continue
        row = int((column.str.contains(",", literal=True).fill_null(False)).arg_max() or 0)
        if not example:
            example = f"({shown(column[row])} in row {row + 2}, column '{column.name}', is {numbers[row]:g})"
        if written_with_points:
            raise UserError(
                f"{name}: row {row + 2}, column '{column.name}': {shown(column[row])} has a decimal comma, while "
                f"column '{written_with_points[0]}' has decimal points; write one kind"
            )
        frame = frame.with_columns(numbers)
    if example:
        say(f"{name}: read with decimal commas {example}")
    return frame
