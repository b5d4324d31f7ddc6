"""Where a run's table comes from, and whether it is still the same."""

import polars as pl
import pytest

from gatewise import UserError
from gatewise.training.run import Run
from gatewise.training.table_source import TableSource, same_table

FRAME = pl.DataFrame({"a": [1.0, 2.0, 4.0], "b": ["x", None, "y"], "n": [1, None, 3]})


def recorded(tmp_path, source):
    run = Run.create(tmp_path / "run", "unused")
    with run.lock():
        run.write_config("regress", {}, source.to_config(source.read()))
    return run


def test_the_same_values_in_another_kind_of_file_have_the_same_mark(tmp_path):
    FRAME.write_csv(tmp_path / "a.csv")
    FRAME.write_parquet(tmp_path / "a.parquet")
    configs = [TableSource(path).to_config(TableSource(path).read()) for path in sorted(tmp_path.iterdir())]
    configs.append(TableSource(None, frame=FRAME).to_config(TableSource(None, frame=FRAME).read()))
    assert len({config["sha256"] for config in configs}) == 1
    assert [config["path"] for config in configs] == [str(tmp_path / "a.csv"), str(tmp_path / "a.parquet"), ""]
    assert configs[0]["rows"] == 3
    assert configs[0]["columns"] == ["a", "b", "n"]


CHANGES = {
    "a number": pl.col("a").replace(4.0, 5.0), "a text": pl.col("b").replace("y", "z"),
    "a gap in numbers": pl.col("n").fill_null(2), "a gap in text": pl.col("b").fill_null("y"),
    "two rows": pl.col("a").reverse(),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_another_table_is_not_gone_on_with(tmp_path, change):
    FRAME.write_csv(tmp_path / "a.csv")
    source = TableSource(tmp_path / "a.csv")
    run = recorded(tmp_path, source)
    again = TableSource.from_config(run.read_config()["data"])
    assert same_table(run, again).frame.equals(source.read().frame)
    FRAME.with_columns(CHANGES[change]).write_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"a.csv: is not the table that .*run was trained on; bring that back"):
        same_table(run, again)
    FRAME.rename({"a": "c"}).write_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match="is not the table"):
        same_table(run, again)


def test_a_data_frame_cannot_be_read_again(tmp_path):
    run = recorded(tmp_path, TableSource(None, frame=FRAME))
    with pytest.raises(UserError, match="a run on a data frame cannot read it again"):
        same_table(run, TableSource.from_config(run.read_config()["data"]))


@pytest.mark.parametrize(("name", "expected"), [("a.b.csv", "a.b"), ("a.csv.gz", "a"), (".csv", ".csv")])
def test_a_run_is_named_after_its_file(tmp_path, name, expected):
    assert TableSource(tmp_path / name).name == expected
    assert TableSource(None).name == "table"
