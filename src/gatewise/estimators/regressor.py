"""Regression in scikit-learn's manner."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from gatewise.data import table_of
from gatewise.errors import UserError
from gatewise.estimators.arrays import (
    SERIES,
    check_lengths,
    columns_of,
    is_frame,
    is_one_series,
    sequences_of,
    stacked,
)
from gatewise.estimators.estimator import Estimator
from gatewise.training.table_source import TableSource


class Regressor(RegressorMixin, Estimator):
    """One or several numbers from the last ``window`` steps of several inputs.

    ``X`` is a data frame, whose columns ``targets`` names (or ``y`` has them); or one series (T, d) with ``y`` (T,) or
    (T, k), a prediction at every step; or several sequences, (n, T, d) or a list of (T_i, d), with ``y`` (n,) or
    (n, k), a prediction of each from its last steps: ``window`` of them, or as many as the shortest has.

    Attributes:
        summary_: what ``gatewise train regress`` writes into ``summary.json``.
        trained_: a :class:`gatewise.training.trained_regressor.TrainedRegressor`.

    Example:
        >>> X = np.random.default_rng(0).normal(size=(60, 8, 2))
        >>> regressor = Regressor(hidden=4, epochs=1, threads=1).fit(X, X[:, -1, 0])
        >>> regressor.predict(X[:5]).shape
        (5,)
    """

    targets: str
    inputs: str
    window: int | None

    task = "regress"
    instead = {"split": "0.8,0.2,0", "window": None}
    left_out = frozenset({"sheet"})

    def fit(self, X: Any, y: Any = None) -> Regressor:
        """Train; the last part chooses the weights: of a series its end, of sequences the last of them.

        Args:
            X: as above.
            y: the targets; None where X is a data frame with them.

        Raises:
            UserError: parameters or data that cannot be used.
        """
        frame, more = self._frame(X, y)
        self._flat = y is not None and np.ndim(y) == 1
        self._train(TableSource(None, frame=frame), self._chosen(**more))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(rows,) or (rows, k) of the rows of a series or of a data frame, (n,) or (n, k) of sequences; NaN where no
        window ends yet, or has a gap that is not filled."""
        trained = self._fitted()
        frame, _ = self._frame(X, None, trained.model.lookback)
        values = trained.predict_rows(table_of(frame))
        if not (is_frame(X) or is_one_series(X)):
            values = values[trained.model.lookback - 1 :: trained.model.lookback]
        return values[:, 0] if self._flat else values

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R², the mean over the targets, of all that has a whole window."""
        predicted = self.predict(X)
        known = ~np.isnan(predicted.reshape(len(predicted), -1)).any(1)
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        truth = columns_of(y, len(predicted)).to_numpy()
        return float(r2_score(truth[known], predicted[known], sample_weight=weight))

    def _frame(self, X: Any, y: Any, window: int | None = None) -> tuple[Any, dict[str, Any]]:
        """A data frame with the targets, where there are any, and the settings that go with it."""
        more: dict[str, Any] = {}
        if is_frame(X):
            if y is None:
                return X, more
            frame = table_of(X).frame
        elif self.targets or self.inputs:
            raise UserError("targets and inputs name columns of a data frame; an array has none: leave them out")
        elif is_one_series(X):
            frame, more = stacked(sequences_of([X]), "x").drop(SERIES), {"time": "none"}
        else:
            sequences = sequences_of(X)
            length = window or self.window or min(map(len, sequences))
            check_lengths(sequences, length)
            frame = stacked([one[-length:] for one in sequences], "x")
            more = {"series": SERIES, "time": "none", "window": length, "split_by": "series"}
            y = None if y is None else columns_of(y, len(sequences))[np.repeat(np.arange(len(sequences)), length)]
        if y is None:
            return frame, more
        targets = columns_of(y, len(frame))
        return frame.with_columns(targets), more | {"targets": ",".join(targets.columns)}
