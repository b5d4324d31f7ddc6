"""Time stamps: how far apart they stand, and what comes after the last."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from gatewise.errors import UserError

_FIXED = {"d": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1}
"""Microseconds, the longest unit first."""

_MONTHS = {"y": 12, "mo": 1}

_MONDAY = np.datetime64("1969-12-29", "us")
"""Where steps of days are counted from: those of seven begin on Mondays."""


@dataclass(frozen=True)
class Frequency:
    """From one time stamp to the next.

    Attributes:
        count: of units.
        unit: "us", "ms", "s", "min", "h", "d", "mo" or "y"; months and years have no fixed length.
        day: of the month on which steps of months and years stand, 31 for its last; 0 for that of the time given.

    >>> str(Frequency(1, "h")), str(Frequency(15, "min")), str(Frequency(1, "mo"))
    ('1h', '15min', '1mo')
    """

    count: int
    unit: str
    day: int = 0

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    @classmethod
    def parse(cls, text: str, place: str = "frequency") -> Frequency:
        """From "1h", "15min", "1mo"; "w" is seven days, and no number is 1.

        Raises:
            UserError: something else, with ``place`` before it.

        >>> Frequency.parse("2w"), Frequency.parse("h")
        (Frequency(count=14, unit='d', day=0), Frequency(count=1, unit='h', day=0))
        """
        match = re.fullmatch(r"\s*(\d{0,9})\s*(us|ms|s|min|h|d|w|mo|y)\s*", text)
        if not match or match[1].strip("0") == "" != match[1]:
            raise UserError(
                f"{place} '{text}': want a count and a unit, us, ms, s, min, h, d, w, mo or y: 15min, 1h, 1d"
            )
        count = int(match[1] or 1)
        return cls(7 * count, "d") if match[2] == "w" else cls(count, match[2])

    @classmethod
    def fixed(cls, microseconds: int) -> Frequency:
        """In the longest unit that leaves no remainder.

        >>> str(Frequency.fixed(7_200_000_000))
        '2h'
        """
        unit = next(unit for unit, length in _FIXED.items() if microseconds % length == 0)
        return cls(microseconds // _FIXED[unit], unit)

    @classmethod
    def calendar(cls, months: int, day: int) -> Frequency:
        """In years, if they are whole."""
        return cls(months // 12, "y", day) if months % 12 == 0 else cls(months, "mo", day)

    @property
    def months(self) -> int:
        """0 where a step has a fixed length."""
        return self.count * _MONTHS.get(self.unit, 0)

    @property
    def microseconds(self) -> int:
        """0 where a step has no fixed length."""
        return self.count * _FIXED.get(self.unit, 0)

    @property
    def longest(self) -> int:
        """Microseconds that a step has at most."""
        return self.microseconds or 31 * self.months * _FIXED["d"]

    def after(self, time: np.datetime64, steps: int) -> np.ndarray:
        """The ``steps`` time stamps that follow ``time``: (steps,) ``datetime64[us]``.

        A month without the day ends the step on its last: after 31 January comes 28 or 29 February, then 31 March.

        >>> Frequency(1, "mo").after(np.datetime64("2024-01-31"), 2).astype("M8[D]").tolist()
        [datetime.date(2024, 2, 29), datetime.date(2024, 3, 31)]
        """
        numbers = np.arange(1, steps + 1)
        start = time.astype("M8[us]")
        if not self.months:
            return start + (numbers * self.microseconds).astype("m8[us]")
        _, day, rest = _parts(np.array([start]))
        months = start.astype("M8[M]") + (numbers * self.months).astype("m8[M]")
        days = np.minimum(self.day or int(day[0]), _lengths(months))
        return months.astype("M8[us]") + (days - 1).astype("m8[D]") + rest[0]

    def numbers(self, times: np.ndarray) -> np.ndarray:
        """In which step of a grid that is the same for all series each time lies: int64."""
        if self.months:
            return times.astype("M8[M]").astype(np.int64) // self.months
        return (times - _MONDAY).astype(np.int64) // self.microseconds

    def starts(self, numbers: np.ndarray) -> np.ndarray:
        """When these steps begin: ``datetime64[us]``."""
        if self.months:
            return (numbers * self.months).astype("M8[M]").astype("M8[us]")
        return _MONDAY + (numbers * self.microseconds).astype("m8[us]")


def steps_between(times: np.ndarray, wanted: Frequency | None = None) -> tuple[np.ndarray, Frequency]:
    """How far apart neighbours stand, (T-1,) in the unit of a frequency, and that: the most frequent step.

    Months are counted where all times have the same time of the day and stand on one day of their months, each in
    another one; microseconds everywhere else.

    Args:
        times: (T,) ``datetime64[us]``, T at least 2, rising.
        wanted: the frequency that is expected, if one is: a file of February and March alone cannot tell 28 days from
            a month, nor the 30th from a month's last day.

    >>> steps_between(np.array(["2024-01-31", "2024-02-29", "2024-03-31"], "M8[us]"))[1]
    Frequency(count=1, unit='mo', day=31)
    """
    steps = np.diff(times).astype(np.int64)
    if wanted and (steps == wanted.microseconds).all():
        return steps, wanted
    if (np.diff(_parts(times[:100])[0]) > 0).all():  # most series show soon that they are not counted in months
        months, days, rest = _parts(times)
        lengths = _lengths(times.astype("M8[M]"))
        day = (wanted.day if wanted else 0) or (31 if (days == lengths).all() else int(days.max()))
        if (np.diff(months) > 0).all() and (rest == rest[0]).all() and (days == np.minimum(day, lengths)).all():
            steps = np.diff(months)
            return steps, Frequency.calendar(_most_frequent(steps), day)
    return steps, Frequency.fixed(_most_frequent(steps))


def _most_frequent(steps: np.ndarray) -> int:
    if (steps == steps[0]).all():
        return int(steps[0])
    values, counts = np.unique(steps, return_counts=True)
    return int(values[counts.argmax()])


def _parts(times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Months since 1970, days of the month from 1, and the rest of the day."""
    days, months = times.astype("M8[D]"), times.astype("M8[M]")
    return months.astype(np.int64), (days - months.astype("M8[D]")).astype(np.int64) + 1, times - days


def _lengths(months: np.ndarray) -> np.ndarray:
    """Days of each month."""
    return ((months + 1).astype("M8[D]") - months.astype("M8[D]")).astype(np.int64)
