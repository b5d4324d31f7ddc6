"""From a file to what a network takes: nothing of the test part is known, and new files are read the same way."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise import UserError
from gatewise.data import table_of
from gatewise.data.table.preparation import Roles
from gatewise.data.table.windows import Windows
from gatewise.training.checkpoint import write_tensors
from gatewise.training.prepared_table import Recorded, prepare_or_recall, prepare_table
from gatewise.training.run import Run
from gatewise.training.table_settings import TableSettings

ROLES = Roles(("y",), ("a", "wind"))
SETTINGS = TableSettings(missing="mask", split="0.6,0.2,0.2", pca="0.9")


def made_up(rows=40, seed=0):
    draw = np.random.default_rng(seed)
    times = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 3, 1), "1h", eager=True)[:rows]
    return pl.DataFrame(
        {"time": times, "a": draw.normal(size=rows), "wind": draw.choice(["N", "S"], rows), "y": draw.normal(size=rows)}
    )


def prepared(frame, asked=SETTINGS, **more):
    return prepare_table(table_of(frame), asked, lambda _: ROLES, **more)


@settings(max_examples=15, deadline=None)
@given(
    row=st.integers(24, 39), column=st.sampled_from(["a", "wind", "y"]), gap=st.booleans(),
    number=st.floats(-1e6, 1e6, allow_subnormal=False), text=st.sampled_from(["N", "S", "storm"]),
)  # fmt: skip
def test_nothing_after_the_training_part_is_known(row, column, gap, number, text):
    frame = made_up()
    before = prepared(frame, calendar=True)
    values = frame[column].to_list()
    values[row] = None if gap else text if column == "wind" else number
    after = prepared(frame.with_columns(pl.Series(column, values)), calendar=True)
    assert after.recorded.to_config() == before.recorded.to_config()
    first = Windows(before.encoded, 5, part="train", same_step=True)
    second = Windows(after.encoded, 5, part="train", same_step=True)
    for name, value in vars(first.batch(range(len(first)))).items():
        np.testing.assert_array_equal(value, getattr(second.batch(range(len(second))), name))


def test_a_run_that_was_begun_keeps_what_it_has_fitted(tmp_path):
    begun, roles = Run(tmp_path), lambda _: ROLES
    first = prepared(made_up())
    other = table_of(made_up(seed=1))
    anew = prepare_or_recall(begun, other, SETTINGS, roles)
    assert anew.recorded == prepared(made_up(seed=1)).recorded != first.recorded
    begun.last_file.parent.mkdir()
    write_tensors(begun.last_file, {"weight": torch.zeros(1)}, first.recorded.to_config())
    recalled = prepare_or_recall(begun, other, SETTINGS, roles)
    assert recalled.recorded == first.recorded
    np.testing.assert_array_equal(recalled.encoded.filled.values, first.recorded.read(other).encoded.filled.values)


def test_what_is_recorded_reads_a_new_table_the_same():
    frame = made_up()
    first = prepared(frame)
    again = Recorded.from_config(json.loads(json.dumps(first.recorded.to_config())))
    assert again == first.recorded
    new = frame[30:].select("wind", "y", "a", "time")
    found = again.read(table_of(new))
    np.testing.assert_array_equal(
        Windows(found.encoded, 3, part="all", same_step=True).batch([5]).past,
        Windows(first.encoded, 3, part="all", same_step=True).batch([35]).past,
    )


def test_a_new_table_may_lack_targets_and_nothing_else():
    frame = made_up()
    recorded = prepared(frame).recorded
    found = recorded.read(table_of(frame.drop("y")), complete=False)
    assert Windows(found.encoded, 3, part="all", same_step=True).batch([0]).targets.isnan().all()
    for complete, column, message in (
        (True, "y", "no column 'y', which the run was trained with"),
        (False, "a", "no column 'a', which the run predicts from"),
        (False, "wind", "no column 'wind', which the run predicts from"),
    ):
        with pytest.raises(UserError, match=message):
            recorded.read(table_of(frame.drop(column)), complete=complete)


def test_a_category_that_comes_after_the_training_part_is_said_once():
    frame, said = made_up(), list[str]()
    wind = pl.Series([*frame["wind"][:39], "storm"])
    prepared(frame.with_columns(wind=wind), say=said.append)
    assert [line for line in said if "storm" in line] == [
        "the data frame: column 'wind': 'storm' (row 39, the first of 1) is no category of the rows learned from; it "
        "is 0 in all features of the column"
    ]
    assert len(set(said)) == len(said)


def test_what_is_found_is_said():
    said: list[str] = []
    prepared(made_up(), say=said.append)
    assert any("1h" in line for line in said)
    assert any(line.startswith("3 inputs in 2 components with ") for line in said)


@pytest.mark.parametrize("config", [{}, {"schema": {}}, None, {"schema": {}, "preparation": {}}])
def test_damaged_records_are_refused(config):
    with pytest.raises(UserError, match=r"use another copy|malformed"):
        Recorded.from_config(config)


def test_a_target_that_never_changes_is_refused_and_an_input_is_named_once():
    first = pl.int_range(40, eager=True) < 24  # the training part
    frame = made_up().with_columns(flat=pl.lit(0.1), late=pl.when(first).then(3.0).otherwise(9.0))
    for target in ("flat", "late"):
        roles = Roles((target,), ("a",))
        with pytest.raises(UserError, match=f"the data frame: column '{target}', the target, is the same in all train"):
            prepare_table(table_of(frame), SETTINGS, lambda _, roles=roles: roles)
    said, plain = [], TableSettings(split="0.6,0.2,0.2")
    roles = Roles(("y",), ("a", "flat", "late"))
    found = prepare_table(table_of(frame), plain, lambda _: roles, say=said.append)
    lines = [line for line in said if "the same" in line]
    said_once = "the data frame: columns 'flat', 'late' are the same in all training rows: nothing is learned of that"
    assert lines == [f"{said_once}; left at zero"]
    past = Windows(found.encoded, 5, part="all", same_step=True).batch(range(36)).past
    assert past[:, :, 0].abs().max() > 0.5
    assert not past[:, :, 1:].any()
    again = Recorded.from_config(json.loads(json.dumps(found.recorded.to_config())))
    assert again == found.recorded
