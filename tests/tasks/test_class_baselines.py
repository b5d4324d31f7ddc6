"""Baselines: their features against loops over channels, their predictions against scikit-learn's own."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from gatewise.data.recordings.channel_features import MOVING, PLAIN
from gatewise.data.recordings.examples import Examples, SequencePreparation
from gatewise.data.recordings.sequences import Recording
from gatewise.tasks import class_baselines
from gatewise.tasks.class_baselines import baselines, features

DRAW = np.random.default_rng(0)


def recordings(count: int) -> list[Recording]:
    some = []
    for n in range(count):
        values = DRAW.normal(size=(int(DRAW.integers(1, 12)), 2)) + np.array([n % 3, 0])
        some.append(Recording(str(n), values, np.full(len(values), str(n % 3))))
    return some


def examples(some: list[Recording], pca: int | None = None, features: tuple[str, ...] = PLAIN) -> Examples:
    preparation = SequencePreparation.fitted(some, kind="standard", features=features, pca=pca)
    return Examples.over(some, preparation, ["0", "1", "2"], window=0)


def test_a_summary_is_seven_figures_a_channel_of_a_sequences_own_steps():
    some = recordings(30)
    made = examples(some)
    found = features(made, "summary")
    assert found.shape == (30, 14)
    for row, one in enumerate(some):
        x = (one.values - made.encoded.preparation.scale.mean) / made.encoded.preparation.scale.deviation
        for channel in range(2):
            column = x[:, channel]
            time = np.linspace(-1, 1, len(column))
            slope = np.polyfit(time, column, 1)[0] if len(column) > 1 else 0.0
            wanted = [column.mean(), column.std(), column.min(), column.max(), column[0], column[-1], slope]
            np.testing.assert_allclose(found[row, channel::2], wanted, rtol=1e-4, atol=1e-5)


def test_flat_is_all_values_of_windows():
    one = Recording("a", DRAW.normal(size=(9, 2)), np.full(9, "0"))
    made = Examples.over([one], SequencePreparation.fitted([one], kind="standard"), ["0"], window=4)
    scaled = (one.values - one.values.mean(0)) / one.values.std(0)
    wanted = np.stack([scaled[n : n + 4].ravel() for n in range(6)])
    np.testing.assert_allclose(features(made, "flat"), wanted, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def train():
    return examples(recordings(60))


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch):
    monkeypatch.setattr(class_baselines, "TREES", 5)


def test_predictions_are_scikit_learns_on_the_same_examples(train):
    some = recordings(25)
    test = Examples.over(some, train.encoded.preparation, ["0", "1", "2"], window=0)
    found = dict(baselines(train, {"test": test}, 3, "summary", seed=5))
    assert list(found) == ["majority", "logistic_regression", "random_forest"]
    x, y = features(train, "summary"), features(test, "summary")
    scaler = StandardScaler().fit(x)
    regression = LogisticRegression(max_iter=300).fit(scaler.transform(x), train.classes)
    forest = RandomForestClassifier(5, random_state=5).fit(x, train.classes)
    wanted = {
        "logistic_regression": regression.predict_proba(scaler.transform(y)),
        "random_forest": forest.predict_proba(y),
    }
    for name, chances in wanted.items():
        np.testing.assert_allclose(found[name]["test"], chances, atol=1e-9)
    np.testing.assert_array_equal(found["majority"]["test"], np.eye(3)[[0] * 25])


@pytest.mark.parametrize("given", [PLAIN, MOVING])
def test_beside_principal_components_the_channels_themselves_are_tried_too(train, given):
    some = recordings(40)
    projected, plain = examples(some, 1, given), examples(some, None, given)
    found = dict(baselines(projected, {"test": projected}, 3, "summary", seed=0))
    assert list(found) == [
        "majority", "logistic_regression", "random_forest", "logistic_regression_pca", "random_forest_pca",
    ]  # fmt: skip
    alone = dict(baselines(plain, {"test": plain}, 3, "summary", seed=0))
    for name in ("logistic_regression", "random_forest"):
        np.testing.assert_array_equal(found[name]["test"], alone[name]["test"])
    assert (found["logistic_regression_pca"]["test"] != found["logistic_regression"]["test"]).any()


def test_a_class_without_an_example_is_never_probable():
    made = examples([one for one in recordings(30) if one.label != "1"])
    for name, found in baselines(made, {"test": made}, 3, "summary", seed=0):
        assert found["test"].shape == (20, 3), name
        assert not found["test"][:, 1].any()
        np.testing.assert_allclose(found["test"].sum(1), 1.0)
