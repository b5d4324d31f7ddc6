"""A new file by the schema of a run: what is missing or too much is named; missing values by policy."""

import datetime as dt
import json
import math
import zoneinfo

import numpy as np
import polars as pl
import pytest

from gatewise import UserError
from gatewise.data import Choice, Schema, table_of
from gatewise.data.table.split import Split

SPLIT = Split.parse("0.6,0.2,0.2")
HOURS = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=step) for step in range(6)]


def _table(name="new", **columns):
    return table_of(pl.DataFrame(columns, strict=False), name)


@pytest.fixture
def schema():
    table = _table("old", time=HOURS, x=[1.5, 2, 3, 4, 5, 6], wind=list("NSNSNS"), odd=[[1]] * 6)
    return Schema.fitted(table, Choice(), SPLIT)


def _refused(action, *arguments, **options):
    with pytest.raises(UserError) as error:
        action(*arguments, **options)
    return str(error.value)


def _in_berlin(begin, hours):
    utc = [dt.datetime.fromisoformat(begin).replace(tzinfo=dt.UTC) + dt.timedelta(hours=step) for step in range(hours)]
    return [time.astimezone(zoneinfo.ZoneInfo("Europe/Berlin")).isoformat() for time in utc]


def _fitted_in_berlin(begin, hours):
    fitted = Schema.fitted(_table("old", time=_in_berlin(begin, hours), x=np.arange(hours) / 2), Choice(), SPLIT)
    return Schema.from_config(json.loads(json.dumps(fitted.to_config())))


def _times(schema, table, **more):
    times = schema.read(table, **more).series[0].times
    assert times is not None
    return times


def test_a_new_files_times_are_told_by_the_clock_of_those_trained_on():
    spring, winter = _fitted_in_berlin("2024-03-30", 48), _fitted_in_berlin("2024-01-01", 48)
    summer = _table(time=_in_berlin("2024-06-01T22:00", 6), x=[0.5] * 6)
    told = []
    # Summer time began in the rows trained on, which are told in UTC.
    assert _times(spring, summer, say=told.append)[0] == np.datetime64("2024-06-01T22:00")
    assert told[0] == "new: the offset from UTC is +02:00 in 'time'; times are in UTC"
    assert _times(winter, summer)[0] == np.datetime64("2024-06-01T23:00")
    autumn = _table(time=_in_berlin("2024-10-26T22:00", 6), x=[0.5] * 6)
    assert _times(winter, autumn)[[0, -1]].tolist() == [dt.datetime(2024, 10, 26, 23), dt.datetime(2024, 10, 27, 4)]


@pytest.mark.parametrize(("begin", "offset"), [("2024-03-30", "Z"), ("2024-01-01", "+01:00")])
def test_times_are_written_with_their_offset_from_utc(begin, offset):
    schema, rows = _fitted_in_berlin(begin, 48), _in_berlin(begin, 50)
    assert schema.time
    assert schema.frequency
    times, read = _times(schema, _table(time=rows[:48], x=[0.5] * 48)), dt.datetime.fromisoformat
    written = schema.time.written(schema.frequency.after(times[-1], 2)).to_list()
    assert list(map(read, written)) == list(map(read, rows[48:]))
    assert written[-1].endswith(f":00{offset}")


def test_days_stay_days_whatever_the_offset():
    days = [f"2024-0{month}-01T00:00:00+0{1 + (month > 3)}:00" for month in range(1, 8)]
    schema = Schema.fitted(_table("old", time=days[:3], x=[1.5, 2, 3]), Choice(), SPLIT)
    times = _times(schema, _table(time=days[4:], x=[1.5, 2, 3]))
    assert times.astype("M8[D]").tolist() == [dt.date(2024, month, 1) for month in (5, 6, 7)]
    assert (times == times.astype("M8[D]")).all()


def test_columns_that_are_not_there(schema):
    message = _refused(schema.read, _table(time=HOURS, xx=[1] * 6))
    assert message == "new: no column 'x', 'wind', which the run was trained with; did you mean 'xx'?"
    assert "no column 'time'" in _refused(schema.read, _table(date=HOURS, x=[1] * 6, wind=["N"] * 6))
    assert "no column 'time'" in _refused(schema.read, _table(date=HOURS), complete=False)


def test_columns_that_may_be_absent(schema):
    found = schema.read(_table(time=HOURS, wind=["N"] * 6), complete=False)
    assert found.columns == ("x", "wind=N", "wind=S")
    np.testing.assert_array_equal(found.series[0].values, [[math.nan, 1, 0]] * 6)
    found = schema.read(_table(time=HOURS, x=[2] * 6), complete=False)
    np.testing.assert_array_equal(found.series[0].values, [[2, math.nan, math.nan]] * 6)


def test_columns_too_many_are_ignored_and_said(schema):
    said = []
    table = _table(wind=list("SNSSSS"), q=[1] * 6, x=[7, 8.5, 9, 9, 9, 9], time=HOURS, odd=[[2]] * 6, r=[2] * 6)
    found = schema.read(table, say=said.append)
    assert found.columns == ("x", "wind=N", "wind=S")  # in the order learned
    assert found.series[0].values[:2].tolist() == [[7, 0, 1], [8.5, 1, 0]]
    assert said[0] == "new: columns that the run was not trained with are ignored: 'q', 'r'"
    assert said[1].startswith("new: 6 steps every 1h from 2024-01-01")


def test_the_frequency_must_be_the_same(schema):
    good = _table(time=HOURS[:2], x=[1, 2], wind=["N", "S"])
    assert schema.read(good).frequency == schema.frequency
    alone = _table(time=HOURS[:1], x=[1], wind=["N"])
    assert len(schema.read(alone).series[0]) == 1
    slow = _table(time=HOURS[::2], x=[1, 2, 3], wind=["N", "S", "N"])
    assert "row 0: steps of 2h, but of 1h in the data trained on" in _refused(schema.read, slow)
    days = [time.replace(month=month) for month, time in enumerate(HOURS[:1] * 3, 1)]
    months = _table(time=days, x=[1, 2, 3], wind=["N", "S", "N"])
    assert "steps of 1mo, but of 1h" in _refused(schema.read, months)


def test_times_may_be_written_in_another_way(schema):
    for times in ([f"{time:%d.%m.%Y %H:%M}" for time in HOURS], [str(time) for time in HOURS], HOURS):
        found = schema.read(_table(time=times, x=[1] * 6, wind=["N"] * 6))
        assert np.asarray(found.series[0].times).tolist() == HOURS
    assert "row 3, column 'time': 'x' is no time" in _refused(
        schema.read, _table(time=[*map(str, HOURS[:3]), "x"], x=[1] * 4, wind=["N"] * 4)
    )
    old = _table(time=[str(time) for time in HOURS], x=[1.5] * 6)
    text_schema = Schema.fitted(old, Choice(), SPLIT)
    found = text_schema.read(_table(time=HOURS, x=[1] * 6))
    assert np.asarray(found.series[0].times).tolist() == HOURS


def test_a_schema_of_months_reads_a_file_of_two_months():
    ends = [dt.date(2023, 1, 31), dt.date(2023, 2, 28), dt.date(2023, 3, 31), dt.date(2023, 4, 30)]
    schema = Schema.fitted(_table(day=ends, x=[1.5, 2, 3, 4]), Choice(), SPLIT)
    read = schema.read(_table(day=[dt.date(2023, 6, 30), dt.date(2023, 7, 31)], x=[1, 2]))
    assert read.frequency is not None
    assert read.series[0].times is not None
    after = read.frequency.after(np.datetime64("2023-06-30"), 2).astype("M8[D]").tolist()
    assert after == [dt.date(2023, 7, 31), dt.date(2023, 8, 31)]
    first = _table(day=[dt.date(2023, 6, 1), dt.date(2023, 7, 1)], x=[1, 2])
    assert "row 0: steps of 30d, but of 1mo" in _refused(schema.read, first)
