"""Which columns of a table are what, and how far a forecast looks where nobody says."""

import polars as pl
import pytest
from forecast_tables import demand  # type: ignore[import-not-found]

from gatewise import UserError
from gatewise.data import table_of
from gatewise.training.forecast_data import Extent, columns_of, roles_of, windows_of
from gatewise.training.forecast_settings import ForecastSettings
from gatewise.training.prepared_table import PreparedTable, prepare_table
from gatewise.training.settings import settings_from

FRAME = demand().with_columns(wind=pl.Series(["NW", "SE"] * 80))


def prepared(frame: pl.DataFrame = FRAME, **chosen) -> tuple[PreparedTable, ForecastSettings]:
    settings = settings_from(ForecastSettings, {"target": "load"} | chosen)
    columns = columns_of(settings)
    return prepare_table(table_of(frame), settings, lambda series: roles_of(series, settings), columns), settings


@pytest.mark.parametrize(
    ("chosen", "targets", "inputs"),
    [
        ({}, ("load",), ("load", "heat", "plan", "wind")),
        ({"inputs": "wind,heat"}, ("load",), ("wind", "heat", "load")),  # the target's past is known too
        ({"known": "plan"}, ("load",), ("load", "heat", "wind")),
        ({"target": "all"}, ("load", "heat", "plan"), ("load", "heat", "plan", "wind")),
        ({"target": "all", "known": "plan"}, ("load", "heat"), ("load", "heat", "wind")),
        ({"target": "heat,load", "inputs": "plan"}, ("heat", "load"), ("plan", "heat", "load")),
    ],
    ids=str,
)
def test_roles(chosen, targets, inputs):
    roles = prepared(**chosen)[0].preparation.roles
    assert (roles.targets, roles.inputs) == (targets, inputs)
    assert roles.known == (("plan",) if "known" in chosen else ())


def test_the_only_column_of_numbers_needs_no_name():
    assert prepared(FRAME.select("time", "load", "wind"), target="")[0].preparation.roles.targets == ("load",)
    with pytest.raises(UserError, match="--target wind: a column of text in the data frame; forecast numbers"):
        prepared(target="wind")


def test_a_column_that_is_called_all_is_that_column():
    frame = FRAME.rename({"heat": "all"})
    assert prepared(frame, target="all")[0].preparation.roles.targets == ("all",)


@pytest.mark.parametrize(
    ("step", "chosen", "expected"),
    [
        ("1h", {}, (48, 24, 24)),
        ("1mo", {}, (24, 12, 12)),
        ("7h", {}, (20, 10, 1)),
        ("1mo", {"horizon": 30}, (60, 30, 12)),
        ("1h", {"season": 6, "lookback": 9}, (9, 6, 6)),
    ],
    ids=str,
)
def test_how_far_it_looks_goes_with_the_frequency(step, chosen, expected):
    offsets = pl.format(f"{{}}{step[1:]}", pl.int_range(160) * int(step[0]))
    clock = pl.select(pl.lit("2020-01-01").str.to_datetime().dt.offset_by(offsets)).to_series()
    table, settings = prepared(FRAME.with_columns(time=clock), **chosen)
    extent = Extent.of(settings, table)
    assert (extent.lookback, extent.horizon, extent.season) == expected
    windows = windows_of(table, extent, "train")
    assert (windows.lookback, windows.horizon) == expected[:2]
