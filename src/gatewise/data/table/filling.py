"""What stands where a table has nothing: the named policies for missing values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POLICIES = ("error", "drop", "interpolate", "mask")
"""``error``: refuse. ``drop``: no window touches a missing value. ``interpolate``: a straight line. ``mask``: the last
value, and beside it whether it is one and how old it is."""

_OLD = 4.0
"""log(1 + steps) that counts as 1: some fifty steps."""


@dataclass(frozen=True)
class Filled:
    """Standardised values of all series, one after the other, gaps filled where the policy fills them.

    Attributes:
        values: (N, D) float32; NaN is left under ``error`` and ``drop`` alone.
        policy: one of :data:`POLICIES`.
        gappy: (D,) for each column its place in ``last``, −1 for one without a gap.
        last: (N, G) the row of the last observation at or before each row, within its series; −1 where there is none.
        first: (S,) the row at which each series begins.
    """

    values: np.ndarray
    policy: str
    gappy: np.ndarray
    last: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, policy: str, starts: Sequence[int]) -> Filled:
        """Fill ``values`` in place.

        Args:
            values: (N, D) float32, NaN where nothing was observed; 0 is the mean of the training rows.
            policy: one of :data:`POLICIES`.
            starts: (S + 1,) the row at which each series begins, and the end of the last.

        >>> values = np.array([[np.nan], [1.0], [np.nan], [3.0], [np.nan]], dtype=np.float32)
        >>> filled = Filled.of(values, "interpolate", [0, 5])
        >>> filled.values[:, 0].tolist(), filled.last[:, 0].tolist()
        ([0.0, 1.0, 2.0, 3.0, 3.0], [-1, 1, 1, 3, 3])
        """
        columns = [place for place in range(values.shape[1]) if np.isnan(values[:, place]).any()]
        gappy = np.full(values.shape[1], -1)
        gappy[columns] = range(len(columns))
        last = np.empty((len(values), len(columns)), dtype=np.int32)
        for place, column in enumerate(columns):
            for start, stop in itertools.pairwise(starts):
                last[start:stop, place] = _fill(values[start:stop, column], policy, start)
        return cls(values, policy, gappy, last, np.asarray(starts[:-1]))

    def as_seen(self, rows: np.ndarray, places: Sequence[int]) -> np.ndarray:
        """The columns ``places`` of windows, filled without a value from after their last row.

        Args:
            rows: (L, B) consecutive rows of one series each.

        Returns:
            (L, B, n) float32.
        """
        seen = self._taken(rows, places)
        if self.policy == "interpolate":
            for n, place in enumerate(places):
                if self.gappy[place] >= 0:
                    # A line to an observation after the window would tell of it: there the last value stands.
                    reach = self.last[rows[-1], self.gappy[place]]
                    held = np.where(reach < 0, 0, self.values[np.maximum(reach, 0), place])
                    seen[..., n] = np.where(rows > reach, held, seen[..., n])
        return seen

    def as_observed(self, rows: np.ndarray, places: Sequence[int]) -> np.ndarray:
        """The columns ``places`` at any rows, NaN where nothing was observed."""
        found = self._taken(rows, places)
        for n, place in enumerate(places):
            if self.gappy[place] >= 0:
                found[..., n][self.last[rows, self.gappy[place]] != rows] = np.nan
        return found

    def carried(self, rows: np.ndarray, places: Sequence[int]) -> np.ndarray:
        """The last observation of the columns ``places`` up to each row, whatever the policy; 0 where there is none."""
        found = self._taken(rows, places)
        for n, place in enumerate(places):
            if self.gappy[place] >= 0:
                last = self.last[rows, self.gappy[place]]
                found[..., n] = np.where(last < 0, 0, self.values[np.maximum(last, 0), place])
        return found

    def first_observed(self, places: Sequence[int]) -> np.ndarray:
        """(S, n) the row of the first observation of the columns ``places`` in each series; the number of all rows
        where there is none."""
        found = np.repeat(self.first[:, None], len(places), 1)
        stops = [*self.first[1:], len(self.values)]
        for n, place in enumerate(places):
            if self.gappy[place] >= 0:
                last = self.last[:, self.gappy[place]]
                for series, (start, stop) in enumerate(zip(self.first, stops, strict=True)):
                    seen = np.flatnonzero(last[start:stop] >= 0)
                    found[series, n] = start + seen[0] if len(seen) else len(self.values)
        return found

    def _taken(self, rows: np.ndarray, places: Sequence[int]) -> np.ndarray:
        if not places:
            return np.empty((*rows.shape, 0), dtype=np.float32)
        found = np.take(self.values, rows, axis=0)  # many times as fast as values[rows]
        return found if list(places) == list(range(found.shape[-1])) else found[..., list(places)]

    def marks(self, rows: np.ndarray, places: Sequence[int]) -> np.ndarray:
        """Two features of each of the columns: 1 where it was observed, else 0; log(1 + steps since then) / 4.

        Before a first observation the steps are counted from the one before the series.
        """
        marks = np.zeros((*rows.shape, 2 * len(places)), dtype=np.float32)
        marks[..., ::2] = 1
        for n, place in enumerate(places):
            if self.gappy[place] >= 0:
                last = self.last[rows, self.gappy[place]]
                begin = self.first[np.searchsorted(self.first, rows, side="right") - 1]
                marks[..., 2 * n] = last == rows
                marks[..., 2 * n + 1] = np.log1p(rows - np.where(last < 0, begin - 1, last)) / _OLD
        return marks

    def touched(self, places: Sequence[int]) -> np.ndarray | None:
        """(N,) whether a row has nothing in one of these columns; None where that never is so."""
        found = None
        for place in (place for place in places if self.gappy[place] >= 0):
            missing = self.last[:, self.gappy[place]] != np.arange(len(self.values))
            found = missing if found is None else found | missing
        return found


def _fill(column: np.ndarray, policy: str, start: int) -> np.ndarray:
    """Fill one column of one series, which begins at row ``start``, in place; the rows of its last observations."""
    seen = ~np.isnan(column)
    places = np.arange(start, start + len(column), dtype=np.int32)
    last = np.maximum.accumulate(np.where(seen, places, -1)) if len(column) else places
    if policy == "mask":
        column[:] = np.where(last < 0, 0, column[np.maximum(last - start, 0)])
    elif policy == "interpolate":
        known = np.flatnonzero(seen)
        gaps = np.flatnonzero(~seen)
        column[gaps] = np.interp(gaps, known, column[known], left=0.0) if len(known) else 0.0
    return last
