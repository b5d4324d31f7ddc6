"""Forecasting in scikit-learn's manner."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from gatewise.data import table_of
from gatewise.errors import UserError
from gatewise.estimators.arrays import SERIES, is_frame, is_one_series, sequences_of, stacked
from gatewise.estimators.estimator import Estimator
from gatewise.training.table_source import TableSource


class Forecaster(Estimator):
    """Forecasts of the steps that follow the end of series.

    ``X`` is a data frame of any kind, with the columns that the parameters name; or one series (T,) or (T, d); or
    several, as (n, T, d) or a list of (T_i, d), of which every feature is forecast from all of them.

    Attributes:
        summary_: what ``gatewise train forecast`` writes into ``summary.json``.
        trained_: a :class:`gatewise.training.trained_forecaster.TrainedForecaster`.

    Example:
        >>> y = np.sin(np.arange(200.0) / 4)
        >>> forecaster = Forecaster(lookback=24, horizon=6, hidden=8, epochs=1, threads=1).fit(y)
        >>> forecaster.predict().shape
        (6, 1)
    """

    target: str
    inputs: str

    task = "forecast"
    instead = {"split": "0.8,0.2,0"}
    left_out = frozenset({"sheet"})

    def fit(self, X: Any, y: None = None) -> Forecaster:
        """Train; the last part of every series chooses the weights and the intervals' widths.

        Args:
            X: as above.
            y: is not used.

        Raises:
            UserError: parameters or data that cannot be used.
        """
        frame, more = self._frame(X)
        self._X = X
        self._train(TableSource(None, frame=frame), self._chosen(**more))
        return self

    def predict(self, X: Any = None) -> np.ndarray:
        """The forecast of the ``horizon`` steps after the end of X, or of what was learned from if there is none.

        Returns:
            (H, k) of one series; (n, H, k) of several.
        """
        found = self.forecast(X)
        names = self._fitted().recorded.preparation.target_names
        values = found.select(names).to_numpy()
        horizon = self._fitted().extent.horizon
        several = self._fitted().recorded.schema.series != "" and not is_one_series(self._X if X is None else X)
        return values.reshape(-1, horizon, len(names)) if several else values

    def forecast(self, X: Any = None) -> pl.DataFrame:
        """The same as a data frame, with times, intervals and quantiles."""
        trained = self._fitted()
        frame, _ = self._frame(self._X if X is None else X)
        return trained.predict(table_of(frame))

    def score(self, X: Any, y: None = None) -> float:
        """R², the mean over the targets, of forecasts from every origin in X."""
        frame, _ = self._frame(X)
        figures = self._fitted().backtest(table_of(frame)).figures
        return float(figures["test"]["standardised"]["mean"]["r2"])

    def _frame(self, X: Any) -> tuple[Any, dict[str, Any]]:
        """A data frame, and the settings that go with it."""
        if is_frame(X):
            return X, {}
        sequences = sequences_of([X]) if is_one_series(X) else sequences_of(X)
        if self.target or self.inputs:
            raise UserError("target and inputs name columns of a data frame; of an array all features are forecast")
        return stacked(sequences, "x"), {"series": SERIES, "time": "none", "target": "all"}
