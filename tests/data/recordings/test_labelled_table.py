"""Tables with a label a row as recordings."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from gatewise import UserError
from gatewise.data import Choice, Schema
from gatewise.data.recordings.labelled_table import channels_of, recordings_of
from gatewise.data.recordings.sequences import Sequences
from gatewise.data.table.tables import Table, read_table


def table(**columns) -> Table:
    return Table(pl.DataFrame(columns), "made up", 2)


def read(made: Table, label: str, series: str = "", columns: tuple[str, ...] = (), say=print, **choice) -> Sequences:
    schema = channels_of(made, label, Choice(series=series, columns=columns, **choice), say)
    return recordings_of(made, label, schema, say=say)


def test_rows_of_a_series_are_a_recording_in_the_tables_order():
    found = read(
        table(run=list("baba"), x=[1, 2, 3, 5], y=[0.5, None, 1.5, 2.5], state=[1, 1, 2, 2], on=[True, False] * 2),
        "state", "run",
    )  # fmt: skip
    assert found.columns == ("x", "y", "on")
    assert [(one.name, one.labels.tolist()) for one in found] == [("b", ["1", "2"]), ("a", ["1", "2"])]
    np.testing.assert_array_equal(found.recordings[0].values, [[1, 0.5, 1], [3, 1.5, 1]])
    np.testing.assert_array_equal(found.recordings[1].values, [[2, np.nan, 0], [5, 2.5, 0]])


def test_columns_can_be_chosen_and_labels_may_be_unknown():
    made = table(x=[1, 2], y=[3, 4], state=["a", "b"])
    found = read(made, "state", columns=("y", "x"))
    assert found.columns == ("y", "x")
    assert found.recordings[0].values.tolist() == [[3, 1], [4, 2]]
    assert found.schema is not None
    assert recordings_of(made, "", found.schema).recordings[0].labels.tolist() == ["", ""]


def test_a_file_with_whole_numbers_as_labels_and_a_gap(tmp_path):
    (tmp_path / "a.csv").write_text("t,x,fault\n2020-01-01,1,1.0\n2020-01-02,2,2.0\n2020-01-03,NA,2.0\n")
    said = []
    found = read(read_table(tmp_path / "a.csv"), "fault", say=said.append)
    assert found.columns == ("x",)
    assert found.recordings[0].labels.tolist() == ["1", "2", "2"]
    assert said == [f"{tmp_path / 'a.csv'}: 3 steps every 1d from 2020-01-01 to 2020-01-03, by 't'"]


def test_a_column_that_counts_the_rows_of_each_recording_is_left_out_unless_it_is_named():
    columns = {"run": list("aaabbb"), "sample": [1, 2, 3] * 2, "x": [1, 2, 3, 3, 4, 6], "state": list("uvvuvv")}
    told = []
    assert read(table(**columns), "state", "run", say=told.append).columns == ("x",)
    assert "made up: column 'sample' is left out: it only counts the rows; --inputs takes it in" in told
    assert read(table(**columns), "state", "run", ("sample", "x")).columns == ("sample", "x")
    del columns["x"]
    assert read(table(**columns), "state", "run").columns == ("sample",)


def test_times_are_checked_within_each_recording():
    times = ["2020-01-01", "2020-01-02", "2020-01-01", "2020-01-03", "2020-01-02"]
    columns = {"when": times, "run": list("aabbb"), "x": [1.5, 2, 3, 4, 5], "state": list("uvuvw")}
    choices: tuple[tuple[dict[str, Any], str], ...] = (
        ({"series": "run"}, r"row 6: 2020-01-02 after 2020-01-03 of series 'b'; the rows are not .*, --sort puts them"),
        ({}, r"row 4: 2020-01-01 after 2020-01-02; the rows are not in order .*--series names their column"),
        ({"series": "run", "time": "wehn"}, "--time wehn: no column 'wehn'; did you mean 'when'"),
    )
    for choice, message in choices:
        with pytest.raises(UserError, match=message):
            read(table(**columns), "state", **choice)
    found = read(table(**columns), "state", "run", sort=True)
    assert found.recordings[1].values.tolist() == [[3], [5], [4]]
    assert found.recordings[1].labels.tolist() == ["u", "w", "v"]
    assert len(read(table(**columns), "state", "run", time="none").recordings[1]) == 3
    columns["when"] = ["2020-01-01", "2020-01-02", "2020-01-01", "2020-01-01", "2020-01-02"]
    with pytest.raises(UserError, match="rows 4 and 5 have the same time, 2020-01-01 of series 'b'; keep one"):
        read(table(**columns), "state", "run")
    columns["when"][3:] = ["2020-01-02", "2020-01-04"]
    with pytest.raises(UserError, match="row 6: 2020-01-04 comes 2d after the row before of series 'b'"):
        read(table(**columns), "state", "run")


def test_resampled_steps_have_their_commonest_label_and_gaps_that_of_the_step_before():
    minutes = [0, 10, 20, 60, 70, 180, 190, 200]
    times = [f"2020-01-01 {minute // 60:02}:{minute % 60:02}" for minute in minutes]
    made = table(time=times, x=[1.0, 2, 6, 3, 5, 7, 8, 9], state=["2", "10", "10", "2", "2", "7", "2", "7"])
    schema = channels_of(made, "state", Choice(resample="1h"))
    (one,) = recordings_of(made, "state", schema)
    np.testing.assert_array_equal(one.values, [[3], [4], [np.nan], [8]])
    assert one.labels.tolist() == ["10", "2", "2", "7"]
    with pytest.raises(UserError, match=r"the step put in \(2020-01-01T02:00:00\) has nothing in column"):
        recordings_of(made, "state", schema, complete=True)


def test_a_new_table_is_read_as_the_first_was():
    made = table(time=["2020-01-01", "2020-01-02", "2020-01-03"], x=[1, 3, 4], note=["", "a", ""], state=list("uvv"))
    schema = channels_of(made, "state", Choice())
    assert Schema.from_config(schema.to_config()) == schema
    new = table(note=["", ""], x=[5, 6], z=[0, 0], time=["2021-01-05", "2021-01-06"])
    told = []
    (one,) = recordings_of(new, "", schema, say=told.append)
    assert (one.values.tolist(), one.labels.tolist()) == ([[5], [6]], ["", ""])
    assert told == [
        "made up: columns that the run was not trained with are ignored: 'z'",
        "made up: 2 steps every 1d from 2021-01-05 to 2021-01-06, by 'time'",
    ]
    with pytest.raises(UserError, match="no column 'x', which the run was trained with"):
        recordings_of(table(time=["2021-01-05"], y=[1]), "", schema)
    with pytest.raises(UserError, match="the data trained on; give all one, or --resample 1d"):
        recordings_of(table(time=["2021-01-05", "2021-01-07"], x=[5, 6]), "", schema)


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({"x": [1], "state": ["a"]}, ("stat",), "made up: --label: no column 'stat'; did you mean 'state'"),
        ({"sales": [1], "x": [2]}, ("state",), "made up: --label: no column 'state'; known: sales, x"),
        ({"x": [1], "s": ["a"]}, ("s", "rum"), "made up: --series: no column 'rum'; known: x"),
        ({"x": [1, 2], "s": ["a", None]}, ("s",), r"made up: row 3, column 's' \(--label\): nothing there"),
        ({"x": [1, 2], "s": [0.5, 1.0]}, ("s",), "made up: --label: column 's' holds fractions"),
        ({"x": ["u"], "s": ["a"]}, ("s",), "made up: no column to learn from, besides 'x'"),
        ({"x": [1], "s": ["a"]}, ("s", "", ("y",)), "made up: no column 'y'; known: x"),
        ({"x": [1], "s": ["a"]}, ("s", "", ("x", "s")), "made up: --inputs: column 's' has the labels; leave it out"),
        (
            {"x": [1, 2], "w": ["a", "b"], "s": ["a", "b"]},
            ("s", "", ("w",)),
            "column 'w' holds text; want numbers",
        ),
        (
            {"x": ["1", "2.5", "o"], "y": [1, 2, 4], "s": list("aba")},
            ("s",),
            "row 4, column 'x': 'o' is text among",
        ),
    ],
)
def test_what_is_missing_is_named(columns, arguments, message):
    with pytest.raises(UserError, match=message):
        read(table(**columns), *arguments)
