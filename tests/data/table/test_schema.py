"""What is learned of a table's columns, and how a table is read by it, against Python's csv and sums by hand."""

import csv
import datetime as dt
import json
import math

import numpy as np
import polars as pl
import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise import UserError
from gatewise.data import Choice, Schema, read_table, table_of
from gatewise.data.table.clock import Frequency
from gatewise.data.table.column import MOST_CATEGORIES
from gatewise.data.table.split import Split

SPLIT = Split.parse("0.6,0.2,0.2")


def _hours(count, start=0):
    return [dt.datetime(2024, 1, 1) + dt.timedelta(hours=start + step) for step in range(count)]


def _table(**columns):
    return table_of(pl.DataFrame(columns, strict=False), "t")


def _fitted(table, split=SPLIT, **choice):
    said = []
    return Schema.fitted(table, Choice(**choice), split, said.append), said


def _refused(action, *arguments, **options):
    with pytest.raises(UserError) as error:
        action(*arguments, **options)
    return str(error.value)


def test_numbers_truths_and_categories():
    table = _table(
        wind=["N", None, "S", "N", "N"],
        time=_hours(5),
        rain=[True, False, None, True, True],
        heat=[1, 2, 3, 4, 6],
        load=[0.5, None, math.nan, -1e9, 2],
        level=pl.Series(["low", "high", "low", "low", None], dtype=pl.Enum(["low", "high"])),
    )
    schema, said = _fitted(table)
    read = schema.read(table)
    (series,) = read.series
    assert read.columns == ("wind=N", "wind=S", "rain", "heat", "load", "level=high", "level=low")
    assert read.origins == ("wind", "wind", "rain", "heat", "load", "level", "level")
    assert read.frequency == Frequency(1, "h")
    nan = math.nan
    np.testing.assert_array_equal(
        series.values,
        [
            [1, 0, 1, 1, 0.5, 0, 1],
            [nan, nan, 0, 2, nan, 1, 0],
            [0, 1, nan, 3, nan, 0, 1],
            [1, 0, 1, 4, -1e9, 0, 1],
            [1, 0, 1, 6, 2, nan, nan],
        ],
    )
    assert np.asarray(series.times).tolist() == _hours(5)
    assert series.rows.tolist() == [0, 1, 2, 3, 4]
    assert series.key == ""
    assert said == []
    schema.read(table, say=said.append)
    assert said == ["t: 5 steps every 1h from 2024-01-01 to 2024-01-01 04:00, by 'time'"]


def test_chosen_columns_stand_in_the_order_chosen():
    table = _table(time=_hours(3), a=[1.5, 2, 3], b=[4.5, 5, 6], c=[7.5, 8, 9])
    schema, _ = _fitted(table, columns=("c", "a", "c"))
    assert schema.read(table).columns == ("c", "a")
    assert schema.read(table).series[0].values.tolist() == [[7.5, 1.5], [8, 2], [9, 3]]
    assert schema.ignored == ("b",)
    assert "no column 'd'; known: time, a, b, c" in _refused(_fitted, table, columns=("a", "d"))
    assert "column 'time' says when" in _refused(_fitted, table, columns=("time",))
    parts = _table(year=[2023, 2023, 2023], month=[1, 2, 3], x=[1.5, 2, 3])
    assert _fitted(parts, columns=("month", "x"))[0].read(parts).series[0].values.tolist() == [[1, 1.5], [2, 2], [3, 3]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=10, max_size=30), st.randoms())
def test_categories_are_those_of_the_training_rows(words, random):
    """Whatever stands in other rows, and in which order the file has them."""
    rows = list(zip(_hours(len(words)), words, strict=True))
    random.shuffle(rows)
    table = _table(time=[time for time, _ in rows], word=[word for _, word in rows])
    schema, _ = _fitted(table, sort=True)
    assert schema.columns[0].categories == tuple(sorted(set(words[: round(0.6 * len(words))])))
    found = schema.read(table)
    for word, row in zip(words, found.series[0].values, strict=True):
        assert row.tolist() == [float(word == category) for category in schema.columns[0].categories]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=10, max_size=30), st.randoms())
def test_every_series_has_training_rows_of_its_own(words, random):
    keys = [random.choice("xy") for _ in words]
    ages = {key: [place for place, at in enumerate(keys) if at == key] for key in keys}
    times = [_hours(1, ages[key].index(place))[0] for place, key in enumerate(keys)]
    schema, _ = _fitted(_table(time=times, id=keys, word=words), series="id")
    wanted = {words[place] for places in ages.values() for place in places[: round(0.6 * len(places))]}
    assert schema.columns[0].categories == tuple(sorted(wanted))


def test_a_category_of_later_rows_is_nothing_and_said():
    table = _table(time=_hours(5), wind=["N", "S", "N", "E", "E"])
    schema, _ = _fitted(table)
    said = []
    assert schema.read(table, say=said.append).series[0].values.tolist() == [[1, 0], [0, 1], [1, 0], [0, 0], [0, 0]]
    assert said[1:] == [
        "t: column 'wind': 'E' (row 3, the first of 2) is no category of the rows learned from; it is 0 in all "
        "features of the column"
    ]


def test_too_many_categories():
    words = [f"w{step:03d}" for step in range(200)]
    table = _table(time=_hours(200), word=words)
    message = _refused(_fitted, table)
    assert "column 'word' has 120 different texts ('w000', 'w001', ...), more than 100 categories" in message
    schema, _ = _fitted(table, split=Split.parse("100,50,50"))
    assert len(schema.columns[0].categories) == MOST_CATEGORIES
    table = _table(time=_hours(3), word=["x" * 5000, "b", "c"])
    assert f"column 'word' has a text of 5000 characters ('{'x' * 40}...')" in _refused(_fitted, table)


def test_text_among_numbers_is_named(tmp_path):
    def csv_of(*values):
        path = tmp_path / "a.csv"
        path.write_text("x;y\n" + "".join(f"{value};{step / 2}\n" for step, value in enumerate(values)))
        return read_table(path)

    assert "row 4, column 'x': 'off' is text among numbers; mend it" in _refused(_fitted, csv_of(1, 2, "off", 4, 5))
    assert "row 2, column 'x': 'off' is text" in _refused(_fitted, csv_of(*["off"] * 9, *range(10)))
    assert "row 5, column 'x': '1,5' is text among numbers; decimals want a point, or" in _refused(
        _fitted, csv_of(1, 2, 3.5, "1,5", 5.5)
    )
    message = _refused(_fitted, csv_of("1,5", "2,5", "off", "3,5"))
    assert "row 4, column 'x': 'off' is text among numbers; mend" in message
    assert "row 3, column 'x': '1.234,5'" in _refused(_fitted, csv_of(1, "1.234,5", 2))
    dirty = csv_of(1, 2, "off", 4, 5)
    assert _fitted(dirty, columns=("y",))[0].read(dirty).series[0].values[:, 0].tolist() == [0, 0.5, 1, 1.5, 2]
    assert _fitted(csv_of("A", "B", 1, "C", "A"))[0].columns[0].categories == ("1", "A", "B")
    schema, _ = _fitted(csv_of(1, 2, 3, 4, 5.5))
    assert "row 2, column 'x': 'A' is text among numbers" in _refused(schema.read, csv_of("A", "B"))
    schema, _ = _fitted(csv_of("A", "B", "7", "A", "B"))
    assert schema.read(csv_of(7, 7)).series[0].values[:, :3].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert "holds values of the type Float64; want texts, as learned ('7', 'A', 'B'" in _refused(
        schema.read, csv_of(1.5, 2)
    )


def test_infinite_values_and_columns_without_values():
    table = _table(time=_hours(5), x=[1, 2, 3, math.inf, -math.inf], y=[None] * 5, z=[None, None, math.nan, 1.5, 2])
    assert "column 'y' has no value; leave it out" in _refused(_fitted, table)
    assert "column 'z' has no value in the rows to learn from" in _refused(_fitted, table, columns=("x", "z"))
    schema, _ = _fitted(table, columns=("x",))
    assert "row 3, column 'x': an infinite value" in _refused(schema.read, table)
    table = _table(time=_hours(2), x=[[1], [2]])
    assert "no column to learn from" in _refused(_fitted, table)
    assert "column 'x' holds values of the type List(Int64)" in _refused(_fitted, table, columns=("x",))


def test_columns_that_only_count_the_rows_are_left_out():
    table = _table(No=[1, 2, 3], t=[0, 1, 2], x=[1, 2, 4], y=[2, 3, 4], z=[1, 1, 1])
    schema, said = _fitted(table)
    assert [column.name for column in schema.columns] == ["x", "y", "z"]
    assert said[1:3] == [
        "t: column 'No' is left out: it only counts the rows; --inputs takes it in",
        "t: column 't' is left out: it only counts the rows; --inputs takes it in",
    ]
    assert [column.name for column in _fitted(table, columns=("No",))[0].columns] == ["No"]
    huge = _table(x=pl.Series([0, 2**70, 1], dtype=pl.Int128), y=[1.5, 2, 3])
    assert _fitted(huge)[0].read(huge).series[0].values[:, 0].tolist() == [0, 2.0**70, 1]
    ramp = _table(x=[1, 2, 3])
    assert _fitted(ramp)[0].read(ramp).series[0].values.tolist() == [[1], [2], [3]]


def test_several_series_each_with_its_own_steps():
    table = _table(
        time=[time for time in _hours(4) for _ in "ab"],
        id=["b", "a"] * 4,
        x=[0.5, 10, 1, 11, 2, 12, 3, 13],
        w=["p", "q", "p", "q", "p", "q", "r", "q"],
    )
    schema, said = _fitted(table, series="id", split=Split.parse("3,0,1"))
    read = schema.read(table)
    assert [series.key for series in read.series] == ["b", "a"]
    assert read.series[0].values.tolist() == [[0.5, 1, 0], [1, 1, 0], [2, 1, 0], [3, 0, 0]]
    assert read.series[1].values.tolist() == [[10, 0, 1], [11, 0, 1], [12, 0, 1], [13, 0, 1]]
    assert read.series[1].rows.tolist() == [1, 3, 5, 7]
    assert np.asarray(read.series[1].times).tolist() == _hours(4)
    schema.read(table, say=said.append)
    assert "t: 2 series, 8 steps every 1h" in said[0]
    numbers = table_of(table.frame.with_columns(id=pl.Series([2.0, 1.0] * 4)), "t")
    assert [series.key for series in _fitted(numbers, series="id")[0].read(numbers).series] == ["2", "1"]
    gap = table_of(table.frame.with_columns(id=pl.Series(["b", None] * 4)), "t")
    assert "row 1, column 'id': the row names no series" in _refused(_fitted, gap, series="id")
    assert "--series: no column 'i'" in _refused(_fitted, table, series="i")
    assert "column 'id' names the series" in _refused(_fitted, table, series="id", columns=("id",))
    message = _refused(_fitted, table)
    assert "rows 0 and 1 have the same time, 2024-01-01" in message
    assert "--series names their column" in message


def test_values_are_not_copied_for_each_series():
    table = _table(time=_hours(3) * 2, id=["a"] * 3 + ["b"] * 3, x=[1.5, 2, 3, 4, 5, 6])
    one, other = _fitted(table, series="id")[0].read(table).series
    assert one.values.base is other.values.base is not None


def test_configurations_go_there_and_back():
    tables = {
        "plain": _table(x=[1.5, 2, 3]),
        "rich": _table(
            time=[dt.date(2024, 1, 31), dt.date(2024, 2, 29), dt.date(2024, 3, 31)] * 2,
            id=["b"] * 3 + ["a"] * 3,
            wind=["N", "S", "日"] * 2,
            x=[1.5] * 6,
            odd=[[1]] * 6,
        ),
    }
    for name, series in (("plain", ""), ("rich", "id")):
        schema, _ = _fitted(tables[name], series=series, split=Split.parse("3,0,0"))
        config = schema.to_config()
        assert Schema.from_config(json.loads(json.dumps(config))) == schema
        assert Schema.from_config(tomlkit.parse(tomlkit.dumps(config)).unwrap()) == schema
        for key in config:
            with pytest.raises(UserError, match="malformed schema"):
                Schema.from_config({other: value for other, value in config.items() if other != key})
            with pytest.raises(UserError, match="malformed schema"):
                Schema.from_config({**config, key: 1.5})
    assert schema.frequency == Frequency(1, "mo", 31)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ETTh1", "beijing_pm25", "airline_passengers", "monthly_sunspots"])
def test_real_tables_against_pythons_csv(real_series, name):
    table = read_table(real_series / f"{name}.csv")
    schema, _ = _fitted(table, split=Split.parse("0.7,0.1,0.2"))
    (series,) = schema.read(table).series
    with (real_series / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(series) == len(rows)
    features = schema.read(table)
    for place, (feature, origin) in enumerate(zip(features.columns, features.origins, strict=True)):
        entries = [row[origin] for row in rows]
        if feature == origin:
            wanted = [math.nan if entry == "NA" else float(entry) for entry in entries]
        else:
            wanted = [float(entry == feature.split("=")[1]) for entry in entries]
        np.testing.assert_array_equal(series.values[:, place], wanted)
    if name == "beijing_pm25":
        times = [dt.datetime(int(row["year"]), int(row["month"]), int(row["day"]), int(row["hour"])) for row in rows]
        assert features.columns[4:8] == ("cbwd=NE", "cbwd=NW", "cbwd=SE", "cbwd=cv")
    elif name == "ETTh1":
        times = [dt.datetime.fromisoformat(row["date"]) for row in rows]
    else:
        times = [dt.datetime.fromisoformat(f"{row['Month']}-01") for row in rows]
    assert np.asarray(series.times).tolist() == times
    assert schema.frequency is not None
    assert schema.frequency.after(np.datetime64(times[0]), len(times) - 1).tolist() == times[1:]
    assert str(schema.frequency) == ("1h" if name in ("ETTh1", "beijing_pm25") else "1mo")
