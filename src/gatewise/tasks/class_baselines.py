"""What a classifier is compared with, on the same examples: the commonest class and two models of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gatewise.data.recordings.examples import Examples, SequencePreparation

_AT_ONCE = 512

FEATURES = ("summary", "flat")
"""What stands for an example: seven figures a channel, or all its values."""


TREES = 100
"""Of the forest."""


def features(examples: Examples, kind: str) -> np.ndarray:
    """What is given to the baselines, (n, F).

    ``summary``: of every channel the mean, the deviation, the least and the largest value, the first, the last, and
    the slope of the line of least squares over the example, from −1 to 1. ``flat``: all values, for examples of one
    length.
    """
    parts = []
    for start in range(0, len(examples), _AT_ONCE):
        x, lengths, _ = examples.batch(np.arange(start, min(start + _AT_ONCE, len(examples))))
        parts.append(_flat(x.numpy()) if kind == "flat" else _summary(x.double().numpy(), lengths.numpy()))
    return np.concatenate(parts)


def _flat(x: np.ndarray) -> np.ndarray:
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def _summary(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(T, B, d) to (B, 7 d); behind its end a sequence repeats its last step, which its extremes may see twice."""
    steps = np.arange(len(x))[:, None]
    inside = (steps < lengths)[..., None]
    count = lengths[:, None]
    mean = np.where(inside, x, 0.0).sum(0) / count
    deviation = np.sqrt(np.where(inside, (x - mean) ** 2, 0.0).sum(0) / count)
    time = np.where(inside, (2 * steps / np.maximum(lengths - 1, 1) - 1)[..., None], 0.0)
    slope = (time * (x - mean)).sum(0) / np.maximum((time**2).sum(0), 1e-12)
    slope = np.where(count > 1, slope, 0.0)
    return np.concatenate([mean, deviation, x.min(0), x.max(0), x[0], x[-1], slope], 1)


def baselines(
    train: Examples, test: Mapping[str, Examples], classes: int, kind: str, seed: int,
    check: Callable[[], None] = lambda: None, learned: bool = True,
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:  # fmt: skip
    """What each baseline holds for how probable, one after the other.

    ``majority`` is the commonest class of the training part; ``logistic_regression`` and ``random_forest`` (100 trees)
    are scikit-learn's, on standardised :func:`features`. Where principal components are in front of the network, they
    are in front of ``..._pca``, and the others are given the features themselves.

    Args:
        train: what they learn from.
        test: what they predict, by name.
        classes: how many there are, C.
        kind: one of :data:`FEATURES`.
        seed: of the forest.
        check: called between parts of the work.
        learned: also those that have to be trained; without, ``majority`` alone.

    Yields:
        a baseline's name and its probabilities, (n, C) by the names of ``test``.
    """
    counts = np.bincount(train.classes, minlength=classes)
    commonest = np.eye(classes)[[counts.argmax()]]
    yield "majority", {name: commonest.repeat(len(part), 0) for name, part in test.items()}
    if learned:
        yield from _learned(train, test, classes, kind, seed, check)


def _learned(
    train: Examples, test: Mapping[str, Examples], classes: int, kind: str, seed: int, check: Callable[[], None]
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Those of :func:`baselines` that are trained."""
    from sklearn.exceptions import ConvergenceWarning

    given = {"": train.encoded.preparation}
    if given[""].projection is not None:
        given = {"": replace(given[""], projection=None), "_pca": given[""]}
    for ending, preparation in given.items():
        learned, parts = _with(train, preparation), {name: _with(part, preparation) for name, part in test.items()}
        x, inputs = features(learned, kind), {name: features(part, kind) for name, part in parts.items()}
        for name, model in _models(seed):
            check()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # after so many steps it is as good as it gets
                warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few examples of each
                model.fit(x, train.classes)
            yield name + ending, {part: _chances(model, rows, classes) for part, rows in inputs.items() if len(rows)}


def _chances(model: Any, rows: np.ndarray, classes: int) -> np.ndarray:
    chances = np.zeros((len(rows), classes))
    chances[:, model.classes_] = model.predict_proba(rows)  # of a class without an example it knows nothing
    return chances


def _models(seed: int) -> Iterator[tuple[str, Any]]:
    # Not above: scikit-learn takes a second to start, and few commands want it.
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    yield "logistic_regression", make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    yield "random_forest", RandomForestClassifier(TREES, random_state=seed % (1 << 32))


def _with(examples: Examples, preparation: SequencePreparation) -> Examples:
    return replace(examples, encoded=replace(examples.encoded, preparation=preparation))
