"""Tables out: what is read back is what was written, in every format."""

import numpy as np
import polars as pl
import pytest

from gatewise import UserError
from gatewise.training.table_file import WRITERS, check_table_file, write_table

FRAME = pl.DataFrame(
    {
        "day": np.array(["2020-01-01", "2020-01-02"], "M8[us]"),
        "hour": np.array(["2020-01-01T01:00", "2020-01-02"], "M8[us]"),
        "value": [1.1234567891234, float("nan")],
        "城市": ["a", "北京"],
    }
)


@pytest.mark.parametrize("ending", WRITERS)
def test_what_is_read_back_is_what_was_written(tmp_path, ending):
    path = tmp_path / f"out{ending}"
    path.write_text("what was there before")
    write_table(FRAME, path)
    read = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".xlsx": pl.read_excel}[ending](path)
    assert read.columns == FRAME.columns
    assert read["value"].to_list() == [1.1234567891234, None]
    assert read["城市"].to_list() == ["a", "北京"]
    if ending == ".csv":
        assert read["day"].to_list() == ["2020-01-01", "2020-01-02"]
        assert read["hour"].to_list() == ["2020-01-01 01:00:00", "2020-01-02 00:00:00"]
    else:
        assert read["day"].dtype == pl.Date
        assert read["hour"].cast(pl.Datetime("us")).equals(FRAME["hour"])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_parts_of_a_second_are_kept(tmp_path):
    times = np.array(["2020-01-01T00:00:00.25", "2020-01-01T00:00:00.5"], "M8[us]")
    write_table(pl.DataFrame({"time": times}), tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1:] == [
        "2020-01-01 00:00:00.250000", "2020-01-01 00:00:00.500000",
    ]  # fmt: skip


def test_other_names_and_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"--out .*a.json: want a name that ends in .csv, .parquet, .xlsx"):
        check_table_file(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"nowhere/a.csv: could not be written"):
        write_table(FRAME, tmp_path / "nowhere" / "a.csv")
