"""``.ts`` files: what is read, compared with a reader written here, and every malformed line."""

import numpy as np
import pytest

from gatewise import UserError
from gatewise.data.recordings.ts_file import read_ts

HEADER = "# a comment\n@problemName made up\n@timeStamps false\n@univariate false\n@classLabel true up down\n@data\n"


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        (tmp_path / "a.ts").write_text(text)
        return tmp_path / "a.ts"

    return write


def test_random_files_are_read_as_they_were_written(write):
    draw = np.random.default_rng(0)
    made = [(draw.normal(size=(draw.integers(1, 9), 3)).round(4), draw.choice(["up", "down"])) for _ in range(20)]
    lines = [
        ":".join([*(",".join(map(repr, channel.tolist())) for channel in values.T), label]) for values, label in made
    ]
    found = read_ts(write(HEADER + "\n".join(lines) + "\n\n"))
    assert (len(found), found.channels, found.columns) == (20, 3, ("1", "2", "3"))
    for one, (values, label) in zip(found, made, strict=True):
        np.testing.assert_array_equal(one.values, values)
        assert set(one.labels) == {label}
        assert len(one.labels) == len(values)
    assert [one.name for one in found][:2] == ["line 7", "line 8"]


def test_missing_values_blanks_and_directives_in_any_case_are_taken(write):
    found = read_ts(write("@CLASSLABEL True a b\r\n@Dimensions 2\r\n@DATA\r\n 1 , ? : NaN,-2e-3 : a \r\n"))
    np.testing.assert_array_equal(found.recordings[0].values, [[1, np.nan], [np.nan, -0.002]])
    assert found.recordings[0].label == "a"


def test_without_labels_a_file_can_be_read_for_prediction_alone(write):
    path = write("@classLabel false\n@data\n1,2:3,4\n")
    assert read_ts(path, labelled=False).recordings[0].values.tolist() == [[1, 3], [2, 4]]
    with pytest.raises(UserError, match=r"a.ts: has no class labels \(@classLabel true"):
        read_ts(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.ts"),
        ("@classLabel true a\n1,2:a\n", r"a.ts, line 2: want a directive such as @classLabel before @data"),
        ("@classLabel true a b\n", r"a.ts: has no line @data"),
        (HEADER, r"a.ts: has no sequences after @data"),
        ("@problemName x\n@data\n1:a\n", "has no class labels"),
        ("@targetLabel true\n@classLabel true a\n@data\n1:a\n", "has no class labels"),
        ("@classLabel true a a\n@data\n1:a\n", "@classLabel names a class twice"),
        ("@timeStamps true\n@classLabel true a b\n@data\n(1,2):a\n", "@timeStamps true is not read"),
        ("@timeStamp false\n@data\n", "line 1: the directive @timeStamp is not one of a .ts file"),
        ("@missing maybe\n@data\n", "line 1: @missing wants true or false, got 'maybe'"),
        ("@dimensions none\n@data\n", "line 1: @dimensions wants a whole number above 0, got 'none'"),
        ("@univariate true\n@dimensions 3\n@classLabel true a b\n@data\n", "@univariate true and @dimensions 3"),
        (HEADER + "1,2:3,4:up\n1,2:3,x:up\n", r"line 8: value 2 of channel 2 is 'x', no number"),
        (HEADER + "1,2:3,4:up\n1_0,2:3,4:up\n", r"line 8: value 1 of channel 1 is '1_0', no number"),
        (HEADER + "1,2:3,:up\n", r"line 7: value 2 of channel 2 is '', no number"),
        (HEADER + "1,2:3,4:up\n1,2:up\n", r"line 8: 1 channels, but line 7 has 2"),
        (HEADER + "1,2:3,4,5:up\n", r"line 7: channel 2 has 3 values and channel 1 has 2"),
        (HEADER + "1,2:3,4:left\n", r"line 7: ends with the label 'left', and @classLabel declares up, down"),
        (HEADER + "1,2\n", r"line 7: want channels with : between and the label last"),
        ("@classLabel true\n@data\n1,2:\n", r"line 3: has no label at its end"),
        ("@dimensions 3\n" + HEADER + "1:2:up\n", r"line 8: 2 channels, but the header says 3"),
        ("@univariate true\n@classLabel true a b\n@data\n1:2:a\n", r"line 4: 2 channels, but the header says 1"),
        ("@equalLength true\n" + HEADER + "1,2:3,4:up\n1:2:up\n", r"line 9: 1 steps, but line 8 has 2 and the header"),
        ("@seriesLength 3\n" + HEADER + "1,2:3,4:up\n", r"line 8: 2 steps, but @seriesLength says 3"),
    ],
    ids=range(24),
)
def test_what_is_malformed_is_named_with_file_and_line(write, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read_ts(write(text))
    assert "a.ts" in str(caught.value)
    assert "\n" not in str(caught.value)
