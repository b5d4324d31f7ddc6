"""The regression task: columns over a window in, others at its last step out, measured beside plain statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from gatewise.data.table.windows import Windows
from gatewise.tasks.forecast import AT_ONCE, ForecastTask, in_parts, predicted_by
from gatewise.tasks.gathered import Gathered

MOST_NUMBERS = 20_000_000
"""Of inputs that a linear baseline is fitted to; of more windows, so many as have these, evenly spread."""

_RIDGE = 1.0
"""Weight of the squared coefficients, the inputs being standardised: of columns that all but agree none gets lost."""


_LEAST_LOSS = 1e-12


class RegressTask(ForecastTask):
    """As a forecast, of windows with ``same_step=True``; the weights are chosen target by target.

    They are chosen by the geometric mean of the targets' losses on the validation part, in which a tenth less counts
    the same for each: the arithmetic mean is that of the one target that cannot be told from the inputs.
    """

    def held_out(self, model: nn.Module) -> dict[str, float]:
        """``loss``, the geometric mean of the targets' losses on the validation part, and ``mean``, the arithmetic.

        NaN where nothing is known there.
        """
        seen = self.looked_at(model)
        if seen is None:
            return {"loss": float("nan"), "mean": float("nan")}
        predicted, targets = seen
        each = [
            self.error(predicted[:, :, [place]], targets[:, :, [place]]).item()
            for place in range(targets.shape[2])
            if not targets[:, :, place].isnan().all()
        ]
        if not each:
            return {"loss": float("nan"), "mean": float("nan")}
        geometric = np.exp(np.mean(np.log(np.maximum(each, _LEAST_LOSS))))
        return {"loss": float(geometric), "mean": float(np.mean(each))}


@dataclass(frozen=True)
class Linear:
    """Ridge regression (Hoerl and Kennard 1970) of each target on the last ``steps`` steps of a window.

    Attributes:
        steps: of a window's end, all in one row.
        coefficients: (k, steps · d).
        intercepts: (k,).
    """

    steps: int
    coefficients: np.ndarray
    intercepts: np.ndarray

    @classmethod
    def fitted(cls, train: Windows, steps: int) -> Linear:
        """To windows to learn from, each target to those in which it is known."""
        width = max(1, steps * train.encoded.preparation.input_size)
        count = min(len(train), max(2, MOST_NUMBERS // width))
        numbers = np.linspace(0, len(train) - 1, count).astype(np.int64)
        rows, targets = np.empty((count, width), np.float32), []
        for start in range(0, count, AT_ONCE):
            batch = train.batch(numbers[start : start + AT_ONCE])
            rows[start : start + AT_ONCE] = _rows(batch.past.numpy(), steps)
            targets.append(batch.targets[0].numpy())
        truth = np.concatenate(targets)
        found = [_ridge(rows, truth[:, place]) for place in range(truth.shape[1])]
        return cls(steps, np.stack([one for one, _ in found]), np.array([other for _, other in found]))

    def __call__(self, past: np.ndarray) -> np.ndarray:
        """(L, B, d) to (B, k)."""
        return _rows(past, self.steps) @ self.coefficients.T + self.intercepts


def _rows(past: np.ndarray, steps: int) -> np.ndarray:
    """The last steps of windows (L, B, d) as rows (B, steps · d)."""
    return past[-steps:].swapaxes(0, 1).reshape(past.shape[1], -1)


def _ridge(rows: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    known = ~np.isnan(truth)
    if not known.any():
        return np.zeros(rows.shape[1]), 0.0
    from sklearn.linear_model import Ridge

    # In double precision: squares of columns that all but agree differ in the last digits.
    fitted = Ridge(_RIDGE).fit(rows[known].astype(np.float64), truth[known].astype(np.float64))
    return np.asarray(fitted.coef_), float(fitted.intercept_)


def baselines(train: Windows) -> Mapping[str, Callable[[Windows, np.ndarray, np.ndarray], np.ndarray]]:
    """Predictions without a network, fitted to the windows to learn from, by name.

    ``training_mean``: the mean of the training rows. ``linear_last_step``, ``linear_window``: :class:`Linear` of the
    window's last step, and of all its steps. ``previous_value``: the target one step before, which the network is not
    given, carried over gaps.

    Returns:
        Functions of windows, the rows of their last steps (B,) and their inputs (L, B, d), to predictions (B, k).
    """
    last_step, window = Linear.fitted(train, 1), Linear.fitted(train, train.lookback)
    size = len(train.encoded.preparation.target_names)
    found = {
        "training_mean": lambda windows, rows, past: np.zeros((len(rows), size)),
        "linear_last_step": lambda windows, rows, past: last_step(past),
        "linear_window": lambda windows, rows, past: window(past),
        "previous_value": _previous,
    }
    return found if train.lookback > 1 else {name: one for name, one in found.items() if name != "linear_window"}


def _previous(windows: Windows, rows: np.ndarray, past: np.ndarray) -> np.ndarray:
    """A series' first row has the training mean before it."""
    encoded = windows.encoded
    before = encoded.filled.carried(np.maximum(rows - 1, 0), encoded.preparation.target_places)
    return np.where(np.isin(rows, encoded.starts)[:, None], 0.0, before)


@dataclass(frozen=True)
class Predictions:
    """What was predicted for windows, in standard deviations of the targets.

    Attributes:
        origins: (N, 2), the series and the row in it that is predicted.
        truth: (N, k), NaN where it is unknown.
        predicted: (N, k).
        baselines: those without a network by name, (N, k) each.
    """

    origins: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    baselines: Mapping[str, np.ndarray]


def predict_all(
    model: nn.Module,
    windows: Windows,
    beside: Mapping[str, Callable[[Windows, np.ndarray, np.ndarray], np.ndarray]] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """The predictions of all windows.

    Args:
        model: a :class:`gatewise.layers.regressor.Regressor`.
        windows: with ``same_step=True``.
        beside: from :func:`baselines`.
        progress: called with the number of windows just done.
    """
    beside, found = beside or {}, Gathered(len(windows))
    for some in in_parts(np.arange(len(windows)), windows.lookback):
        batch, rows = windows.batch(some), windows.rows(some)
        others = {name: guess(windows, rows, batch.past.numpy()) for name, guess in beside.items()}
        found.put(truth=batch.targets[0], predicted=predicted_by(model, batch)[0, :, :, 0], **others)
        if progress is not None:
            progress(len(rows))
    others = {name: found[name] for name in beside}
    return Predictions(windows.origins, found["truth"], found["predicted"], others)
