"""Features of the calendar: where in the day, the week and the year a time stamp lies. Known of the future too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gatewise.data.table.clock import Frequency
from gatewise.errors import UserError, nearest

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "mo": 30.4 * 86400, "y": 3.2e7}
_DAY, _WEEK, _YEAR = 86400.0, 7 * 86400.0, 3.1e7


def _of_day(times: np.ndarray) -> np.ndarray:
    return (times - times.astype("datetime64[D]")) / np.timedelta64(1, "D")


def _of_week(times: np.ndarray) -> np.ndarray:
    return (times.astype("datetime64[D]").astype(np.int64) + 3) % 7 / 7  # the first of January 1970 was a Thursday


def _of_year(times: np.ndarray) -> np.ndarray:
    return (times.astype("datetime64[D]") - times.astype("datetime64[Y]")) / np.timedelta64(1, "D") / 365.25


def _of_months(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[M]").astype(np.int64) % 12 / 12


CYCLES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "hour of day": _of_day, "day of week": _of_week, "day of year": _of_year, "month of year": _of_months,
}  # fmt: skip
"""From time stamps to the share of the cycle that is over, 0 to 1."""


@dataclass(frozen=True)
class Calendar:
    """sin(2π p) and cos(2π p) of the share p of each cycle that is over at a time stamp.

    Attributes:
        cycles: names in :data:`CYCLES`.

    >>> calendar = Calendar.suited(Frequency(1, "h"))
    >>> calendar.cycles
    ('hour of day', 'day of week', 'day of year')
    >>> calendar.encode(np.array(["2024-01-01T06:00"], dtype="datetime64[us]")).round(3).tolist()
    [[1.0, 0.0, 0.0, 1.0, 0.0, 1.0]]
    """

    cycles: tuple[str, ...]

    def __post_init__(self) -> None:
        for cycle in self.cycles:
            if cycle not in CYCLES:
                raise UserError(f"no cycle of the calendar is called {cycle!r}; {nearest(str(cycle), CYCLES)}")

    @classmethod
    def suited(cls, frequency: Frequency) -> Calendar:
        """The cycles that have several steps of this length."""
        step = frequency.count * _SECONDS[frequency.unit]
        year = "month of year" if frequency.unit == "mo" else "day of year"
        longest = {"hour of day": _DAY, "day of week": _WEEK, year: _YEAR}
        return cls(tuple(cycle for cycle in CYCLES if cycle in longest and step < longest[cycle]))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features."""
        return tuple(f"{cycle} ({wave})" for cycle in self.cycles for wave in ("sin", "cos"))

    @property
    def size(self) -> int:
        return 2 * len(self.cycles)

    def encode(self, times: np.ndarray) -> np.ndarray:
        """Time stamps (...) to float32 (..., size)."""
        shares = np.stack([CYCLES[cycle](times) for cycle in self.cycles], -1) if self.cycles else np.zeros(0)
        waves = np.stack([np.sin(2 * np.pi * shares), np.cos(2 * np.pi * shares)], -1)
        return waves.reshape(*times.shape, self.size).astype(np.float32)


NO_CALENDAR = Calendar(())
"""No features."""
