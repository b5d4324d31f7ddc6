"""Parts of series, by time and by series: nothing is in two parts, and nothing that is to be learned leaks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewise.data.table.preparation import Preparation, Roles
from gatewise.data.table.series_table import Series, SeriesTable
from gatewise.data.table.split import Split
from gatewise.data.table.windows import Windows
from gatewise.errors import UserError

SHARES = st.tuples(st.floats(0.05, 0.5), st.floats(0, 0.25), st.floats(0, 0.25))


def table(lengths) -> SeriesTable:
    """The value of a row is 100 times its series' number and its own."""
    series = [
        Series(f"s{number}", 100.0 * number + np.arange(float(rows))[:, None], None, np.arange(rows))
        for number, rows in enumerate(lengths)
    ]
    return SeriesTable("made up", ("a",), ("a",), tuple(series), None)


@given(SHARES, st.lists(st.integers(1, 50), min_size=1, max_size=6), st.sampled_from(["time", "series"]))
def test_the_parts_follow_each_other_and_none_has_a_row_of_another(parts, lengths, by):
    for cuts, rows in zip(Split(parts, by).of(lengths), lengths, strict=True):
        assert 0 <= cuts.train <= cuts.validation <= cuts.test <= rows


@given(st.lists(st.integers(1, 50), min_size=4, max_size=12))
def test_by_series_a_series_is_of_one_part(lengths):
    found = Split.parse("0.5,0.25,0.25", "series").of(lengths)
    first, second = round(len(lengths) * 0.5), round(len(lengths) * 0.75)
    for number, (cuts, rows) in enumerate(zip(found, lengths, strict=True)):
        sizes = (cuts.train, cuts.validation - cuts.train, cuts.test - cuts.validation)
        part = 0 if number < first else 1 if number < second else 2
        assert sizes == tuple(rows if part == place else 0 for place in range(3))


def test_windows_by_series_stay_in_their_series_and_scales_see_the_learned_ones_alone():
    made = table([4, 5, 6, 7])
    split = Split.parse("2,1,1", "series")
    preparation = Preparation.fitted(made, Roles(("a",), ("a",)), split)
    learned = np.concatenate([made.series[0].values, made.series[1].values])
    assert preparation.scale.mean == (pytest.approx(learned.mean()),)
    encoded = preparation.encode(made)
    for part, wanted in {"train": [0, 1], "validation": [2], "test": [3]}.items():
        windows = Windows(encoded, lookback=3, part=part)
        origins = [(number, row) for number in wanted for row in range(2, len(made.series[number]) - 1)]
        assert windows.origins.tolist() == [list(one) for one in origins]
        seen = preparation.decode_targets(windows.batch(range(len(windows))).history[..., 0, None].numpy())
        assert set((seen.round() // 100).astype(int).ravel()) == set(wanted)


def test_a_preparation_by_series_comes_back_from_its_description():
    preparation = Preparation.fitted(table([4, 5, 6]), Roles(("a",), ("a",)), Split.parse("2,1,0", "series"))
    assert Preparation.from_config(preparation.to_config()) == preparation
    with pytest.raises(UserError, match="malformed preparation"):
        Preparation.from_config(preparation.to_config() | {"split_by": "rows"})


def test_more_series_than_there_are_are_refused():
    with pytest.raises(UserError, match="wants 5 series, and the table has 3"):
        Split.parse("3,1,1", "series").of([9, 9, 9])


def test_a_series_for_each_part_are_numbers_and_no_shares():
    assert [vars(cuts) for cuts in Split.parse("1,0,1", "series").of([9, 8])] == [
        {"train": 9, "validation": 9, "test": 9}, {"train": 0, "validation": 0, "test": 8},
    ]  # fmt: skip
    assert Split.parse("1,0,0").cuts(9).train == 9
    with pytest.raises(UserError, match=r"--split 1,0\.5,0: the shares add up to 1\.5"):
        Split.parse("1,0.5,0")
