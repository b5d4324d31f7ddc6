"""Classification of sequences in scikit-learn's manner."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from sklearn.base import ClassifierMixin

from gatewise.data import Schema, table_of
from gatewise.data.recordings.labelled_table import channels_of, recordings_of
from gatewise.data.recordings.sequences import Recording, Sequences
from gatewise.errors import UserError
from gatewise.estimators.arrays import is_frame, sequences_of
from gatewise.estimators.estimator import Estimator
from gatewise.training.classify_settings import ClassifySettings
from gatewise.training.recordings_source import GivenRecordings


class Classifier(ClassifierMixin, Estimator):
    """The class of a sequence.

    ``X`` is (n, T, d), (n, T), or a list of sequences (T_i, d) of different lengths, with ``y`` (n,) their labels; or a
    data frame with a label in every row, in the column that ``label`` names, and the recording that the row is of in
    the column that ``series`` names.

    Attributes:
        classes_: (K,) the labels.
        summary_: what ``gatewise train classify`` writes into ``summary.json``.
        trained_: a :class:`gatewise.training.trained_classifier.TrainedClassifier`.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(40, 9, 2)) + np.arange(40)[:, None, None] % 2
        >>> classifier = Classifier(hidden=4, epochs=1, threads=1).fit(X, np.arange(40) % 2)
        >>> classifier.predict(X[:3]).shape, classifier.predict_proba(X[:3]).shape
        ((3,), (3, 2))
    """

    label: str
    missing: str
    stride: int

    task = "classify"
    instead = {"baselines": "none"}
    left_out = frozenset({"label_from", "onset", "alarm", "report_without"})

    def fit(self, X: Any, y: Any = None) -> Classifier:
        """Train; the last of each class, or the ends of labelled streams, choose the weights.

        Args:
            X: as above.
            y: the labels; None where X is a data frame with them.

        Raises:
            UserError: parameters or data that cannot be used.
        """
        found = self._of_frame(X) if y is None else _labelled(sequences_of(X), np.asarray(y))
        labels = np.unique(sorted(found.labels())) if y is None else np.unique(np.asarray(y))
        named = {str(label): label for label in labels}
        self._train(GivenRecordings(found), self._chosen())
        self.classes_ = np.array([named[name] for name in self._fitted().classes])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(n,) labels: of sequences, or of all windows of a data frame's recordings."""
        named = dict(zip(self._fitted().classes, self.classes_, strict=True))
        return np.array([named[name] for name in self._predicted(X)["predicted"]])

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, K) probabilities, in the order of ``classes_``."""
        return self._predicted(X).select([f"p({name})" for name in self._fitted().classes]).to_numpy()

    def _predicted(self, X: Any) -> pl.DataFrame:
        trained = self._fitted()
        given = self._of_frame(X, trained.schema).recordings if is_frame(X) else sequences_of(X)
        return trained.predict(given, self.stride)

    def _of_frame(self, X: Any, schema: Schema | None = None) -> Sequences:
        """The recordings of a data frame; of one to predict from, with the schema of that learned from."""
        if not is_frame(X):
            raise UserError("y: labels are missing; give one for each sequence of X")
        if not self.label:
            raise UserError("label: name the column of the data frame that has the labels")
        table = table_of(X)
        label = self.label if schema is None or self.label in table.frame.columns else ""
        if schema is None:
            settings = self._chosen()
            assert isinstance(settings, ClassifySettings)
            schema = channels_of(table, label, settings.choice(settings.columns))
        return recordings_of(table, label, schema, self.missing == "error")


def _labelled(sequences: list[np.ndarray], labels: np.ndarray) -> Sequences:
    if labels.shape != (len(sequences),):
        raise UserError(f"y: has the shape {labels.shape}, and X has {len(sequences)} sequences; give one for each")
    every = enumerate(zip(sequences, labels, strict=True))
    return Sequences("X", tuple(Recording(f"X[{i}]", one, np.full(len(one), str(label))) for i, (one, label) in every))
