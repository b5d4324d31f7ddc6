"""How good predictions of numbers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

METRICS = ("mse", "rmse", "mae", "mape", "smape", "r2")

NEAR_ZERO = 0.01
"""A truth below this share of the mean |truth| does not count in MAPE: it would be divided by."""


def scores(truth: Any, predicted: Any) -> dict[str, float]:
    """The metrics of one target, over all steps whose truth is known (NaN is not).

    With the error e = predicted − truth:

    - ``mse`` mean e², ``rmse`` its root, ``mae`` mean |e|;
    - ``mape`` 100 · mean |e| / |truth|, in percent, over the steps with |truth| ≥ 0.01 · mean |truth|;
    - ``smape`` 100 · mean 2 |e| / (|truth| + |predicted|), in percent, 0 where both are 0;
    - ``r2`` 1 − Σe² / Σ(truth − mean truth)²; NaN where the truth does not vary.

    Args:
        truth: numbers of any shape, NaN where there is none.
        predicted: of the same shape.

    Returns:
        NaN throughout where no truth is known.

    >>> {name: round(value, 2) for name, value in scores([1.0, 2.0, np.nan, 4.0], [1.0, 3.0, 9.0, 4.0]).items()}
    {'mse': 0.33, 'rmse': 0.58, 'mae': 0.33, 'mape': 16.67, 'smape': 13.33, 'r2': 0.79}
    """
    truth, predicted = (np.asarray(values, dtype=np.float64) for values in (truth, predicted))
    counted = ~np.isnan(truth)
    truth, predicted = truth[counted], predicted[counted]
    if not truth.size:
        return dict.fromkeys(METRICS, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        off, size = np.abs(predicted - truth), np.abs(truth)
        mse = np.mean(off**2)
        enough, both = (size >= NEAR_ZERO * size.mean()) & (size > 0), size + np.abs(predicted)
        mape = np.mean(off[enough] / size[enough]) if enough.any() else np.nan
        smape = np.mean(np.divide(2 * off, both, out=np.zeros_like(off), where=both > 0))
        spread = np.mean((truth - truth.mean()) ** 2)
        r2 = 1 - mse / spread if np.ptp(truth) > 0 else np.nan
    values = (mse, np.sqrt(mse), off.mean(), 100 * mape, 100 * smape, r2)
    return {name: float(value) for name, value in zip(METRICS, values, strict=True)}


def scored(
    truth: np.ndarray, predicted: np.ndarray, names: Sequence[str], decode: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """What ``summary.json`` says of predictions: in standardised and in original units, each target and their mean.

    Args:
        truth: standardised, (..., k), NaN where there is none.
        predicted: standardised, of the same shape.
        names: of the targets.
        decode: from standardised to original units.

    Returns:
        ``{"standardised": {"mean": {"mse": ...}, "<target>": {...}, ...}, "original": {...}}``, of which ``mean`` is
        the plain mean of the targets' figures, as far as they are numbers.

    Raises:
        ValueError: the shapes differ.
    """
    if truth.shape != predicted.shape or truth.shape[-1] != len(names):
        raise ValueError(f"truth {truth.shape}, predictions {predicted.shape}, {len(names)} targets")
    units = {"standardised": (truth, predicted), "original": (decode(truth), decode(predicted))}
    return {unit: _each(*pair, names) for unit, pair in units.items()}


def _each(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float]]:
    each = [scores(truth[..., place], predicted[..., place]) for place in range(len(names))]
    mean = {}
    for metric in METRICS:
        known = [one[metric] for one in each if not np.isnan(one[metric])]
        mean[metric] = sum(known) / len(known) if known else float("nan")
    # The figures of a target called "mean" must not hide those of all.
    shown = [f"{name} (column)" if name == "mean" else name for name in names]
    return {"mean": mean, **dict(zip(shown, each, strict=True))}
