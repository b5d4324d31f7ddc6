"""Windows: which there are, what is in them, row by row; and that nothing is copied."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from made_up_tables import random_values, slow_fill, slow_marks, table_of

from gatewise import UserError
from gatewise.data.table.clock import Frequency
from gatewise.data.table.filling import POLICIES
from gatewise.data.table.preparation import Preparation, Roles
from gatewise.data.table.series_table import Series, SeriesTable
from gatewise.data.table.split import Split
from gatewise.data.table.windows import Windows

SPLIT = Split.parse("20,6,8")


def made(policy, values, roles, calendar=False, **more):
    table = table_of(*values, hourly=True)
    preparation = Preparation.fitted(table, roles, SPLIT, policy, calendar=calendar, **more)
    return preparation, preparation.encode(table, complete=False)


@pytest.mark.parametrize("by", ["time", "series"])
def test_a_series_shorter_than_the_horizon_has_no_window(by):
    """Also with gaps, and as the first of several."""
    values = [random_values(n, length, 4, 0.05) for n, length in enumerate((12, 60, 60))]
    table = table_of(*values, hourly=True)
    preparation = Preparation.fitted(table, Roles(("a",), ("a",)), Split.parse("0.4,0.3,0.3", by), "drop")
    encoded = preparation.encode(table, complete=False)
    for place, part in enumerate(("train", "validation", "test")):
        found = set(Windows(encoded, 1, 15, part).origins[:, 0].tolist())
        assert found <= ({1, 2} if by == "time" else {place} - {0})
        assert found or (by, part) == ("series", "train")


@pytest.mark.parametrize("same_step", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_window_is_what_the_rules_say(policy, same_step):
    roles = Roles(("a", "c"), ("a", "b"), ("d",))
    values = [random_values(n, 60 + n, 4, 0.0 if policy == "error" else 0.05) for n in range(2)]
    if policy != "error":
        values[0][[15, 30], 3] = np.nan  # known of the future, as a rule
    if policy in ("interpolate", "mask"):
        values[1][:5, 1] = np.nan  # nothing observed yet
    preparation, encoded = made(policy, values, roles)
    scaled = [(one - preparation.scale.mean) / preparation.scale.deviation for one in values]
    lookback, horizon = 5, 1 if same_step else 3
    delay = 0 if same_step else 1
    count, batch = 0, Windows(encoded, lookback, horizon, same_step=same_step).batch([])
    for part, (low, high) in {"train": (0, 20), "validation": (20, 26), "test": (26, 34), "all": (0, 99)}.items():
        windows = Windows(encoded, lookback, horizon, part, same_step=same_step)
        expected = []
        for series, one in enumerate(scaled):
            for last in range(lookback - 1, len(one)):
                first, begin, end = last - lookback + 1, last + delay, last + delay + horizon
                seen = [0, 1, 3] if same_step else [0, 1, 2, 3]
                gap = np.isnan(one[first : last + 1, seen]).any() or np.isnan(one[begin:end, 3]).any()
                if low <= begin and end <= min(high, len(one)) and not (policy in ("error", "drop") and gap):
                    expected.append((series, last))
        assert windows.origins.tolist() == [list(pair) for pair in expected]
        batch = windows.batch(range(len(windows)))
        for b, (series, last) in enumerate(expected):
            one, first = scaled[series], last - lookback + 1

            def shown(column, start, stop, one=one):
                return slow_fill(one[:, column], start, stop, policy)

            past = [shown(0, first, last + 1), shown(1, first, last + 1)]
            if policy == "mask":
                past += [*slow_marks(one[:, 0], first, last + 1).T, *slow_marks(one[:, 1], first, last + 1).T]
            past.append(shown(3, first, last + 1))
            begin = last + delay
            np.testing.assert_allclose(batch.past[:, b], np.stack(past, 1), atol=1e-5)
            history = np.zeros((lookback, 0)) if same_step else np.stack([shown(c, first, last + 1) for c in (0, 2)], 1)
            np.testing.assert_allclose(batch.history[:, b], history, atol=1e-5)
            np.testing.assert_allclose(batch.known[:, b, 0], shown(3, begin, begin + horizon), atol=1e-5)
            np.testing.assert_allclose(batch.targets[:, b], one[begin : begin + horizon, [0, 2]], atol=1e-5)
            count += 1
        assert len(windows) == len(expected)
    assert count > 25
    assert preparation.input_size == batch.past.shape[2] == len(preparation.input_names)
    assert preparation.known_size == batch.known.shape[2] == 1


def test_numbers_may_come_in_any_order_and_from_several_series():
    _, encoded = made("drop", [random_values(n, 40, 2, 0.02) for n in range(3)], Roles(("a",), ("b",)))
    windows = Windows(encoded, 3, 2)
    whole = windows.batch(range(len(windows)))
    order = torch.randperm(len(windows))
    mixed = windows.batch(order)
    for name, value in vars(mixed).items():
        torch.testing.assert_close(value, getattr(whole, name)[:, order], rtol=0, atol=0, equal_nan=True)
    assert windows.batch([]).past.shape == (3, 0, 1)
    for number in (-1, len(windows)):
        with pytest.raises(IndexError, match="windows are numbered 0"):
            windows.batch([number])


def test_the_published_protocol_of_etth1():
    """8640, 2880 and 2880 rows (Zhou 2021), every window whose steps to come lie in the part."""
    series = Series("", np.zeros((17420, 1)), None, np.arange(17420))
    table = SeriesTable("etth1", ("a",), ("a",), (series,), None)
    preparation = Preparation.fitted(table, Roles(("a",), ("a",)), Split.parse("8640,2880,2880"))
    encoded = preparation.encode(table)
    for part, horizon, count in (
        ("train", 96, 7825),
        ("validation", 96, 2785),
        ("test", 96, 2785),
        ("test", 336, 2545),
    ):
        assert len(Windows(encoded, 720, horizon, part)) == count
    assert Windows(encoded, 720, 96, "test").origins[0].tolist() == [0, 11519]


def test_the_calendar_is_known_of_the_past_and_the_future():
    _, encoded = made("error", [random_values(0, 40, 2, 0)], Roles(("a",), ("b",)), calendar=True)
    batch = Windows(encoded, 24, 6, "all").batch([0])  # from Monday, midnight on
    hours = np.arange(30)
    np.testing.assert_allclose(batch.past[:, 0, 1], np.sin(2 * np.pi * hours[:24] / 24), atol=1e-6)
    np.testing.assert_allclose(batch.known[:, 0, 1], np.cos(2 * np.pi * hours[24:] / 24), atol=1e-6)
    np.testing.assert_allclose(batch.past[:, 0, 4], 1, atol=1e-6)  # Monday
    np.testing.assert_allclose(batch.known[:, 0, 3], np.cos(2 * np.pi / 7), atol=1e-6)  # Tuesday


@pytest.mark.parametrize("policy", POLICIES)
def test_a_series_can_be_continued_by_rows_to_come(policy):
    values = [random_values(n, 40, 2, 0) for n in range(2)]
    table = table_of(*values, hourly=True)
    preparation = Preparation.fitted(table, Roles(("a",), ("a", "b")), SPLIT, policy, calendar=True)

    class Hourly(Frequency):
        def after(self, time, steps):
            return time + np.arange(1, steps + 1) * np.timedelta64(1, "h")

    table = SeriesTable("made up", table.columns, table.origins, table.series, Hourly(1, "h"))
    windows = Windows(preparation.encode(table, ahead=4), 6, 4, "all")
    lasts = [int(np.flatnonzero((windows.origins == [n, 39]).all(1))[0]) for n in range(2)]
    batch = windows.batch(lasts)
    scaled = np.stack([(one[34:] - preparation.scale.mean) / preparation.scale.deviation for one in values], 1)
    np.testing.assert_allclose(batch.past[..., :2], scaled, atol=1e-5)
    assert batch.targets.isnan().all()
    np.testing.assert_allclose(batch.known[:, 0, 0], np.sin(2 * np.pi * (np.arange(40, 44) % 24) / 24), atol=1e-6)


def test_too_few_rows_are_refused_with_numbers():
    _, encoded = made("error", [random_values(0, 40, 2, 0)], Roles(("a",), ("b",)))
    message = "the train part has 20 rows, and a window wants 21: 18 to look back on and 3 to predict; give more rows"
    with pytest.raises(UserError, match=message):
        Windows(encoded, 18, 3).require()
    assert len(Windows(encoded, 17, 3).require()) == 1
    with pytest.raises(UserError, match="a window wants 21: 21 to look back on; give"):
        Windows(encoded, 21, part="train", same_step=True).require()
    values = random_values(0, 40, 2, 0)
    values[::3] = np.nan
    _, encoded = made("drop", [values], Roles(("a",), ("b",)))
    with pytest.raises(UserError, match="every window of 6 rows in the train part has a gap; take --missing interp"):
        Windows(encoded, 4, 2).require()
    asked: dict[str, Any] = {"lookback": 4, "horizon": 2}
    wrong: list[dict[str, Any]] = [
        {"part": "tests"},
        {"lookback": 0},
        {"same_step": True},
    ]
    for one in wrong:
        with pytest.raises(UserError):
            Windows(encoded, **asked | one)


def test_ten_million_rows_are_held_once():
    rows = 10_000_000
    values = np.empty((rows, 2))
    values[:, 0] = np.arange(rows) % 1000
    values[:, 1] = 1.0
    series = Series("", values, None, np.broadcast_to(np.int64(0), (rows,)))
    table = SeriesTable("long", ("a", "b"), ("a", "b"), (series,), None)
    once = rows * 2 * 4  # float32
    tracemalloc.start()
    preparation = Preparation.fitted(table, Roles(("a",), ("a", "b")), Split.parse("0.7,0.1,0.2"))
    tracemalloc.reset_peak()
    encoded = preparation.encode(table)
    windows = Windows(encoded, 336, 96)
    batch = windows.batch([0, len(windows) - 1])
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.02 * once
    assert peak < 1.3 * once
    assert len(windows) == 7_000_000 - 336 - 96 + 1
    np.testing.assert_allclose(preparation.decode_targets(batch.targets[:, 1])[-1], [999], atol=1e-3)
