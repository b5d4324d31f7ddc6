"""A table as series of numbers over time: what every task on tables learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gatewise.data.table.clock import Frequency
from gatewise.errors import UserError

_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Series:
    """One series, its steps in order of time.

    Attributes:
        key: its name in the column of series; "" where the table is one series.
        values: (T, d) float64 in the file's own units, NaN where it has nothing; a category is columns of 0 and 1.
        times: (T,) ``datetime64[us]``; None where the table has no time.
        rows: (T,) the file's row of each step, counted as a person does (the header of a CSV is row 1); -1 for a step
            that resampling put in.
    """

    key: str
    values: np.ndarray
    times: np.ndarray | None
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def named(self) -> str:
        """What messages add where a table has several."""
        return f" of series '{self.key}'" if self.key else ""

    def place(self, row: int) -> str:
        """What messages call one of its rows: as the file counts it."""
        named = self.named
        number = int(self.rows[row])
        when = "" if self.times is None else f" ({np.datetime_as_string(self.times[row], unit='s')})"
        return f"row {number}{named}" if number >= 0 else f"the step put in{when}{named}"


@dataclass(frozen=True)
class SeriesTable:
    """All series of a table.

    Attributes:
        name: of the file or frame, for messages.
        columns: the names of the d features: "temperature", "wind=NW".
        origins: the table's column each feature came from: "temperature", "wind".
        series: one or more, each with the same features.
        frequency: from one time stamp to the next; None where there is no time.
    """

    name: str
    columns: tuple[str, ...]
    origins: tuple[str, ...]
    series: tuple[Series, ...]
    frequency: Frequency | None

    def places(self, names: tuple[str, ...]) -> list[int]:
        """Where the features of these columns of the table stand, in the order of ``names``."""
        return [place for name in names for place, origin in enumerate(self.origins) if origin == name]

    def observed_until(self, places: Sequence[int]) -> list[int]:
        """Of each series how many rows it has up to the last with a value in one of these features."""
        found = []
        for series in self.series:
            rows = np.flatnonzero(~np.isnan(series.values[:, places]).all(1))
            found.append(int(rows[-1]) + 1 if len(rows) else 0)
        return found

    def check_complete(self, places: Sequence[int], policies: str, ends: Sequence[int] | None = None) -> None:
        """Refuse a missing value in the features at these places.

        Args:
            places: of the features.
            policies: of ``--missing``, for the message.
            ends: of each series, the rows that are looked at; None for all.

        Raises:
            UserError: it names the first of the first series with one.
        """
        for series, end in zip(self.series, ends or map(len, self.series), strict=True):
            for start in range(0, end, _ROWS_AT_ONCE):
                gaps = np.argwhere(np.isnan(series.values[start : min(start + _ROWS_AT_ONCE, end), places]))
                if len(gaps):
                    row, place = gaps[0]
                    column = self.origins[places[place]]
                    raise UserError(
                        f"{self.name}: {series.place(start + row)} has nothing in column '{column}'; fill it, or say "
                        f"what to do when training: --missing {policies}"
                    )


def first_of(names: Sequence[str], most: int = 3) -> str:
    """The first of many, and how many more there are.

    >>> first_of(["a", "b", "c", "d", "e"]), first_of(["a", "b"])
    ('a, b, c and 2 more', 'a, b')
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
