"""What a table becomes: fitted on the training rows alone, gaps filled without looking ahead, back in its own units."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_tables import random_values, table_of
from sklearn.decomposition import PCA

from gatewise import UserError
from gatewise.data.table.filling import POLICIES
from gatewise.data.table.preparation import Preparation, Roles
from gatewise.data.table.split import Split
from gatewise.data.table.windows import Windows

ROLES = Roles(("a", "c"), ("a", "b"), ("d",))
SPLIT = Split.parse("0.5,0.25,0.25")


def fitted(table, policy="mask", **more):
    return Preparation.fitted(table, ROLES, SPLIT, policy, **more)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), policy=st.sampled_from(POLICIES), pca=st.sampled_from([None, 1, 0.9]),
    rows=st.tuples(st.integers(12, 40), st.integers(12, 40)), where=st.floats(0, 1, exclude_max=True),
    value=st.sampled_from([1e9, -3.5, np.nan]), column=st.integers(0, 3), one=st.integers(0, 1),
)  # fmt: skip
def test_nothing_after_the_training_part_changes_what_is_fitted(seed, policy, pca, rows, where, value, column, one):
    values = [random_values(seed + n, count, 4, 0.0 if policy == "error" else 0.3) for n, count in enumerate(rows)]
    before = fitted(table_of(*values, hourly=True), policy, pca=pca, calendar=True)
    cut = SPLIT.cuts(rows[one]).train
    values[one][cut + int(where * (rows[one] - cut)), column] = 7.0 if policy == "error" and value != value else value
    after = fitted(table_of(*values, hourly=True), policy, pca=pca, calendar=True)
    assert after.to_config() == before.to_config()
    values[one][:cut] += 1  # and what is before it does
    assert fitted(table_of(*values, hourly=True), policy, pca=pca).scale != before.scale


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000), policy=st.sampled_from(POLICIES), pca=st.sampled_from([None, 1]),
    lookback=st.integers(1, 9), horizon=st.integers(1, 4), which=st.floats(0, 1, exclude_max=True),
    value=st.sampled_from([5.0, np.nan]), same_step=st.booleans(),
)  # fmt: skip
def test_a_window_knows_nothing_of_what_comes_after_it(seed, policy, pca, lookback, horizon, which, value, same_step):
    horizon = 1 if same_step else horizon
    values = [random_values(seed + n, 30, 4, 0.0 if policy == "error" else 0.3) for n in range(2)]
    preparation = fitted(table_of(*values, hourly=True), policy, pca=pca, calendar=True)

    def windows():
        encoded = preparation.encode(table_of(*values, hourly=True), complete=False)
        return Windows(encoded, lookback, horizon, "all", same_step=same_step)

    first = windows()
    if not len(first):
        return
    number = int(which * len(first))
    series, last = first.origins[number]
    before = first.batch([number])
    ahead = last + (0 if same_step else horizon)  # known columns are known up to there
    values[series][last + 1 :, :3] = value
    values[series][ahead + 1 :, 3] = value
    second = windows()
    number = np.flatnonzero((second.origins == [series, last]).all(1))
    assert len(number) == 1
    after = second.batch(number)
    np.testing.assert_array_equal(after.past, before.past)
    np.testing.assert_array_equal(after.history, before.history)
    np.testing.assert_array_equal(after.known, before.known)
    if not same_step:
        assert not np.array_equal(after.targets, before.targets) or np.isnan(before.targets).any()


def test_the_scale_is_that_of_the_observed_training_rows_of_all_series():
    one, other = random_values(0, 20, 4), random_values(1, 12, 4)
    preparation = fitted(table_of(one, other))
    learned = np.concatenate([one[:10], other[:6]])
    np.testing.assert_allclose(preparation.scale.mean, np.nanmean(learned, 0), rtol=1e-12)
    np.testing.assert_allclose(preparation.scale.deviation, np.nanstd(learned, 0), rtol=1e-12)


def test_there_and_back_in_the_tables_own_units():
    values = random_values(0, 20, 4, gaps=0.0)
    preparation = fitted(table_of(values))
    targets = preparation.encode(table_of(values)).targets(np.arange(20))
    np.testing.assert_allclose(preparation.decode_targets(targets), values[:, [0, 2]], atol=1e-4)
    assert preparation.decode_targets(np.zeros((3, 5, 2))).shape == (3, 5, 2)
    assert preparation.target_names == ("a", "c")


def test_a_constant_column_is_zero_and_comes_back():
    values = random_values(0, 20, 4, gaps=0.0)
    values[:, 0] = 0.1
    values[:10, 1] = 3.0  # in the training part alone
    preparation = fitted(table_of(values))
    encoded = preparation.encode(table_of(values))
    assert abs(encoded.filled.values[:, 0]).max() < 1e-6
    assert not encoded.filled.values[:, 1].any()  # what it is later, nothing was learned of
    assert preparation.unvarying == ("a", "b")
    np.testing.assert_allclose(preparation.decode_targets(encoded.targets(np.arange(20)))[:, 0], 0.1)


def test_components_are_those_of_scikit_learn_on_the_standardised_training_rows():
    draw = np.random.default_rng(0)
    values = draw.normal(size=(60, 3)) @ draw.normal(size=(3, 6)) + draw.normal(size=(60, 6)) * 0.01
    names = ("a", "b", "c", "d", "e", "f")
    roles = Roles(("f",), names[:5])
    preparation = Preparation.fitted(table_of(values, columns=names), roles, SPLIT, pca=0.999)
    learned = (values[:30, :5] - values[:30, :5].mean(0)) / values[:30, :5].std(0)
    pca = PCA(n_components=0.999, svd_solver="full").fit(learned)
    assert preparation.input_size == len(np.asarray(pca.components_)) == 3
    assert preparation.input_names == ("component 1", "component 2", "component 3")
    scaled = (values[:, :5] - values[:30, :5].mean(0)) / values[:30, :5].std(0)
    found = preparation.encode(table_of(values, columns=names)).past(np.arange(60)[:, None])[:, 0]
    np.testing.assert_allclose(np.abs(found), np.abs(pca.transform(scaled)), atol=1e-4)
    assert preparation.projection is not None
    np.testing.assert_allclose(preparation.projection.shares, pca.explained_variance_ratio_, rtol=1e-4)


@pytest.mark.parametrize("pca", [None, 2])
@pytest.mark.parametrize("policy", POLICIES)
def test_what_is_recorded_makes_the_same_again(policy, pca):
    table = table_of(random_values(3, 40, 4, 0.0 if policy == "error" else 0.1), hourly=True)
    preparation = fitted(table, policy, pca=pca, calendar=True)
    config = json.loads(json.dumps(preparation.to_config()))
    again = Preparation.from_config(config)
    assert again == preparation
    one, other = (Windows(made.encode(table), 4, 2).batch([0, 1]) for made in (preparation, again))
    for name, value in vars(one).items():
        np.testing.assert_array_equal(value, getattr(other, name))


@pytest.mark.parametrize(
    "damage",
    [
        {"targets": ["zz"]}, {"columns": ["a"]}, {"missing": "guess"}, {"split": [1]}, {"scale": {}}, {"calendar": 3},
        {"calendar": ["moon"]}, {"projection": {"mean": [0], "components": [[1.0]], "shares": [1]}}, {"inputs": 3},
        {"projection": {"mean": [0, 0], "components": [[1.0]], "shares": [1]}}, {"roles": 0, "origins": None},
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(damage):
    config = fitted(table_of(random_values(0, 20, 4))).to_config() | damage
    with pytest.raises(UserError, match=r"malformed|no cycle"):
        Preparation.from_config(config)


def test_a_gap_is_refused_by_its_column_and_row():
    values = random_values(0, 20, 4, gaps=0.0)
    values[17, 1] = np.nan  # in the test part
    with pytest.raises(UserError, match="made up: row 19 has nothing in column 'b'; fill it, or say what to do when"):
        fitted(table_of(values), "error")
    values[17, 1], values[3, 2] = 0, np.nan
    with pytest.raises(UserError, match="row 5 of series 'series 1' has nothing in column 'c'"):
        fitted(table_of(random_values(0, 20, 4, gaps=0.0), values), "error")


def test_a_gap_in_a_column_without_a_role_does_not_matter():
    values = random_values(0, 20, 5, gaps=0.0)
    values[:, 4] = np.nan
    assert fitted(table_of(values), "error").columns == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (Roles(("z",), ("a",)), "made up: has no column 'z'"),
        (Roles(("a",), ("b", "b")), "column 'b' is named twice among the inputs"),
        (Roles(("wind",), ("a",)), "the target 'wind' is a column of text"),
        (Roles((), ("a",)), "no target is named"),
        (Roles(("a",), ()), "no input is named"),
    ],
)
def test_roles_that_cannot_be_are_refused(roles, message):
    table = table_of(np.zeros((9, 4)), columns=("a", "b", "wind=N", "wind=S"), origins=("a", "b", "wind", "wind"))
    with pytest.raises(UserError, match=message):
        Preparation.fitted(table, roles, SPLIT)


def test_columns_that_cannot_be_scaled_are_refused():
    values = random_values(0, 20, 4, gaps=0.0)
    empty, infinite = values.copy(), values.copy()
    empty[:10, 1], infinite[3, 1] = np.nan, np.inf
    with pytest.raises(UserError, match="column 'b' has no value in the training rows"):
        fitted(table_of(empty))
    with pytest.raises(UserError, match="column 'b' has infinite values"):
        fitted(table_of(infinite))
    with pytest.raises(UserError, match=r"column 'b': .*overflow"):
        fitted(table_of(values * [1, 1e200, 1, 1]))
    preparation = fitted(table_of(values))
    for value in (np.inf, 1e300):
        values[15, 1] = value
        with pytest.raises(UserError, match=r"made up: row 17, column 'b': (inf|1e\+300) is too far"):
            preparation.encode(table_of(values))
    with pytest.raises(UserError, match="has no column 'b', which was there in training"):
        preparation.encode(table_of(values, columns=("a", "x", "c", "d")))
    with pytest.raises(UserError, match="no row is left to learn from"):
        Preparation.fitted(table_of(values[:1]), ROLES, Split.parse("0.1,0.5,0.4"))
    with pytest.raises(UserError, match="has no time column"):
        fitted(table_of(values), calendar=True)
    with pytest.raises(UserError, match="--missing guess: "):
        fitted(table_of(values), "guess")


def test_columns_are_found_by_name_in_a_new_table():
    values = random_values(0, 20, 4, gaps=0.0)
    preparation = fitted(table_of(values))
    turned = table_of(values[:, ::-1], columns=("d", "c", "b", "a"))
    np.testing.assert_array_equal(
        preparation.encode(turned).filled.values, preparation.encode(table_of(values)).filled.values
    )
