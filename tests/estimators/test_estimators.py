"""Estimators are what the commands are, in scikit-learn's manner."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.validation import check_is_fitted

from gatewise import Classifier, Forecaster, Regressor, UserError
from gatewise.tasks import class_baselines

TINY = {"hidden": 6, "epochs": 2, "threads": 1, "engine": "eager", "evaluations": 2}
EVERY = pytest.mark.parametrize("kind", [Forecaster, Regressor, Classifier])


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def command(*options):
    return [part for name, value in options for part in (f"--{name.replace('_', '-')}", value)]


@EVERY
def test_parameters_are_the_options_of_the_command_and_come_back(kind):
    given = kind(hidden=12, lr=0.5)
    assert (given.get_params()["hidden"], given.get_params()["lr"]) == (12, 0.5)
    copied: Any = clone(given)
    assert isinstance(copied, kind)
    assert copied.get_params() == given.get_params()
    assert given.set_params(cell="lstm").cell == "lstm"
    assert given.get_params()["seed"] == 0
    assert "cell: The cell's name" in kind.__doc__
    with pytest.raises(TypeError, match=r"no parameter 'hiden': did you mean 'hidden'\?"):
        kind(hiden=3)


@EVERY
def test_nothing_is_checked_before_it_is_fitted_and_then_in_the_words_of_python(kind, draw):
    wrong = kind(weight_decay=-1.0)
    data = (np.arange(50.0),) if kind is Forecaster else (draw.normal(size=(9, 5, 2)), np.arange(9) % 2)
    with pytest.raises(UserError, match=r"^weight_decay -1\.0: want"):
        wrong.fit(*data)
    with pytest.raises(NotFittedError):
        check_is_fitted(wrong)
    with pytest.raises(NotFittedError):
        wrong.predict(data[0])


def test_a_forecaster_forecasts_what_the_command_does(gatewise_, tmp_path, draw):
    frame = pl.DataFrame({
        "time": pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2020, 1, 9), "1h", eager=True),
        "y": draw.normal(size=193).cumsum(), "x": draw.normal(size=193),
    })  # fmt: skip
    frame.write_csv(tmp_path / "a.csv")
    own = {**TINY, "target": "y", "lookback": 12, "horizon": 3, "split": "0.8,0.2,0"}
    answer = gatewise_("train", "forecast", tmp_path / "a.csv", *command(*own.items()), "--out", tmp_path / "run")
    assert answer.code == 0, answer
    answer = gatewise_("predict", tmp_path / "run", "--out", tmp_path / "b.csv")
    assert answer.code == 0, answer
    forecaster = Forecaster(**own).fit(frame)
    np.testing.assert_allclose(forecaster.predict()[:, 0], pl.read_csv(tmp_path / "b.csv")["y"], rtol=1e-12)
    recorded = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert forecaster.summary_["validation"] == recorded["validation"]
    assert forecaster.forecast().columns == pl.read_csv(tmp_path / "b.csv").columns


def test_forecasts_of_one_series_and_of_several(draw):
    one = Forecaster(**TINY, lookback=8, horizon=3).fit(draw.normal(size=80))
    assert one.predict().shape == (3, 1)
    later = draw.normal(size=40)
    assert not np.array_equal(one.predict(later), one.predict())
    np.testing.assert_array_equal(one.predict(later), one.predict(later[:, None]))
    several = Forecaster(**TINY, lookback=8, horizon=3).fit([draw.normal(size=(n, 2)) for n in (60, 80)])
    assert several.predict().shape == (2, 3, 2)
    assert np.isfinite(several.score(draw.normal(size=(3, 30, 2))))
    with pytest.raises(UserError, match="want as many"):
        several.fit([np.zeros((9, 2)), np.zeros((9, 3))])


def test_the_score_of_forecasts_is_r2_of_every_origin(draw):
    series = np.sin(np.arange(120) / 3) + draw.normal(0, 0.1, 120)
    forecaster = Forecaster(**TINY, lookback=8, horizon=2).fit(series)
    origins = range(8, 119)
    predicted = np.array([forecaster.predict(series[origin - 8 : origin])[:, 0] for origin in origins])
    truth = np.array([series[origin : origin + 2] for origin in origins])
    assert forecaster.score(series) == pytest.approx(r2_score(truth.ravel(), predicted.ravel()), abs=1e-5)


def test_a_regressor_learns_a_rule_of_sequences(draw):
    X = draw.normal(size=(200, 6, 2))
    y = np.stack([X[:, -1, 0] - X[:, -2, 1], X[:, -1, 1]], 1)
    regressor = Regressor(hidden=16, epochs=30, threads=1, engine="eager", patience=0).fit(X[:150], y[:150])
    predicted = regressor.predict(X[150:])
    assert predicted.shape == (50, 2)
    assert regressor.score(X[150:], y[150:]) == pytest.approx(r2_score(y[150:], predicted))
    assert regressor.score(X[150:], y[150:]) > 0.9


def test_a_regressor_of_one_series_says_where_it_has_no_window(draw):
    X = draw.normal(size=(90, 3))
    y = X[:, 0] + 1
    regressor = Regressor(**TINY, window=4).fit(X, y)
    predicted = regressor.predict(X)
    assert predicted.shape == (90,)
    assert np.isnan(predicted).tolist() == [True] * 3 + [False] * 87
    assert regressor.score(X, y) == pytest.approx(r2_score(y[3:], predicted[3:]))


def test_sequences_of_unequal_lengths_are_read_from_their_last_steps(draw):
    sequences = [draw.normal(size=(n, 2)) for n in (5, 9, 7, 6) * 6]
    values = np.array([one[-1, 0] for one in sequences])
    regressor = Regressor(**TINY).fit(sequences, values)
    ends = [one[-5:] for one in sequences]
    np.testing.assert_array_equal(regressor.predict(sequences), regressor.predict(ends))
    with pytest.raises(UserError, match=r"X\[1\]: has 4 steps, and 5 are looked at"):
        regressor.predict([sequences[0], sequences[1][:4]])


def test_columns_of_a_data_frame_are_named_or_given_as_y(draw):
    frame = pl.DataFrame({name: draw.normal(size=70) for name in ("a", "b", "y")})
    own = Regressor(**TINY, window=3, targets="y", time="none").fit(frame)
    apart = Regressor(**TINY, window=3, time="none").fit(frame.drop("y"), frame["y"])
    np.testing.assert_array_equal(own.predict(frame), apart.predict(frame.drop("y"))[:, None])
    with pytest.raises(UserError, match=r"^targets: say which column"):
        Regressor(**TINY).fit(frame)


@pytest.mark.parametrize("by_turns", [False, True])
def test_predictions_of_a_data_frame_of_several_series_stand_at_their_rows(draw, by_turns):
    x = draw.normal(size=(2, 60))
    rows = pl.DataFrame({"id": np.repeat(["a", "b"], 60), "x": x.ravel(), "y": (2 * x + [[0], [50]]).ravel()})
    if by_turns:
        rows = rows[np.arange(120).reshape(2, 60).T.ravel().tolist()]
    regressor = Regressor(**TINY, targets="y", series="id", window=5).fit(rows)
    predicted = regressor.predict(rows.drop("y"))[:, 0]
    for key in "ab":
        own = (rows["id"] == key).to_numpy()
        alone = regressor.predict(rows.filter(own).drop("y"))[:, 0]
        np.testing.assert_allclose(predicted[own], alone, rtol=1e-6)
        assert np.isnan(alone).tolist() == [True] * 4 + [False] * 56


def test_a_sequence_with_a_gap_is_predicted_as_nan_in_its_place(draw):
    X = draw.normal(size=(30, 6, 2))
    regressor = Regressor(**TINY, missing="drop").fit(X, X[:, -1, 0])
    whole = regressor.predict(X)
    X[3, 4, 0] = np.nan
    np.testing.assert_allclose(regressor.predict(X), np.where(np.arange(30) == 3, np.nan, whole), rtol=1e-6)


def test_a_classifier_keeps_the_labels_kinds_and_order(draw):
    X = draw.normal(size=(60, 7, 2))
    y = np.where(X[:, -1, 0] > 0, 10, 9)
    more = {"dropout": 0.0, "channel_dropout": 0.0, "pooling": "last", "lr": 0.02}
    classifier = Classifier(hidden=16, epochs=30, threads=1, engine="eager", **more).fit(X, y)
    assert classifier.classes_.tolist() == [9, 10]
    chances = classifier.predict_proba(X)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-5)
    assert classifier.predict(X).tolist() == classifier.classes_[chances.argmax(1)].tolist()
    assert classifier.score(X, y) == accuracy_score(y, classifier.predict(X))
    assert classifier.score(X, y) > 0.8


def test_a_classifier_of_unequal_lengths_and_of_a_data_frame(draw):
    lengths, labels = draw.integers(4, 9, 24), np.array(["off", "on"])[np.arange(24) % 2]
    X = [draw.normal(size=(n, 2)) for n in lengths]
    apart = Classifier(**TINY).fit(X, labels)
    rows = np.concatenate(X)
    frame = pl.DataFrame({
        "id": np.repeat(np.arange(24), lengths), "a": rows[:, 0], "b": rows[:, 1], "state": np.repeat(labels, lengths),
    })  # fmt: skip
    own = Classifier(**TINY, label="state", series="id").fit(frame)
    np.testing.assert_allclose(own.predict_proba(frame.drop("state")), apart.predict_proba(X), atol=1e-6)
    with pytest.raises(UserError, match="give one for each"):
        Classifier(**TINY).fit(X, labels[:5])


def test_a_classifier_trains_baselines_only_where_that_is_asked_for(draw, monkeypatch):
    X, y = draw.normal(size=(20, 5, 2)), np.arange(20) % 2
    monkeypatch.setattr(class_baselines, "TREES", 2)
    beside = Classifier(**TINY, baselines="all").fit(X, y).summary_["baselines"]
    assert list(beside) == ["majority", "logistic_regression", "random_forest"]
    monkeypatch.setattr(class_baselines, "_models", lambda seed: pytest.fail("a baseline is trained"))
    alone = Classifier(**TINY).fit(X, y).summary_["baselines"]
    assert alone == {"majority": beside["majority"]}


def test_in_a_pipeline_and_a_grid_search(draw):
    X = draw.normal(size=(30, 5, 2))
    y = (X[:, -1, 0] > 0).astype(int)
    pipeline = make_pipeline(FunctionTransformer(np.tanh), Classifier(**TINY))
    search = GridSearchCV(pipeline, {"classifier__hidden": [2, 5]}, cv=2, error_score=np.nan).fit(X, y)
    assert search.best_params_["classifier__hidden"] in (2, 5)
    assert search.best_estimator_[-1].trained_.model is not None
    assert 0 <= search.best_score_ <= 1


def test_what_is_wrong_with_data_is_told_in_the_words_of_python():
    values = np.random.default_rng(0).normal(size=(12, 9, 2))
    labels = np.arange(12) % 2
    small = {"hidden": 4, "epochs": 1, "threads": 1}
    with pytest.raises(UserError, match=r"^X\[\d+\]: the value") as caught:
        Classifier(**small).fit(np.where(values > 2, np.nan, values), labels)
    assert "missing interpolate or mask" in str(caught.value)
    assert "--" not in str(caught.value)
    fitted = Classifier(**small).fit(values, labels)
    with pytest.raises(UserError, match=r"^recording 1: the classifier learned from recordings of 2 channels"):
        fitted.predict(values[..., :1])
