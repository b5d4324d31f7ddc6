"""Folders of recordings: files of numbers, one a recording, the label in the file's name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gatewise.data.recordings.sequences import Recording, Sequences
from gatewise.data.text import read_text
from gatewise.errors import UserError

_KINDS = (".csv", ".dat", ".txt", ".tsv")
_MISSING = frozenset(("", "?", "na", "nan", "n/a", "null"))


def read_recordings(
    path: str | Path, label_from: str, channels: int = 0, say: Callable[[str], None] = lambda line: None
) -> Sequences:
    r"""A folder of ``.csv``, ``.tsv``, ``.dat`` and ``.txt`` files, or one of them: numbers, a row a step.

    Values stand with blanks, tabs, commas or semicolons between; a first row of names is passed over. ``?``, ``NA``
    and ``NaN`` are missing values, and so is an empty field. A file whose columns disagree with those of most, while
    its rows agree, is stored transposed: it is turned, and that is said.

    Args:
        path: of the folder or file.
        label_from: a regular expression with one group, which matches the label in a file's name; empty for
            recordings whose label is not known, which is then empty too.
        channels: columns that every file wants; 0: as many as most have.
        say: told of what was turned.

    Raises:
        UserError: nothing to read, a name without a label, text in the place of a number, rows of different lengths,
            or a file with another number of columns.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "run1_ok.csv").write_text("a,b\n1,2\n3,4\n5,6\n")
    ...     _ = Path(folder, "run2_bad.dat").write_text(" 1.5  2\n 3  ?\n 1 1")
    ...     found = read_recordings(folder, "_([a-z]+)")
    >>> [(one.name, one.label, one.values.shape) for one in found]
    [('run1_ok.csv', 'ok', (3, 2)), ('run2_bad.dat', 'bad', (3, 2))]
    """
    path = Path(path)
    pattern = _pattern(label_from)
    files = _files(path)
    labels = [_label_of(file, pattern) for file in files]
    values = [_read_numbers(file) for file in files]
    most = channels or Counter(one.shape[1] for one in values).most_common(1)[0][0]
    recordings = []
    for file, label, one in zip(files, labels, values, strict=True):
        if one.shape[1] != most:
            if one.shape[0] != most:
                raise UserError(
                    f"{file}: {one.shape[0]} rows of {one.shape[1]} columns; the {'model' if channels else 'others'} "
                    f"want{'s' if channels else ''} {most} columns; leave the file out, or mend it"
                )
            say(f"{file.name}: stored transposed, {one.shape[0]} rows of {one.shape[1]}; turned to columns")
            one = one.T
        recordings.append(Recording(file.name, one, np.full(len(one), label), str(file.parent)))
    return Sequences(str(path), tuple(recordings))


def _pattern(label_from: str) -> re.Pattern[str] | None:
    if not label_from:
        return None
    try:
        pattern = re.compile(label_from)
    except re.error as error:
        raise UserError(f"--label-from '{label_from}': not a regular expression ({error}); mend it") from None
    if pattern.groups != 1:
        raise UserError(
            f"--label-from '{label_from}': has {pattern.groups} groups; want one, in brackets, the label, as in "
            r"'d(\d\d)'"
        )
    return pattern


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in _KINDS and file.name[0] != ".")
        if not files:
            raise UserError(f"{path}: no recordings in it; want files that end in {', '.join(_KINDS)}")
        return files
    return [path]


def _label_of(file: Path, pattern: re.Pattern[str] | None) -> str:
    if pattern is None:
        return ""
    found = pattern.search(file.name)
    if found is None or not found[1]:
        raise UserError(
            f"{file}: --label-from '{pattern.pattern}' finds no label in this name; mend it, or move the file"
        )
    return found[1]


def _read_numbers(file: Path) -> np.ndarray:
    """The numbers of a file, (rows, columns)."""
    lines = [(number, line) for number, line in enumerate(read_text(file).split("\n"), 1) if line.strip()]
    separator = next((mark for mark in ("\t", ";", ",") if mark in lines[0][1]), None)
    if separator == "\t" and not lines[0][1].strip("\t ").count("\t"):
        separator = None
    rows: list[np.ndarray] = []
    for place, (number, line) in enumerate(lines):
        fields = line.split(separator)
        if place == 0 and len(lines) > 1 and not any(_is_number(field) for field in fields):
            continue  # names
        if rows and len(fields) != len(rows[0]):
            raise UserError(f"{file}, row {number}: {len(fields)} values, and the rows before have {len(rows[0])}")
        rows.append(_row(file, number, fields))
    return np.stack(rows)


def _row(file: Path, number: int, fields: list[str]) -> np.ndarray:
    for column, field in enumerate(fields, 1):
        if not _is_number(field) and field.strip().lower() not in _MISSING:
            raise UserError(f"{file}, row {number}, column {column}: {field.strip()[:40]!r} is no number; mend it")
    return np.array([float(field) if _is_number(field) else np.nan for field in fields])


def _is_number(field: str) -> bool:
    if "_" in field:  # Python would read 1_0 as 10
        return False
    try:
        float(field)
    except ValueError:
        return False
    return True
