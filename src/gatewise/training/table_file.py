"""Tables out: .csv, .parquet or .xlsx, by the file's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

from gatewise.errors import UserError
from gatewise.training.checkpoint import replacing
from gatewise.training.run import Run


def check_table_file(path: Path) -> None:
    """Raise if a table cannot be written under this name; before long work, not after it."""
    if path.suffix.lower() not in WRITERS:
        raise UserError(f"--out {path}: want a name that ends in {', '.join(WRITERS)}")


def keep_data(out: Path, run: Run, *read: Path | None) -> None:
    """Raise if a table would be written over the data that a run has learned from, or over what is ``read``."""
    data = run.read_config()["data"]
    learned = (Path(data[name]) for name in ("path", "test") if data.get(name))
    for path in (*learned, *filter(None, read)):
        if out.exists() and path.exists() and out.samefile(path):
            raise UserError(f"--out {out}: is the data itself, which would be lost; give another name")


def write_table(frame: pl.DataFrame, path: Path) -> None:
    """Replace a file whole by a table.

    Time stamps that all are midnights are written as dates. What is missing is left empty.

    Raises:
        UserError: a name that ends otherwise, or a folder that cannot be written to.
    """
    check_table_file(path)
    with replacing(path) as temporary:
        WRITERS[path.suffix.lower()](_dated(frame), temporary)


def _dated(frame: pl.DataFrame) -> pl.DataFrame:
    times = [name for name, kind in frame.schema.items() if kind == pl.Datetime]
    days = [name for name in times if (frame[name].dt.time().drop_nulls().cast(pl.Int64) == 0).all()]
    return frame.with_columns(pl.col(days).cast(pl.Date), pl.selectors.float().fill_nan(None))


def _csv(frame: pl.DataFrame, path: Path) -> None:
    exact = all((frame[name].dt.microsecond() == 0).all() for name, kind in frame.schema.items() if kind == pl.Datetime)
    frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M:%S" if exact else "%Y-%m-%d %H:%M:%S%.6f")


def _parquet(frame: pl.DataFrame, path: Path) -> None:
    frame.write_parquet(path)


def _excel(frame: pl.DataFrame, path: Path) -> None:
    with path.open("wb") as file:
        frame.write_excel(file, column_formats={pl.selectors.float(): "General"}, autofit=True)


WRITERS: Mapping[str, Callable[[pl.DataFrame, Path], None]] = {".csv": _csv, ".parquet": _parquet, ".xlsx": _excel}
"""By the end of the file's name."""
