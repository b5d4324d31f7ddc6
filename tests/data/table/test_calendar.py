"""Features of the calendar, against the calendar of the standard library."""

import datetime
import math

import numpy as np
import pytest

from gatewise import UserError
from gatewise.data.table.calendar import Calendar
from gatewise.data.table.clock import Frequency

MOMENTS = [
    datetime.datetime(1969, 12, 31, 23, 59), datetime.datetime(1970, 1, 1), datetime.datetime(2024, 2, 29, 6, 30),
    datetime.datetime(2024, 12, 31, 18, 0, 1), datetime.datetime(2023, 7, 2, 12),
]  # fmt: skip


def test_every_cycle_is_where_the_standard_library_says():
    times = np.array(MOMENTS, dtype="datetime64[us]")
    shares = {
        "hour of day": [(m - datetime.datetime(m.year, m.month, m.day)).total_seconds() / 86400 for m in MOMENTS],
        "day of week": [m.weekday() / 7 for m in MOMENTS],
        "day of year": [(m.timetuple().tm_yday - 1) / 365.25 for m in MOMENTS],
        "month of year": [(m.month - 1) / 12 for m in MOMENTS],
    }
    for cycle, expected in shares.items():
        calendar = Calendar((cycle,))
        waves = [(math.sin(2 * math.pi * p), math.cos(2 * math.pi * p)) for p in expected]
        np.testing.assert_allclose(calendar.encode(times), waves, atol=1e-6)
        assert calendar.names == (f"{cycle} (sin)", f"{cycle} (cos)")
    assert Calendar(tuple(shares)).encode(times.reshape(5, 1)).shape == (5, 1, 8)
    assert Calendar(()).encode(times).shape == (5, 0)


@pytest.mark.parametrize(
    ("frequency", "cycles"),
    [
        (Frequency(100, "ms"), "hour of day, day of week, day of year"),
        (Frequency(15, "min"), "hour of day, day of week, day of year"),
        (Frequency(12, "h"), "hour of day, day of week, day of year"),
        (Frequency(24, "h"), "day of week, day of year"), (Frequency(1, "d"), "day of week, day of year"),
        (Frequency(7, "d"), "day of year"),
        (Frequency(1, "mo"), "month of year"), (Frequency(3, "mo"), "month of year"),
        (Frequency(12, "mo"), ""), (Frequency(1, "y"), ""),
    ],
    ids=str,
)  # fmt: skip
def test_cycles_suit_the_frequency(frequency, cycles):
    assert ", ".join(Calendar.suited(frequency).cycles) == cycles


def test_an_unknown_cycle_is_refused():
    with pytest.raises(UserError, match="no cycle of the calendar is called 'hour of week'; did you mean 'hour of day"):
        Calendar(("hour of week",))
