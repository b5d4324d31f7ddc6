"""A table as series of numbers over time: what every task on tables learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatewise.data.clock import Frequency


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
