"""Columns of times: every form against Python's datetime, which column is found, what is refused with which row."""

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gatewise import UserError
from gatewise.data import table_of
from gatewise.data.table.dates import forms_of
from gatewise.data.table.time_columns import TimeColumns, find_time, times_of

_DAY = dt.datetime(2024, 1, 31, 13, 5)


def _found(columns, wanted="") -> tuple[Any, Any, list[str]]:
    """The columns found, the times of all rows, and what was said."""
    table, said = table_of(pl.DataFrame(columns, strict=False), "t"), []
    found = find_time(table, wanted, said.append)
    return found, None if found is None else times_of(table, found, said.append).tolist(), said


def _refused(columns, wanted=""):
    with pytest.raises(UserError) as error:
        _found(columns, wanted)
    return str(error.value)


_WRITTEN = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M",
    "%Y/%m/%d %H:%M",
    "%Y.%m.%d %H:%M:%S.%f",
    "%Y年%m月%d日 %H:%M",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %I:%M %p",
    "%m/%d/%Y %H:%M",
    "%m-%d-%Y %H:%M:%S",
    "%d-%b-%Y %H:%M",
    "%b %d, %Y %H:%M",
    "%Y%m%d%H%M",
    "%Y%m%d%H%M%S",
]


@pytest.mark.parametrize("form", _WRITTEN)
def test_forms_of_time(form):
    times = [_DAY + dt.timedelta(hours=7 * step) for step in range(20)]
    written = [f"{time:{form}}" for time in times]
    column = [int(entry) for entry in written] if form.startswith("%Y%m%d") else written
    found, read, _ = _found({"time": column, "x": [0.5] * 20})
    assert read == times
    assert found.written(np.array(times, "M8[us]")).to_list() == [
        entry.replace("T", " ").removesuffix("000000").removesuffix(".") if isinstance(entry, str) else entry
        for entry in column
    ]


@pytest.mark.parametrize("form", ["%Y-%m", "%Y/%m", "%Y年%m月", "%b %Y", "%m/%Y", "%Y%m", "%Y", "%Y-%m-%d", "%Y%m%d"])
def test_forms_of_months_years_and_days(form):
    times = [dt.datetime(1949 + month, 1 + month if "m" in form or "b" in form else 1, 1) for month in range(12)]
    written = [f"{time:{form}}" for time in times]
    column = [int(entry) for entry in written] if written[0].isdecimal() else written
    found, read, _ = _found({"date": column, "x": [0.5] * 12})
    assert read == times
    assert found.written(np.array(times, "M8[us]")).to_list() == column


@settings(max_examples=50, deadline=None)
@given(st.lists(st.datetimes(dt.datetime(1600, 1, 1), dt.datetime(2300, 12, 31)), min_size=1))
def test_iso_times_are_read_as_python_wrote_them(times):
    assert _found({"a": [str(time) for time in times], "x": [0.5] * len(times)})[1] == times
    assert _found({"a": [time.isoformat() for time in times], "x": [0.5] * len(times)})[1] == times


@settings(max_examples=50, deadline=None)
@given(st.lists(st.datetimes(dt.datetime(2001, 10, 1), dt.datetime(2200, 12, 31)), min_size=1))
def test_seconds_since_1970(times):
    times = [time.replace(microsecond=0) for time in times]
    seconds = [int((time - dt.datetime(1970, 1, 1)).total_seconds()) for time in times]
    assume(not all(map(_may_be_a_date_and_an_hour, seconds)))
    for factor, form in ((1, "s"), (10**3, "ms"), (10**6, "us"), (10**9, "ns")):
        found, read, _ = _found({"timestamp": [factor * second for second in seconds], "x": [0.5] * len(times)})
        assert read == times
        assert found.form == form


def _may_be_a_date_and_an_hour(seconds):
    """1994032400: seconds since 1970 in 2033, and the first hour of 24 March 1994."""
    try:
        return 1600 <= dt.datetime.strptime(str(seconds), "%Y%m%d%H").year <= 2300
    except ValueError:
        return False


def test_seconds_that_are_all_dates_and_hours_too_are_taken_for_these():
    assert _found({"time": [1994032400, 1994032401], "x": [0.5, 1]})[1] == [
        dt.datetime(1994, 3, 24),
        dt.datetime(1994, 3, 24, 1),
    ]


def test_frames_bring_times_of_their_own():
    times = [dt.datetime(2024, 1, 1, hour) for hour in range(3)]
    for unit in ("ms", "us", "ns"):
        column = pl.Series(times).cast(pl.Datetime(unit))
        assert _found({"a": column, "x": [1.5, 2, 3]})[1] == times
    dates = [dt.date(2024, 1, day) for day in (1, 2, 3)]
    assert _found({"a": dates, "x": [1.5, 2, 3]})[1] == [dt.datetime(2024, 1, day) for day in (1, 2, 3)]


def test_day_and_month_that_may_be_swapped():
    hours = [dt.datetime(2024, 3, 1) + dt.timedelta(hours=step) for step in range(24 * 40)]
    for form in ("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"):
        column = [f"{time:{form}}" for time in hours]  # neither the first nor the last 200 rows tell
        assert column[0].startswith(("01/03", "03/01"))
        assert _found({"a": column, "x": [0.5] * len(column)})[1] == hours
        message = _refused({"a": column[:200], "x": [0.5] * 200})
        assert f"column 'a': which is the day and which the month of '{column[0]}'" in message


def test_midnights_may_be_written_as_dates():
    assert _found({"a": ["2024-01-01", "2024-01-01 12:00:00", "2024-01-02"], "x": [1, 2, 4]})[1] == [
        dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 12), dt.datetime(2024, 1, 2),
    ]  # fmt: skip


def test_parts_of_a_time_in_columns_of_their_own():
    times = [dt.datetime(2024, 2, 28) + dt.timedelta(hours=5 * step) for step in range(20)]
    columns = {name: [getattr(time, name) for time in times] for name in ("hour", "year", "day", "month")}
    found, read, _ = _found({**columns, "x": [0.5] * 20})
    assert found == TimeColumns(("year", "month", "day", "hour"), "parts")
    assert read == times
    assert _found({"Year": [2024, 2024], "MONTH": [1.0, 2.0], "hour": [1, 2], "x": [1, 2]})[1] == [
        dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1),
    ]  # fmt: skip
    assert _found({"年": [2024], "月": [2], "日": [29], "时": [5], "分": [7], "x": [1]})[1] == [
        dt.datetime(2024, 2, 29, 5, 7)
    ]
    assert "row 1, columns 'year', 'month', 'day': '2023-2-29' is no date" in _refused(
        {"year": [2023, 2023], "month": [2, 2], "day": [28, 29], "x": [1, 2]}
    )
    assert "row 1, column 'hour': 24 is no hour (0 to 23)" in _refused(
        {"year": [2023, 2023], "month": [2, 2], "day": [28, 28], "hour": [0, 24]}
    )
    assert "row 0, column 'month': '1.5' is no whole number" in _refused({"year": [2023], "month": [1.5], "x": [1]})
    assert "row 1, column 'month': 'None' is no whole" in _refused({"year": [2023, 1], "month": [1, None], "x": [1, 2]})


def test_a_date_and_a_time_of_the_day_in_two_columns():
    wanted = [dt.datetime(2024, 1, 1, hour, 30) for hour in (0, 1, 13)]
    dates = ["01.01.2024"] * 3
    for times in (["00:30", "01:30", "13:30"], ["00.30.00", "01.30.00", "13.30.00"], [time.time() for time in wanted]):
        assert _found({"date": dates, "clock": times, "x": [1, 2, 4]}, "date,clock")[1] == wanted
    columns = {"date": ["2024-01-01"] * 3, "hour": [0, 1, 13], "minute": [30] * 3, "x": [1, 2, 4]}
    assert _found(columns, "date, hour, minute")[1] == wanted
    assert "column 'x' is no time of the day" in _refused(columns, "date,x")
    assert "row 1, column 'clock': '25:00' is no time" in _refused(
        {"date": dates[:2], "clock": ["1:00", "25:00"]}, "date,clock"
    )


def test_offsets_from_utc():
    winter = ["2024-01-01T00:00:00+01:00", "2024-01-01T01:00:00+01:00"]
    _, times, said = _found({"a": winter, "x": [1, 3]})
    assert times == [dt.datetime(2024, 1, 1, 0), dt.datetime(2024, 1, 1, 1)]
    assert said == ["t: times stay +01:00 of UTC, as 'a' has them"]
    for zulu in ("2024-01-01T05:00:00Z", "2024-01-01 05:00:00 UTC", "2024-01-01 05:00:00.000+0000"):
        assert _found({"a": [zulu], "x": [1]})[1:] == ([dt.datetime(2024, 1, 1, 5)], [])
    # The night of 27 October 2024 in Berlin has the hour from 2 to 3 twice.
    autumn = ["2024-10-27 01:00+02:00", "2024-10-27 02:00+02:00", "2024-10-27 02:00+01:00", "2024-10-27 03:00+01"]
    _, times, said = _found({"a": autumn, "x": [1, 3, 4, 5]})
    assert times == [dt.datetime(2024, 10, 26, 23) + dt.timedelta(hours=step) for step in range(4)]
    assert "times are in UTC" in said[0]
    west = ["2024-03-10T01:30-05:00", "2024-03-10T03:00-0400", "2024-03-10T03:30-04"]
    assert _found({"a": west, "x": [1, 3, 4]})[1] == [
        dt.datetime(2024, 3, 10, 6, 30), dt.datetime(2024, 3, 10, 7), dt.datetime(2024, 3, 10, 7, 30),
    ]  # fmt: skip
    noons = ["2024-10-26T12:00+02:00", "2024-10-27T12:00+01:00"]
    _, times, said = _found({"a": noons, "x": [1, 3]})
    assert times == [dt.datetime(2024, 10, 26, 12), dt.datetime(2024, 10, 27, 12)]
    assert "stay at 12:00 of their days" in said[0]
    assert "row 1, column 'a': no offset" in _refused({"a": ["2024-01-01 00:00Z", "2024-01-01 01:00"], "x": [1, 2]})


def test_time_zones_of_frames():
    utc = pl.Series([dt.datetime(2024, 10, 26, 22) + dt.timedelta(hours=step) for step in range(6)])
    berlin = utc.dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
    _, times, said = _found({"a": berlin, "x": [0.5] * 6})
    assert times == utc.to_list()
    assert "in UTC" in said[0]
    shanghai = utc.dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Shanghai")
    assert _found({"a": shanghai, "x": [0.5] * 6})[1] == [time + dt.timedelta(hours=8) for time in utc]


def test_which_column_is_found():
    day = ["2024-01-01", "2024-01-02"]
    assert _found({"x": [1, 3], "date": [20240101, 20240102]})[0] == TimeColumns(("date",), "%Y%m%d")
    assert _found({"x": [1, 3], "size": [20240101, 20240102]})[0] is None  # a number with another name
    assert _found({"time": [0.0, 0.1], "x": [1, 3]})[0] is None
    assert _found({"year": [2020, 2021], "day": day, "x": [1, 2]})[0].names == ("day",)
    assert "columns 'a', 'b' all hold times; name the one that counts with --time" in _refused({"a": day, "b": day})
    assert _found({"a": day, "b": day}, "b")[0].names == ("b",)
    assert "columns 'date', 'year' may all be" in _refused({"date": [2020, 2021], "year": [2021, 2022]})
    found, _, said = _found({"x": [1.5, 2]}, "")
    assert found is None
    assert "no column of times" in said[0]
    assert _found({"a": day}, "none")[0] is None
    assert _found({"a,b": day, "none": day}, "a,b")[0].names == ("a,b",)
    assert _found({"a": day, "none": day}, "none")[0].names == ("none",)


def test_what_is_no_time():
    hours = [f"2024-01-01 {hour:02d}:00" for hour in range(5)]
    for named in ("", "a"):
        message = _refused({"a": [*hours, "noon"]}, named)
        assert "row 5, column 'a': 'noon' is no time as '2024-01-01 00:00' is; mend it, or take the row out" in message
        message = _refused({"a": ["2024-02-30 00:00", *hours]}, named)
        assert "row 0, column 'a': '2024-02-30 00:00' is no time" in message
        assert "row 2, column 'a': no time; fill it in" in _refused({"a": [*hours[:2], None, *hours[2:]]}, named)
    assert "column 'x' holds no times ('1' is the first entry); known forms" in _refused({"x": [1, 2]}, "x")
    assert "column 'x' holds no times; known forms" in _refused({"x": [None, None]}, "x")
    assert "--time b: no column 'b'" in _refused({"a": hours}, "b")
    assert "--time a,b: no column 'b'" in _refused({"a": hours}, "a,b")


@pytest.mark.parametrize("text", ["12:30", "1.2.3", "14-01-05", "NW", "2024-13-01", "2024-01-01x", "0001-01-01", ""])
def test_texts_that_are_no_times(text):
    assert forms_of(pl.Series([text, text])) == ()
