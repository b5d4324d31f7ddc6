"""Where the table of a run comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from gatewise.data import Table, read_table, table_of
from gatewise.errors import UserError
from gatewise.training.run import Run, recordable

_AT_ONCE = 1 << 16


def _unsaid(line: str) -> None: ...


@dataclass(frozen=True, eq=False)
class TableSource:
    """A file with a table, or a data frame.

    Attributes:
        path: the file; None for a data frame.
        sheet: of a workbook.
        frame: the data frame, of any kind that narwhals knows.
    """

    path: Path | None
    sheet: str = ""
    frame: Any = None

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(".gz").rpartition(".")[0] or self.path.name if self.path else "table"

    def read(self, say: Callable[[str], None] = _unsaid) -> Table:
        """The table.

        Raises:
            UserError: nothing there, or nothing that is a table.
        """
        if self.frame is not None:
            return table_of(self.frame)
        if self.path is None:
            raise UserError("a run on a data frame cannot read it again; train on a file, or give the frame anew")
        return read_table(self.path, self.sheet, say)

    def to_config(self, table: Table) -> dict[str, Any]:
        """What ``config.toml`` records: enough to see that the table is the same."""
        return {
            "path": recordable(self.path) if self.path else "", "sheet": self.sheet, "rows": table.frame.height,
            "columns": table.frame.columns, "sha256": _mark(table.frame),
        }  # fmt: skip

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> TableSource:
        return cls(Path(data["path"]) if data.get("path") else None, data.get("sheet", ""))


def same_table(run: Run, source: TableSource, say: Callable[[str], None] = _unsaid) -> Table:
    """The source's table, if it is still that which a run was trained on."""
    table = source.read(say)
    if _mark(table.frame) != run.read_config()["data"].get("sha256"):
        raise UserError(f"{source.path}: is not the table that {run.folder} was trained on; bring that back")
    return table


def _mark(frame: pl.DataFrame) -> str:
    """Of names, kinds and values, whatever kind of file they stand in."""
    mark = hashlib.sha256()
    for column in frame:
        mark.update(f"{column.name}\0{column.dtype}\0{column.null_count()}\0".encode())
        if column.dtype.is_numeric():
            mark.update(column.to_numpy().tobytes())
        else:
            for start in range(0, len(column), _AT_ONCE):
                texts = column.slice(start, _AT_ONCE).cast(pl.String)
                mark.update("\0".join("\1" if text is None else text for text in texts).encode())
    return mark.hexdigest()
