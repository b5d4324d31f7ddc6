"""Folders of recordings: numbers compared with NumPy's reader, labels from names, what is turned, what is refused."""

import numpy as np
import pytest

from gatewise import UserError
from gatewise.data.recordings.folders import read_recordings


@pytest.fixture
def folder(tmp_path):
    draw = np.random.default_rng(0)
    for number, rows in enumerate((7, 9, 6)):
        np.savetxt(tmp_path / f"d{number:02d}.dat", draw.normal(size=(rows, 3)), fmt="%16.7e")
    return tmp_path


def test_the_numbers_are_those_that_numpy_reads(folder):
    (folder / ".hidden.dat").write_text("no numbers")
    (folder / "README.md").write_text("no numbers")
    found = read_recordings(folder, r"d(\d\d)")
    assert [(one.name, one.label, len(one)) for one in found] == [
        ("d00.dat", "00", 7),
        ("d01.dat", "01", 9),
        ("d02.dat", "02", 6),
    ]
    for one in found:
        np.testing.assert_array_equal(one.values, np.loadtxt(folder / one.name))
        assert set(one.labels) == {one.label}


def test_a_file_that_is_stored_transposed_is_turned_and_that_is_said(folder):
    values = np.loadtxt(folder / "d00.dat")
    np.savetxt(folder / "d00.dat", values.T)
    said = []
    found = read_recordings(folder, r"d(\d\d)", say=said.append)
    np.testing.assert_array_equal(found.recordings[0].values, values)
    assert said == ["d00.dat: stored transposed, 3 rows of 7; turned to columns"]
    said.clear()
    alone = read_recordings(folder / "d00.dat", "", channels=3, say=said.append)
    np.testing.assert_array_equal(alone.recordings[0].values, values)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a,b\n1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1;2\n3;NA\n", [[1, 2], [3, np.nan]]),
        ("x\ty\n1\t2\n\t4\n", [[1, 2], [np.nan, 4]]),
        ("  1.5e1   2 \n\n  ?  4\n", [[15, 2], [np.nan, 4]]),
        ("1,\n,4\n", [[1, np.nan], [np.nan, 4]]),
    ],
)
def test_separators_names_and_missing_values(tmp_path, text, values):
    (tmp_path / "a.csv").write_text(text)
    np.testing.assert_array_equal(read_recordings(tmp_path, "").recordings[0].values, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,4,5\n", r"a.csv, row 2: 3 values, and the rows before have 2"),
        ("1,2\n3,x\n", r"a.csv, row 2, column 2: 'x' is no number"),
        ("a,b\n1,2\n\n1_0,4\n", r"a.csv, row 4, column 1: '1_0' is no number"),
        ("1;2\n1,5;3\n", r"a.csv, row 2, column 1: '1,5' is no number"),
    ],
)
def test_malformed_rows_are_named(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        read_recordings(tmp_path, "")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"d\d\d", r"--label-from 'd\\d\\d': has 0 groups; want one"),
        (r"(d)(\d\d)", r"--label-from .*: has 2 groups; want one"),
        (r"(d", r"--label-from .*: not a regular expression"),
        (r"x(\d\d)", r"d00.dat: --label-from .* finds no label in this name"),
        (r"d(9?)", r"d00.dat: --label-from .* finds no label in this name"),
    ],
)
def test_names_without_a_label_are_refused(folder, pattern, message):
    with pytest.raises(UserError, match=message):
        read_recordings(folder, pattern)


def test_other_columns_and_empty_folders_are_refused(folder, tmp_path_factory):
    np.savetxt(folder / "d03.dat", np.zeros((5, 4)))
    with pytest.raises(UserError, match=r"d03.dat: 5 rows of 4 columns; the others want 3 columns"):
        read_recordings(folder, r"d(\d\d)")
    with pytest.raises(UserError, match=r"d00.dat: 7 rows of 3 columns; the model wants 5 columns"):
        read_recordings(folder / "d00.dat", "", channels=5)
    with pytest.raises(UserError, match=r"no recordings in it; want files that end in .csv"):
        read_recordings(tmp_path_factory.mktemp("empty"), "")
