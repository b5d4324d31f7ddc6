"""Tables from files: what is read, against Python's own csv, and what is refused with which row."""

import csv
import gzip
import io
import string

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewise import UserError
from gatewise.data import read_table
from gatewise.data.table import encoding, records
from gatewise.data.table.entries import MISSING


@pytest.fixture
def read(tmp_path):
    """``read(b"a,b\\n1,2\\n")`` is the frame and what was said."""

    def read(content, name="a.csv", sheet=""):
        path, lines = tmp_path / name, []
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        table = read_table(path, sheet, lines.append)
        return table.frame, lines

    return read


@pytest.fixture
def refusal(read, tmp_path):
    def refusal(content, name="a.csv", sheet=""):
        with pytest.raises(UserError) as error:
            read(content, name, sheet)
        message = str(error.value)
        assert message.startswith(f"{tmp_path / name}")
        assert "\n" not in message
        return message.removeprefix(f"{tmp_path / name}")

    return refusal


def test_numbers_truths_texts_and_missing_values(read):
    frame, said = read('a,b,c,d,e\n1,1.5,x,true,+2\nNA,-3e2, y ,False, 7\n3,nan,"z, ""q""",N/A,-\n')
    assert frame.to_dict(as_series=False) == {
        "a": [1, None, 3],
        "b": [1.5, -300.0, None],
        "c": ["x", "y", 'z, "q"'],
        "d": [True, False, None],
        "e": [2, 7, None],
    }
    assert said == []
    assert frame.schema["a"] == frame.schema["e"] == pl.Int64


@pytest.mark.parametrize("word", [*MISSING, " NA ", '"NA"'])
def test_what_stands_for_a_missing_value(read, word):
    frame, _ = read(f"number,text\n{word},{word}\n2.5,x\n")
    assert frame.rows() == [(None, None), (2.5, "x")]


@pytest.mark.parametrize("word", ["None", "?", ".", "-999", "missing"])
def test_nothing_else_does(read, word):
    frame, _ = read(f"a,b\n{word},1\nx,2\n")
    assert frame["a"].to_list() == [word, "x"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_separators_line_ends_and_the_byte_order_mark(read, separator, end, mark):
    text = end.join(["é|b", '"1|5"|2', "x|3"]).replace('"1|5"', '"1,5;6\t7"').replace("|", separator)
    frame, said = read(mark + text.encode())
    assert frame.columns == ["é", "b"]
    assert frame.rows() == [("1,5;6\t7", 2), ("x", 3)]
    assert said == []


_FIELD = st.text(string.ascii_letters + string.digits + ' ,;\t"\n.-é温', max_size=8)
_TABLES = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(_FIELD, min_size=width, max_size=width), min_size=1)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_TABLES, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.integers(1, 9))
def test_any_table_written_by_csv_is_read_back(tmp_path, rows, separator, end, chunk):
    """Each field with a letter z before it, so that it is a text; also where pieces of a few bytes are looked at."""
    rows = [[f"z{field}" for field in row] for row in rows]
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(
        [[f"name {number}" for number in range(len(rows[0]))], *rows]
    )
    path = tmp_path / "a.csv"
    path.write_bytes(written.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_CHUNK", chunk)
        frame = read_table(path).frame
    assert [list(row) for row in frame.rows()] == [[field.strip() for field in row] for row in rows]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(allow_infinity=False, allow_nan=False) | st.none(), min_size=1))
def test_numbers_are_read_as_python_wrote_them(tmp_path, values):
    path = tmp_path / "a.csv"
    path.write_text("number,word\n" + "".join(f"{'' if v is None else repr(v)},w\n" for v in values))
    column = read_table(path).frame["number"]
    assert column.cast(pl.Float64).to_list() == values


def test_decimal_commas_where_semicolons_separate(read):
    frame, said = read("zeit;wert;zahl\n2020-01-01;1,5;7\n2020-01-02;-2;NA\n2020-01-03;,25e1;9\n")
    assert frame["wert"].to_list() == [1.5, -2.0, 2.5]
    assert frame["zahl"].to_list() == [7, None, 9]
    assert len(said) == 1
    assert "decimal commas ('1,5' in row 2, column 'wert', is 1.5)" in said[0]


def test_decimal_commas_that_may_be_something_else(read, refusal):
    assert read("a\tb\n1,500\t2\n12,250\t3\n")[0]["a"].to_list() == ["1,500", "12,250"]  # thousands, perhaps
    assert read("a\tb\n1,500\t2\n12,25\t3\n")[0]["a"].to_list() == [1.5, 12.25]
    assert read("a,b\n'1',x\n")[0]["a"].to_list() == ["'1'"]
    assert "row 3, column 'a': '1,5' has a decimal comma, while column 'b' has decimal points" in refusal(
        "a;b\n1;2.5\n1,5;2\n"
    )
    assert "row 2: 3 fields" in refusal("a,b\n1,5,2\n2,3,4\n")
    assert "decimal comma wants semicolons" in refusal("a\n1,5\n")


def test_the_first_column_may_have_no_name_and_the_last_no_content(read):
    frame, said = read(",x\n0,5\n1,6\n")
    assert frame.columns == ["column 1", "x"]
    assert "called 'column 1'" in said[0]
    frame, said = read("a,b,\n1,2,\n3,4,\n")
    assert frame.columns == ["a", "b"]
    assert "ends with a separator" in said[0]


def test_blank_rows(read):
    frame, said = read("a,b\n1,2\n\n3,4\n\n\n")
    assert frame.rows() == [(1, 2), (None, None), (3, 4)]
    assert said == []
    frame, said = read("a,b\n1,2\n,\nNA,\n")
    assert frame.rows() == [(1, 2)]
    assert "2 rows at the end hold nothing" in said[0]
    assert read("a\n1\nNA\n\n")[0]["a"].to_list() == [1, None]


@pytest.mark.parametrize("chunk", range(1, 12))
def test_blank_rows_wherever_the_bytes_are_cut(read, monkeypatch, chunk):
    monkeypatch.setattr(records, "_CHUNK", chunk)
    for end in ("\n", "\r\n"):
        assert read(end.join(["a,b", "1,2", "", "3,4", "", ""]))[0].rows() == [(1, 2), (None, None), (3, 4)]


@pytest.mark.parametrize("chunk", range(1, 12))
def test_bytes_that_are_not_utf8_wherever_they_are_cut(read, refusal, monkeypatch, chunk):
    monkeypatch.setattr(encoding, "_CHUNK", chunk)
    assert "row 3: byte 0xe6" in refusal("wörd,b\n日本,1\n".encode() + b"\xe6\x97,2\n")
    assert "row 2: byte 0xe6" in refusal(b"a,b\n1,\xe6\x97")
    assert "row 3: a NUL byte" in refusal(b"a,b\n1,2\n3,\x00\n")
    assert read("wörd,b\n日本,1\n")[0].rows() == [("日本", 1)]


def test_encodings(read, refusal):
    text = "温度,风向\n1.5,西北\n2,东南\n"
    for code, words in (("gb18030", "GB18030 ('温度' in row 1)"), ("utf-16", "UTF-16")):
        frame, said = read(text.encode(code))
        assert frame.to_dict(as_series=False) == {"温度": [1.5, 2.0], "风向": ["西北", "东南"]}
        assert words in said[0]
    ascii_first = "wind,t\n" + "N,1\n" * 2000 + "西北,2\n"
    frame, said = read(ascii_first.encode("gbk"))
    assert frame["wind"][-1] == "西北"
    assert "'西北' in row 2002" in said[0]
    assert read("pH值,CO值,水温\n7,1,2\n".encode("gbk"))[0].columns == ["pH值", "CO值", "水温"]
    for word in ("Größe", "Température", "Año", "naïve", "État"):  # some of these are valid GB18030
        for other in ("b", "ÄÖÜß"):  # which alone would be two Chinese characters
            assert "row 1: byte 0x" in refusal(f"{word},{other}\n1,2\n".encode("latin-1"))
    message = refusal("温度,b\n1,2\n".encode("gbk") + b"\xff,3\n")
    assert "row 3: byte 0xff is not GB18030 (Chinese), as row 1 is" in message
    assert "row 3: byte 0xff is not UTF-8" in refusal("温度,西北\n1,2\n".encode() + b"\xff,3\n")
    assert "row 3: byte 0xff" in refusal(b"a,b\n1,2\n\xff,3\n")
    assert "begins as utf-16-le and is not" in refusal("a,b\n".encode("utf-16") + b"\x00\xd8")


BAD = {
    "empty": (b"", "is empty (0 bytes)"),
    "header alone": (b"a,b\n", "no row of values"),
    "blank": (b"\n\n", "no row of values"),
    "rows of nothing": (b"a,b\n,\nNA,\n", "no row with a value"),
    "short row": (b"a,b\n1,2\n3\n4,5\n", "row 3: 1 field separated by ',', but the first row has 2"),
    "long row": (b"a,b\n1,2\n3,4,5\n", "row 3: 3 fields separated by ',', but the first row has 2"),
    "short last row": (b"a;b\n1;2\n3", "row 3: 1 field separated by ';'"),
    "no header": (b"2020-01-01,1.5\n2020-01-02,2\n", "row 1: values ('2020-01-01') where the names"),
    "no header, with a text": (b"1,2010,1,1,0,NA,NW,1.79\n2,2010,1,1,1,NA,NW,2\n", "row 1: values ('1') where"),
    "doubled name": (b"a,b,a \n1,2,3\n", "row 1: columns 1 and 3 are both called 'a'"),
    "empty name": (b"a,,b\n1,2,3\n", "row 1: column 2 has no name"),
    "open quote": (b'a,b\n1,2\n"3,4\n5,6\n', "row 3: a quote is opened and never closed"),
    "quotes within fields": (b'a,b\n1,2\n5" pipe,1\n6",2\n', "row 3: a quote within a field"),
    "a row with two of them": (b'a,b\n1,2\n5" x,6" y\n', "row 3: a quote within a field"),
    "one at the end": (b'a,b\n1,2\n5" pipe,1', "row 3: a quote within a field"),
    "a quote after a text": (b'a,b\n1,2\nx","y\n', "row 3:"),
    "two separators": (b"a;b, c\n1;2,5\n", "row 1: fields may be separated by ',' or ';'"),
    "NUL": (b"a,b\n1,2\n3,\x00\n", "row 3: a NUL byte"),
    "binary": (bytes(range(256)) * 9, "a NUL byte"),
    "Excel": (b"PK\x03\x04 and so on", "is an Excel file or a ZIP archive"),
    "Parquet": (b"PAR1 and so on", "is a Parquet file"),
    "old Mac": (b"a,b\r1,2\r", "CR alone"),
    "huge name": (b'"' + b"x" * 200_000 + b'",b\n1,2\n', "row 1: cannot be read as names"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_refused(refusal, kind):
    content, message = BAD[kind]
    assert message in refusal(content)


def test_years_may_be_names(read):
    assert read("country,1990,1991,1992\nChile,1,2,3\n")[0].columns == ["country", "1990", "1991", "1992"]


def test_numbers_of_many_digits_and_huge_texts(read):
    frame, _ = read("a,b\n1" + "0" * 45 + ",x\n2," + "y" * 300_000 + "\n")
    assert frame["a"].to_list() == [1e45, 2.0]
    assert len(frame["b"][1]) == 300_000


def test_packed_files(read, refusal):
    packed = gzip.compress(b"a,b\n1,x\n")
    assert read(packed, "a.csv.gz")[0].rows() == read(packed, "a.TSV.GZ")[0].rows() == [(1, "x")]
    assert "cannot be unpacked" in refusal(packed[:-9], "a.csv.gz")
    assert "cannot be unpacked" in refusal(b"a,b\n", "a.csv.gz")
    assert "empty when unpacked" in refusal(gzip.compress(b""), "a.csv.gz")
    assert "packed by gzip" in refusal(packed)
    assert "want .csv" in refusal(packed, "a.json.gz")


def test_paths(tmp_path):
    for path, message in (
        (tmp_path / "b.csv", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "x\0.csv", "cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            read_table(path)
    (tmp_path / "a[1]*.csv").write_text("a,b\n1,2\n")  # no pattern
    assert read_table(tmp_path / "a[1]*.csv").frame.rows() == [(1, 2)]


def test_other_kinds_of_files(refusal):
    assert "want .csv" in refusal(b"{}", "a.json")
    assert "no Excel file, and has no sheet 'b'" in refusal(b"a\n1\n", "a.csv", "b")
