"""Rows that are not one a step: refused with the first such row, sorted, or resampled as asked."""

import datetime as dt
import itertools
import math
import statistics

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gatewise import UserError
from gatewise.data import Choice, Schema, table_of
from gatewise.data.table.split import Split

SPLIT = Split.parse("0.6,0.2,0.2")


def _table(times, **columns):
    return table_of(pl.DataFrame({"time": times, **columns}, strict=False), "t")


def _at(*minutes):
    return [dt.datetime(2024, 1, 1) + dt.timedelta(minutes=minute) for minute in minutes]


def _read(table, **choice):
    said = []
    return Schema.fitted(table, Choice(**choice), SPLIT).read(table, say=said.append), said


def _refused(times, **choice):
    with pytest.raises(UserError) as error:
        _read(_table(times, x=[1.5] * len(times)), **choice)
    return str(error.value)


def test_rows_out_of_order():
    message = _refused(_at(0, 60, 180, 120, 240))
    assert (
        "row 3: 2024-01-01 02:00 after 2024-01-01 03:00; the rows are not in order of time, --sort puts them so"
        in message
    )
    read, _ = _read(_table(_at(0, 60, 180, 120, 240), x=[1.5, 2, 4, 3, 5]), sort=True)
    assert read.series[0].values.tolist() == [[1.5], [2], [3], [4], [5]]
    assert read.series[0].rows.tolist() == [0, 1, 3, 2, 4]
    assert np.asarray(read.series[0].times).tolist() == _at(0, 60, 120, 180, 240)


def test_two_rows_of_one_time():
    message = _refused(_at(0, 60, 120, 120, 180))
    assert "rows 2 and 3 have the same time, 2024-01-01 02:00; keep one, or --resample takes their mean" in message
    assert "rows 0 and 3 have the same time" in _refused(_at(60, 0, 120, 60), sort=True)


def test_steps_that_differ():
    message = _refused(_at(0, 60, 120, 240, 300))
    assert "row 3: 2024-01-01 04:00 comes 2h after the row before, while most steps are 1h; put the missing" in message
    assert "--resample 1h does" in message
    message = _refused(_at(0, 60, 120, 150, 210))
    assert "row 3: 2024-01-01 02:30 comes 30min after the row before, while most steps are 1h; take the row" in message
    message = _refused(_at(0, 5, 60, 61, 100))
    assert "row 1: 2024-01-01 00:05 comes 5min after the row before, the steps are uneven" in message
    months = [dt.datetime(2023, month, 1) for month in (1, 2, 3, 5, 6)]
    assert "row 3: 2023-05-01 comes 2mo after the row before, while most steps are 1mo" in _refused(months)
    days = [dt.datetime(2024, 1, day) for day in (1, 2, 3, 4, 5, 8, 9)]
    assert "row 5: 2024-01-08 comes 3d after" in _refused(days)  # a weekend


def test_summer_time_is_named_where_it_may_be_the_reason():
    spring = [dt.datetime(2024, 3, 31, hour) for hour in (0, 1, 3, 4)]
    autumn = [dt.datetime(2024, 10, 27, hour) for hour in (0, 1, 2, 2, 3)]
    for times in (spring, autumn):
        assert "(if summer time began or ended here: write times in UTC, or with their offset)" in _refused(times)
        other = [time + dt.timedelta(days=1) for time in times]
        assert "summer" not in _refused(other)


def test_series_must_have_one_frequency():
    table = _table(_at(0, 60, 120, 0, 30, 60), id=list("aaabbb"), x=[1.5] * 6)
    with pytest.raises(UserError, match="row 3: steps of 30min of series 'b', but of 1h in series 'a'; give all one"):
        _read(table, series="id")
    table = _table(_at(0, 60, 120, 0, 60, 180), id=list("aaabbb"), x=[1.5] * 6)
    with pytest.raises(UserError, match=r"row 5: .* 03:00 comes 2h after the row before of series 'b'"):
        _read(table, series="id")
    table = _table(_at(0, 60, 120, 60, 0, 120), id=list("aaabbb"), x=[1.5] * 6)
    with pytest.raises(UserError, match="row 4: 2024-01-01 after 2024-01-01 01:00 of series 'b'"):
        _read(table, series="id")
    table = _table(_at(0, 0, 60, 60, 60), id=list("babab"), x=[1.5] * 5)
    with pytest.raises(UserError, match="rows 2 and 4 have the same time, 2024-01-01 01:00 of series 'b'; keep one"):
        _read(table, series="id")


_MINUTES = st.lists(st.integers(0, 20 * 60), min_size=8, max_size=60)


@settings(max_examples=60, deadline=None)
@given(_MINUTES, st.data(), st.sampled_from([30, 60, 180]))
def test_resampling_takes_means(minutes, data, step):
    """Against statistics.mean of the rows of each step."""
    minutes = sorted(minutes)
    values = data.draw(st.lists(st.integers(-99, 99) | st.none(), min_size=len(minutes), max_size=len(minutes)))
    values[0] = 1
    table = _table(_at(*minutes), x=values)
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(minutes))
    assume(statistics.median(gaps) <= step)
    read, said = _read(table, resample=f"{step}min", columns=("x",), sort=True)
    (series,) = read.series
    first, last = minutes[0] // step, minutes[-1] // step
    assert np.asarray(series.times).tolist() == _at(*(number * step for number in range(first, last + 1)))
    for place, number in enumerate(range(first, last + 1)):
        rows = [row for row, minute in enumerate(minutes) if minute // step == number]
        known = [values[row] for row in rows if values[row] is not None]
        wanted = statistics.mean(known) if known else math.nan
        assert series.values[place, 0] == pytest.approx(wanted, abs=1e-12, nan_ok=True)
        assert series.rows[place] == (rows[0] if rows else -1)
    empty = int((series.rows < 0).sum())
    assert said[-1].endswith(f"means of {len(minutes)} rows, {empty} steps without one")


def test_resampling_categories_takes_the_most_frequent():
    times = _at(0, 10, 20, 60, 70, 180, 190, 240)
    table = _table(times, w=["a", "b", "b", "b", "a", None, "a", "z"], x=[1, 2, 6, 4, None, 6, 8.5, 8])
    read, _ = _read(table, resample="1h")
    assert read.columns == ("w=a", "w=b", "x")
    np.testing.assert_array_equal(
        read.series[0].values, [[0, 1, 3], [1, 0, 4], [math.nan] * 3, [1, 0, 7.25], [0, 0, 8]]
    )
    assert read.series[0].rows.tolist() == [0, 3, -1, 5, 7]
    assert read.frequency is not None
    assert str(read.frequency) == "1h"


def test_resampling_to_months_and_weeks():
    days = [dt.datetime(2024, 1, 30) + dt.timedelta(days=step) for step in range(40)]
    table = _table(days, x=[float(step) for step in range(40)])
    read, _ = _read(table, resample="1mo")
    months = [[step for step, day in enumerate(days) if day.month == month] for month in (1, 2, 3)]
    assert read.series[0].values[:, 0].tolist() == [statistics.mean(steps) for steps in months]
    assert np.asarray(read.series[0].times).tolist() == [dt.datetime(2024, month, 1) for month in (1, 2, 3)]
    assert read.frequency is not None
    assert read.frequency.after(np.asarray(read.series[0].times)[-1], 1).tolist() == [dt.datetime(2024, 4, 1)]
    read, _ = _read(table, resample="w")
    assert {time.weekday() for time in np.asarray(read.series[0].times).tolist()} == {0}
    assert read.series[0].values[1, 0] == statistics.mean(range(6, 13))


def test_resampling_that_cannot_be_meant():
    assert "--resample 1min: most rows stand farther apart (1h)" in _refused(_at(0, 60, 120, 180), resample="1min")
    far = [*_at(*range(0, 600, 60)), dt.datetime(2224, 1, 1)]
    assert "t: 11 rows would become 1753153 steps of 1h; look for a wrong time" in _refused(far, resample="1h")
    assert "--resample 'often': want a count and a unit" in _refused(_at(0, 60), resample="often")
    with pytest.raises(UserError, match="--resample 1h: the table has no times"):
        _read(table_of(pl.DataFrame({"x": [1.5, 2]}), "t"), resample="1h")


def test_resampling_counts_steps_for_the_split():
    """The rows learned from are those of the first steps, not the first rows."""
    table = _table(_at(0, 1, 2, 3, 4, 5, 60, 120, 180, 240), w=list("aaaaaabcde"))
    schema = Schema.fitted(table, Choice(resample="1h"), Split.parse("0.6,0.2,0.2"))
    assert schema.columns[0].categories == ("a", "b", "c")
