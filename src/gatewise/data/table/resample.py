"""Rows at any time become one row a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatewise.data.table.clock import Frequency
from gatewise.errors import UserError

_MOST_PUT_IN = 100
"""Steps for each row of the file; one wrong year would ask for more memory than there is."""


@dataclass(frozen=True)
class Grid:
    """The steps that the rows of a series fall into.

    Attributes:
        first: the number of the first step.
        begin: (S,) the first row of each step that has one.
        numbers: (S,) those steps, counted from the first.
        frequency: of the steps.
    """

    first: int
    begin: np.ndarray
    numbers: np.ndarray
    frequency: Frequency

    @classmethod
    def of(cls, times: np.ndarray, frequency: Frequency, place: str) -> Grid:
        """Of rising times.

        Raises:
            UserError: steps so short that nearly all would be empty.
        """
        numbers = frequency.numbers(times)
        begin = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
        grid = cls(int(numbers[0]), begin, numbers[begin] - numbers[0], frequency)
        if len(grid) > _MOST_PUT_IN * len(times):
            raise UserError(
                f"{place}: {len(times)} rows would become {len(grid)} steps of {frequency}; look for a wrong time "
                f"between {times[0]} and {times[-1]}, or give longer steps"
            )
        return grid

    def __len__(self) -> int:
        return int(self.numbers[-1]) + 1

    @property
    def times(self) -> np.ndarray:
        """When the steps begin."""
        return self.frequency.starts(self.first + np.arange(len(self)))

    def means(self, values: np.ndarray) -> np.ndarray:
        """Of what each step has, missing values apart: (rows,) to (steps,), NaN where it has nothing."""
        known = ~np.isnan(values)
        counts = np.add.reduceat(known, self.begin, dtype=np.int64)
        sums = np.add.reduceat(np.where(known, values, 0.0), self.begin)
        found = np.full(len(self), np.nan)
        found[self.numbers] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        return found

    def commonest(self, values: np.ndarray) -> np.ndarray:
        """The same of a category's columns of 0 and 1, (rows, k): 1 for the most frequent, the first of equals."""
        shares = np.stack([self.means(column) for column in values.T], axis=1)
        most = (shares == shares.max(1, keepdims=True)) & (shares > 0)
        found = (most & (most.cumsum(1) == 1)).astype(float)
        found[np.isnan(shares).any(1)] = np.nan
        return found

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """The first row of each step, -1 where it has none."""
        found = np.full(len(self), -1, np.int64)
        found[self.numbers] = rows[self.begin]
        return found
