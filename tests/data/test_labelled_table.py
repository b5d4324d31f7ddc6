"""Tables with a label a row as recordings."""

import numpy as np
import polars as pl
import pytest

from gatewise import UserError
from gatewise.data.labelled_table import recordings_of
from gatewise.data.tables import Table, read_table


def table(**columns) -> Table:
    return Table(pl.DataFrame(columns), "made up", 2)


def test_rows_of_a_series_are_a_recording_in_the_tables_order():
    found = recordings_of(
        table(run=list("baba"), x=[1, 2, 3, 4], y=[0.5, None, 1.5, 2.5], state=[1, 1, 2, 2], on=[True, False] * 2),
        "state", "run",
    )  # fmt: skip
    assert found.columns == ("x", "y", "on")
    assert [(one.name, one.labels.tolist()) for one in found] == [("b", ["1", "2"]), ("a", ["1", "2"])]
    np.testing.assert_array_equal(found.recordings[0].values, [[1, 0.5, 1], [3, 1.5, 1]])
    np.testing.assert_array_equal(found.recordings[1].values, [[2, np.nan, 0], [4, 2.5, 0]])


def test_columns_can_be_chosen_and_labels_may_be_unknown():
    found = recordings_of(table(x=[1, 2], y=[3, 4]), "", columns=("y", "x"))
    assert found.columns == ("y", "x")
    assert found.recordings[0].values.tolist() == [[3, 1], [4, 2]]
    assert found.recordings[0].labels.tolist() == ["", ""]


def test_a_file_with_whole_numbers_as_labels_and_a_gap(tmp_path):
    (tmp_path / "a.csv").write_text("t,x,fault\n2020-01-01,1,1.0\n2020-01-02,2,2.0\n2020-01-03,NA,2.0\n")
    said = []
    found = recordings_of(read_table(tmp_path / "a.csv"), "fault", say=said.append)
    assert found.columns == ("x",)
    assert found.recordings[0].labels.tolist() == ["1", "2", "2"]
    assert len(said) == 1
    assert "column 't' is left out" in said[0]


def test_a_column_that_counts_the_rows_of_each_recording_is_left_out_unless_it_is_named():
    columns = {"run": list("aaabbb"), "sample": [1, 2, 3] * 2, "x": [1, 2, 3, 3, 4, 6], "state": list("uvvuvv")}
    told = []
    assert recordings_of(table(**columns), "state", "run", say=told.append).columns == ("x",)
    assert told == ["made up: column 'sample' is left out: it only counts the rows; --inputs takes it in"]
    assert recordings_of(table(**columns), "state", "run", ("sample", "x")).columns == ("sample", "x")
    del columns["x"]
    assert recordings_of(table(**columns), "state", "run").columns == ("sample",)


def test_rows_that_go_back_in_time_are_refused():
    times = ["2020-01-01", "2020-01-02", "2020-01-01", "2020-01-04", "2020-01-03"]
    columns = {"when": times, "run": list("aabbb"), "x": [1.5] * 5, "state": list("uvuvv")}
    with pytest.raises(
        UserError, match=r"row 6: 2020-01-03 after 2020-01-04 of 'b'; the rows are not in order of time"
    ):
        recordings_of(table(**columns), "state", "run")
    with pytest.raises(UserError, match=r"row 4: 2020-01-01 after 2020-01-02; the rows"):
        recordings_of(table(**columns), "state", "", ("x",))
    columns["when"][4] = "2020-01-04"
    assert len(recordings_of(table(**columns), "state", "run")) == 2


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({"x": [1], "state": ["a"]}, ("stat",), "made up: --label: no column 'stat'; did you mean 'state'"),
        ({"x": [1], "s": ["a"]}, ("s", "rum"), "made up: --series: no column 'rum'; known: x, s"),
        ({"x": [1, 2], "s": ["a", None]}, ("s",), r"made up: row 3, column 's' \(--label\): nothing there"),
        ({"x": [1, 2], "s": [0.5, 1.0]}, ("s",), "made up: --label: column 's' holds fractions"),
        ({"x": ["u"], "s": ["a"]}, ("s",), "made up: no column of numbers to learn from"),
        ({"x": [1], "s": ["a"]}, ("s", "", ("y",)), "made up: no column 'y'; known: x, s"),
    ],
)
def test_what_is_missing_is_named(columns, arguments, message):
    with pytest.raises(UserError, match=message):
        recordings_of(table(**columns), *arguments)
