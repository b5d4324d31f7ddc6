"""Sheets of Excel, Parquet and data frames."""

import datetime as dt

import polars as pl
import pytest
import xlsxwriter

from gatewise import UserError
from gatewise.data import Table, read_table, table_of


@pytest.fixture
def book(tmp_path):
    """Writes a workbook of sheets {name: rows}; a row is a list, None leaves a cell empty."""

    def book(sheets, name="a.xlsx"):
        path = tmp_path / name
        with xlsxwriter.Workbook(path, {"default_date_format": "yyyy-mm-dd hh:mm"}) as workbook:
            for sheet, rows in sheets.items():
                page = workbook.add_worksheet(sheet)
                for number, row in enumerate(rows):
                    for place, cell in enumerate(row):
                        if cell == "error":
                            page.write_formula(number, place, "=1/0", None, "#DIV/0!")  # type: ignore[arg-type]
                        elif cell is not None:
                            page.write(number, place, cell)
        return path

    return book


NOON = dt.datetime(2024, 1, 1, 12, 30)
ROWS = [
    ["time", "x", "n", "w", "b", "f"],
    [NOON, 1.5, 3, "N", True, 0.123456789012],
    [NOON.replace(day=2), "NA", 4, " S ", False, "error"],
    [NOON.replace(day=3), 1e-300, None, "7", None, -5],
]


def test_a_sheet(book):
    table = read_table(book({"one": ROWS}))
    assert table.frame.to_dict(as_series=False) == {
        "time": ["2024-01-01 12:30:00", "2024-01-02 12:30:00", "2024-01-03 12:30:00"],
        "x": [1.5, None, 1e-300],
        "n": [3, 4, None],
        "w": ["N", "S", "7"],
        "b": [True, False, None],
        "f": [0.123456789012, None, -5],
    }
    assert table.first_row == 2


def test_rows_are_counted_as_excel_does(book):
    nothing = [None, None]
    rows = [nothing, nothing, [None, "a", "b"], [None, 1e-30, "x"], [None, 2, 7], [None, 3, "z"]]
    assert read_table(book({"one": rows})).frame.rows() == [(1e-30, "x"), (2, "7"), (3, "z")]
    path = book({"one": [nothing, nothing, [None, "a", "b"], [None, 1, 2], nothing, [None, 3, 4], nothing]})
    table = read_table(path)
    assert table.first_row == 4
    assert table.frame.rows() == [(1, 2), (None, None), (3, 4)]


def test_sheets_are_named(book):
    path = book({"data": ROWS, "温度": [["a"], [1]], "empty": [], "names": [["a", "b"]], "twice": [["a", "a"], [1, 2]]})
    assert read_table(path, "温度").frame.rows() == [(1,)]
    for sheet, message in {
        "": r"has 5 sheets \(data, 温度, empty, names, twice\); name one with --sheet",
        "dat": r"no sheet 'dat'; did you mean 'data'\?$",
        "S": "no sheet 'S'; known: data, 温度, empty, names, twice$",
        "empty": "sheet 'empty': is empty",
        "names": "sheet 'names': is empty",
        "twice": "sheet 'twice': row 1: columns 1 and 2 are both called 'a'",
    }.items():
        with pytest.raises(UserError, match=message):
            read_table(path, sheet)


def test_damaged_workbooks(tmp_path, book):
    whole = book({"one": ROWS}).read_bytes()
    for content in (b"x", whole[: len(whole) // 2], whole[:200] + bytes(300) + whole[500:]):
        path = tmp_path / "b.xlsx"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"b\.xlsx.*: cannot be read"):
            read_table(path)


def test_parquet(tmp_path):
    frame = pl.DataFrame({"t": [NOON], "x": [1.5], "w": ["N"], "z": [None]})
    frame.write_parquet(tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert table.frame.equals(frame)
    assert table.first_row == 1
    for content, message in (
        (b"PAR1" + bytes(99), "cannot be read as Parquet"),
        (b"x" * 99, "cannot be read as Parquet"),
    ):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_table(tmp_path / "a.parquet")
    frame.head(0).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has 0 rows and 4 columns"):
        read_table(tmp_path / "a.parquet")


def test_frames():
    frame = pl.DataFrame({"x": [1, None], "w": ["1", "2"]})
    for given in (frame, frame.lazy()):
        table = table_of(given, "mine")
        assert table.frame.equals(frame)
        assert (table.name, table.first_row) == ("mine", 0)
    assert table_of(table) is table
    for bad in ([1], {"x": [1]}, None, pl.Series([1]), "a.csv"):
        with pytest.raises(UserError, match="the data frame: not a data frame"):
            table_of(bad)
    with pytest.raises(UserError, match="column 2 has no name"):
        table_of(pl.DataFrame({"a": [1], " ": [2]}))
    with pytest.raises(UserError, match="has 0 rows and 1 columns"):
        table_of(frame.select("x").head(0))
    with pytest.raises(UserError, match="not a data frame that can be read"):
        table_of(frame.lazy().select("nowhere"))


def test_arrow_tables():
    arrow = pytest.importorskip("pyarrow")
    assert table_of(arrow.table({"a": [1, None], "b": ["x", "y"]})).frame.rows() == [(1, "x"), (None, "y")]


def test_pandas_frames():
    pandas = pytest.importorskip("pandas")
    times = pandas.date_range("2024-03-30", periods=3, tz="Europe/Berlin")
    frame = pandas.DataFrame(
        {
            "n": [1, 2, 3],
            "x": [1.5, None, 3],
            "w": ["a", None, "c"],
            "c": pandas.Categorical(["u", "v", None]),
            "i": pandas.array([1, None, 3], dtype="Int64"),
            "b": pandas.array([True, None, False], dtype="boolean"),
            7: times,
        }
    )
    read = table_of(frame).frame
    assert read.columns == ["n", "x", "w", "c", "i", "b", "7"]
    assert read.fill_nan(None).drop("7").rows() == [
        (1, 1.5, "a", "u", 1, True), (2, None, None, "v", None, None), (3, 3.0, "c", None, 3, False),
    ]  # fmt: skip
    assert read["7"].to_list() == [time.to_pydatetime() for time in times]
    assert table_of(frame[frame["n"] > 1]).frame.columns == read.columns  # a filter leaves numbers as its index
    indexed = table_of(frame.set_index(times)).frame
    assert indexed["index"].to_list() == read["7"].to_list()
    assert table_of(frame.set_index("w")).frame.columns[0] == "w"
    for bad in (pandas.DataFrame([[1, 2]], columns=["a", "a"]), pandas.DataFrame({"a": [1, "x"]})):
        with pytest.raises(UserError, match="not a data frame that can be read"):
            table_of(bad)
    assert isinstance(table_of(frame), Table)
