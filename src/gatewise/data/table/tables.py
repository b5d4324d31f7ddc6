"""Tables from outside: CSV, Parquet, Excel, and any data frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from gatewise.data.table.data_frames import columns_of
from gatewise.data.table.delimited import read_delimited
from gatewise.data.table.workbook import read_sheet
from gatewise.errors import UserError

TEXT, WORKBOOKS, PARQUET = (".csv", ".tsv", ".txt"), (".xlsx", ".xlsm"), (".parquet", ".pq")
"""What tables are called, by kind."""

_KINDS = "want .csv, .tsv, .txt (these also as .gz), .parquet or .xlsx"


@dataclass(frozen=True)
class Table:
    """Columns with names, as they stand in the file.

    Attributes:
        frame: the columns; numbers are numbers, all else is text as it was written, a missing value is null.
        name: of the file or frame, for messages.
        first_row: the number of the first row of data, as messages count: 2 under the header of a CSV file, 1 in a
            Parquet file, 0 in a data frame.
    """

    frame: pl.DataFrame
    name: str
    first_row: int


def _unsaid(line: str) -> None: ...


def read_table(path: str | Path, sheet: str = "", say: Callable[[str], None] = _unsaid) -> Table:
    r"""A table from a file.

    Text (``.csv``, ``.tsv``, ``.txt``, each also as ``.gz``) has names in its first row; fields are separated by
    commas, semicolons or tabs, whichever gives every row as many fields as the first. It is UTF-8 with or without
    byte-order mark, UTF-16 with one, or GB18030 where its names or first texts are Chinese. Decimal commas are read
    where semicolons separate (or tabs, where thousands are ruled out) and no number has a decimal point.
    Missing values are an empty field and :data:`gatewise.data.table.entries.MISSING`; nothing else is taken for
    missing. Of Excel (``.xlsx``) one sheet is read; an error in a cell (``#DIV/0!``) is a missing value. Rows at the
    end that hold nothing are left out.

    Args:
        path: the file.
        sheet: of a workbook, by name; may be left out where there is one.
        say: is told what was decided: the encoding, decimal commas, rows left out.

    Raises:
        UserError: nothing there, a folder, a name that ends otherwise, what cannot be read; no rows; no header, one
            with an empty or doubled name; rows of unequal lengths. The message names the first such row.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "a.csv").write_text("zeit;wert\n2020-01-01;1,5\n2020-01-02;NA\n")
    ...     table = read_table(Path(folder, "a.csv"), say=lambda line: print(line.split(": ")[1]))
    ...     table.frame["wert"].to_list(), table.first_row
    read with decimal commas ('1,5' in row 2, column 'wert', is 1.5)
    ([1.5, None], 2)
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-1] if suffixes else ""
    packed = kind == ".gz" and suffixes[-2:-1] != [] and suffixes[-2] in TEXT
    _check_there(path)
    if sheet and kind not in WORKBOOKS:
        raise UserError(f"{path}: no Excel file, and has no sheet '{sheet}'; leave the sheet out")
    if kind in TEXT or packed:
        return Table(read_delimited(path, packed, say), str(path), first_row=2)
    if kind in WORKBOOKS:
        frame, first_row = read_sheet(path, sheet, say)
        return Table(frame, str(path), first_row)
    if kind in PARQUET:
        return Table(_read_parquet(path), str(path), first_row=1)
    if kind == ".ts":
        raise UserError(f"{path}: sequences with a label each, no table; they are for `gatewise train classify {path}`")
    raise UserError(f"{path}: {_KINDS}")


def table_of(frame: Any, name: str = "the data frame") -> Table:
    """A table of a data frame: polars, pandas, PyArrow and all else that narwhals knows.

    A pandas index becomes a column, "index" where it has no name; one of whole numbers without a name only numbers the
    rows and does not. Text stays text, even where it looks like numbers: the frame's types are its owner's word.

    Args:
        frame: the data frame; one that is lazy is collected.
        name: for messages.

    Raises:
        UserError: no data frame, no rows, a name that is empty or doubled.

    >>> table_of(pl.DataFrame({"a": [1, 2]}).lazy()).frame.shape
    (2, 1)
    """
    if isinstance(frame, Table):
        return frame
    try:
        columns = columns_of(frame)
    except Exception as error:  # the readers of so many kinds of frames raise almost anything
        raise UserError(f"{name}: not a data frame that can be read ({_first_line(error)})") from None
    for number, column in enumerate(columns.columns):
        if not column.strip():
            raise UserError(f"{name}: column {number + 1} has no name; give it one")
    if not columns.height or not columns.width:
        raise UserError(f"{name}: has {columns.height} rows and {columns.width} columns; give some of each")
    return Table(columns, name, first_row=0)


def _check_there(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except (OSError, ValueError) as error:
        if os.path.isdir(path):
            reason = "is a folder; give a file in it"
        elif isinstance(error, FileNotFoundError):
            reason = f"does not exist (looked for in {Path.cwd()}); check the name, or give the full path"
        else:
            reason = f"cannot be read ({getattr(error, 'strerror', None) or error}); check the path and its permissions"
        raise UserError(f"{path}: {reason}") from None
    if empty:
        raise UserError(f"{path}: is empty (0 bytes); give a file with a row of names and rows of values")


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as Parquet ({_first_line(error)}); write it anew") from None
    if not frame.height or not frame.width:
        raise UserError(f"{path}: has {frame.height} rows and {frame.width} columns; give some of each")
    return frame


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
