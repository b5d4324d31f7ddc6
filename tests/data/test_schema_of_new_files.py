"""A new file by the schema of a run: what is missing or too much is named; missing values by policy."""

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest

from gatewise import UserError
from gatewise.data import Choice, Schema, table_of
from gatewise.data.split import Split

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
    assert said == ["new: columns that the run was not trained with are ignored: 'q', 'r'"]


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


def test_missing_values_are_named_with_the_policies():
    table = _table(
        time=HOURS, w=["N", "N", "N", None, "N", None], x=[1, 2, 3, 4, 5, math.nan], y=[1.5, 2, 3, 4, None, 6]
    )
    for columns, place in (((), "row 3, column 'w'"), (("x", "y"), "row 4, column 'y'"), (("x",), "row 5, column 'x'")):
        message = _refused(Schema.fitted, table, Choice(columns=columns), SPLIT, missing_error=True)
        assert f"new: {place}: a missing value; --missing" in message
        for policy in ("drop", "interpolate", "mask", "error"):
            assert policy in message
        schema = Schema.fitted(table, Choice(columns=columns), SPLIT)
        assert place in _refused(schema.read, table, missing_error=True)
    whole = _table(time=HOURS, x=[1, 2, 3, 4, 5, 6.5])
    schema = Schema.fitted(whole, Choice(), SPLIT, missing_error=True)
    assert not np.isnan(schema.read(whole, missing_error=True).series[0].values).any()


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
