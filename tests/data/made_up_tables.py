"""Small tables for tests, and what a window must be, found the slow way: row by row, by the words of the rules."""

import numpy as np

from gatewise.data.table.clock import Frequency
from gatewise.data.table.series_table import Series, SeriesTable


def table_of(*values, columns=None, origins=None, hourly=False, name="made up"):
    """One series for each array (T, d)."""
    columns = columns or tuple("abcdefgh"[: values[0].shape[1]])
    found = []
    for place, one in enumerate(values):
        times = np.datetime64("2024-01-01T00", "us") + np.arange(len(one)) * np.timedelta64(1, "h") if hourly else None
        key = f"series {place}" if len(values) > 1 else ""
        found.append(Series(key, np.array(one, dtype=np.float64), times, np.arange(len(one)) + 2))
    return SeriesTable(name, columns, origins or columns, tuple(found), Frequency(1, "h") if hourly else None)


def random_values(seed, rows, columns, gaps=0.3):
    """Whole numbers, so that windows can be told apart, with gaps; the first row is whole."""
    draw = np.random.default_rng(seed)
    values = draw.integers(-50, 50, (rows, columns)).astype(np.float64)
    values[1:][draw.random((rows - 1, columns)) < gaps] = np.nan
    return values


def slow_fill(column, start, stop, policy):
    """What a window ``[start, stop)`` shows of one column of standardised values, row by row."""
    shown = []
    for row in range(start, stop):
        before = [t for t in range(row + 1) if not np.isnan(column[t])]
        after = [t for t in range(row, stop) if not np.isnan(column[t])]
        if policy in ("error", "drop"):
            shown.append(column[row])
        elif not before:
            shown.append(0.0)  # the training mean
        elif policy == "interpolate" and after and after[0] > before[-1]:
            left, right = before[-1], after[0]
            share = (row - left) / (right - left)
            shown.append((1 - share) * column[left] + share * column[right])
        else:
            shown.append(column[before[-1]])
    return np.array(shown)


def slow_marks(column, start, stop):
    """Whether it was observed, and log(1 + steps since) / 4."""
    marks = []
    for row in range(start, stop):
        before = [t for t in range(row + 1) if not np.isnan(column[t])]
        marks.append((not np.isnan(column[row]), np.log(1 + row - (before[-1] if before else -1)) / 4))
    return np.array(marks, dtype=np.float64)
