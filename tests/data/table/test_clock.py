"""Frequencies: what comes after, against the calendar of Python; how far apart stamps stand."""

import calendar
import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise import UserError
from gatewise.data.table.clock import Frequency, steps_between

_TIMES = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))


def _months_later(time: dt.datetime, months: int, day: int) -> dt.datetime:
    """Month by month, as a person counts."""
    year, month = time.year, time.month
    for _ in range(months):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return time.replace(year=year, month=month, day=min(day, calendar.monthrange(year, month)[1]))


@given(_TIMES, st.integers(1, 30), st.sampled_from(["mo", "y"]), st.integers(1, 5))
def test_months_and_years_after(time, count, unit, steps):
    months = count * {"mo": 1, "y": 12}[unit]
    wanted = [_months_later(time, months * (step + 1), time.day) for step in range(steps)]
    assert Frequency(count, unit).after(np.datetime64(time), steps).tolist() == wanted
    wanted = [_months_later(time, months * (step + 1), 31) for step in range(steps)]
    assert Frequency(count, unit, day=31).after(np.datetime64(time), steps).tolist() == wanted


@given(_TIMES, st.integers(1, 10**4), st.sampled_from(["us", "ms", "s", "min", "h", "d"]))
def test_steps_of_fixed_length_after(time, count, unit):
    names = {"us": "microseconds", "ms": "milliseconds", "s": "seconds", "min": "minutes", "h": "hours", "d": "days"}
    step = dt.timedelta(**{names[unit]: count})
    found = Frequency(count, unit).after(np.datetime64(time), 3)
    assert found.dtype == np.dtype("M8[us]")
    assert found.tolist() == [time + step, time + 2 * step, time + 3 * step]
    assert Frequency.fixed(step // dt.timedelta(microseconds=1)).microseconds == step // dt.timedelta(microseconds=1)


def test_after_keeps_the_last_day_of_the_month():
    after = Frequency(1, "mo", day=31).after(np.datetime64("2023-02-28"), 3)
    assert after.astype("M8[D]").tolist() == [dt.date(2023, 3, 31), dt.date(2023, 4, 30), dt.date(2023, 5, 31)]
    after = Frequency(1, "y").after(np.datetime64("2024-02-29T12:30"), 4)
    assert after.tolist()[0] == dt.datetime(2025, 2, 28, 12, 30)
    assert after.tolist()[3] == dt.datetime(2028, 2, 29, 12, 30)
    assert len(Frequency(1, "h").after(np.datetime64("2024-01-01"), 0)) == 0


def _stamps(*texts: str) -> np.ndarray:
    return np.array(texts, "M8[us]")


@pytest.mark.parametrize(
    ("stamps", "frequency"),
    [
        (_stamps("2024-01-01T00:00", "2024-01-01T00:15"), Frequency(15, "min")),
        (_stamps("2024-01-01", "2024-01-08", "2024-01-15"), Frequency(7, "d")),
        (_stamps("2024-01-01T00:00:00.25", "2024-01-01T00:00:00.5"), Frequency(250, "ms")),
        (_stamps("2024-01-01", "2024-02-01"), Frequency(1, "mo", 1)),
        (_stamps("2024-01-31", "2024-02-29", "2024-03-31"), Frequency(1, "mo", 31)),
        (_stamps("2023-01-30", "2023-02-28", "2023-03-30"), Frequency(1, "mo", 30)),
        (_stamps("2023-06-30", "2023-09-30", "2023-12-31"), Frequency(3, "mo", 31)),
        (_stamps("2023-04-30", "2023-06-30"), Frequency(2, "mo", 31)),
        (_stamps("2021-07-01", "2022-07-01", "2023-07-01"), Frequency(1, "y", 1)),  # 365 days each
        (_stamps("2024-02-28", "2024-02-29", "2024-03-01"), Frequency(1, "d")),
        (_stamps("2024-01-31", "2024-02-01"), Frequency(1, "d")),
        (_stamps("2024-01-01", "2024-01-02", "2024-01-03", "2024-01-07"), Frequency(1, "d")),
        (_stamps("2024-01-01", "2024-02-01", "2024-03-01", "2024-05-01"), Frequency(1, "mo", 1)),
        (_stamps("2024-01-01T00:00", "2024-02-01T01:00"), Frequency(745, "h")),
    ],
)
def test_what_frequency_stamps_have(stamps, frequency):
    steps, found = steps_between(stamps)
    assert found == frequency
    assert len(steps) == len(stamps) - 1
    regular = (steps == (found.months or found.microseconds)).all()
    if regular:
        np.testing.assert_array_equal(found.after(stamps[0], len(stamps) - 1), stamps[1:])


@given(_TIMES, st.integers(1, 40), st.sampled_from(["mo", "y", "d", "h", "s"]), st.integers(2, 150))
def test_the_frequency_of_what_comes_after_is_found(time, count, unit, rows):
    """Of steps that are longer than those of February to March, and so are no months by chance."""
    step = Frequency(count, unit, time.day if unit in ("mo", "y") else 0)
    stamps = step.after(np.datetime64(time), rows)
    if stamps[-1] < np.datetime64("9000-01-01"):
        steps, found = steps_between(stamps, wanted=step)
        assert (found.months, found.microseconds) == (step.months, step.microseconds)
        assert (steps == (found.months or found.microseconds)).all()


def test_what_is_expected_settles_what_few_stamps_leave_open():
    stamps = _stamps("2023-02-01", "2023-03-01")
    assert steps_between(stamps)[1] == Frequency(1, "mo", 1)
    assert steps_between(stamps, Frequency(28, "d"))[1] == Frequency(28, "d")
    stamps = _stamps("2023-06-30", "2023-09-30")
    assert steps_between(stamps, Frequency(3, "mo", 30))[1] == Frequency(3, "mo", 30)


def test_frequencies_in_words():
    for text, frequency in (("15min", Frequency(15, "min")), (" 2 w", Frequency(14, "d")), ("mo", Frequency(1, "mo"))):
        assert Frequency.parse(text) == frequency
    for text in ("", "0h", "00d", "1.5h", "-1h", "1 hour", "h1", "9999999999d"):
        with pytest.raises(UserError, match=r"--resample '.*': want a count and a unit"):
            Frequency.parse(text, "--resample")


@given(st.lists(_TIMES, min_size=1), st.sampled_from([(3, "h"), (2, "d"), (7, "d"), (1, "mo"), (3, "mo"), (1, "y")]))
def test_the_grid_of_steps(times, step):
    frequency = Frequency(*step)
    stamps = np.array(times, "M8[us]")
    numbers = frequency.numbers(stamps)
    begins = frequency.starts(numbers)
    assert (begins <= stamps).all()
    assert (stamps < frequency.starts(numbers + 1)).all()
    for begin in begins.tolist():
        assert begin.microsecond == begin.second == begin.minute == 0
        assert begin.hour % 3 == 0 if step == (3, "h") else begin.hour == 0
        assert step != (7, "d") or begin.weekday() == 0
        assert step[1] == "d" or step[1] == "h" or begin.day == 1
        assert step != (3, "mo") or begin.month in (1, 4, 7, 10)
