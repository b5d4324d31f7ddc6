"""What a network is given of each channel: its values, and how they move."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gatewise.errors import UserError, nearest

REACH = 30
"""Steps over which a mean and a deviation are taken."""

_FLOOR = 1e-6
"""Least variance under a logarithm: a channel that stands still stands 7 below one that varies by its deviation."""


def _values(x: np.ndarray) -> np.ndarray:
    return x


def _changes(x: np.ndarray) -> np.ndarray:
    return np.diff(x, axis=0, prepend=x[:1])


def _recent(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the last steps, of as many as there are at the start."""
    x = np.concatenate([np.zeros_like(x[:1]), x]).astype(np.float64)
    sums = np.cumsum(x, 0), np.cumsum(x**2, 0)
    steps = np.arange(1, len(x))
    begin = np.maximum(steps - REACH, 0)
    count = (steps - begin).reshape(-1, *[1] * (x.ndim - 1))
    mean, square = ((total[steps] - total[begin]) / count for total in sums)
    return mean, square - mean**2


def _level(x: np.ndarray) -> np.ndarray:
    return _recent(x)[0]


def _spread(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.log(np.maximum(_recent(x)[1], 0) + _FLOOR)


FEATURES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "values": _values, "changes": _changes, "level": _level, "spread": _spread,
    "unrest": lambda x: _spread(_changes(x)),
}  # fmt: skip
"""By name: ``values``; ``changes`` x_t − x_{t−1}, 0 at the first step; ``level``, the mean of the last 30 values;
``spread``, the logarithm of their deviation; ``unrest``, that of the last 30 changes. None looks ahead, or before the
first step of a window."""

PLAIN, MOVING = ("values",), ("values", "level", "spread", "unrest")
"""What whole recordings are given as where nobody says, and what windows are."""


def parse_features(text: str) -> tuple[str, ...]:
    """From "values,changes".

    Raises:
        UserError: a name that does not exist, one twice, or none.

    >>> parse_features("values, spread")
    ('values', 'spread')
    """
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in FEATURES:
            raise UserError(f"--features {text}: {nearest(name, FEATURES)}")
    if len(set(names)) < len(names):
        raise UserError(f"--features {text}: names one twice; leave one of them out")
    return names


def derive(x: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """(T, ..., d) in deviations to float32 (T, ..., d k): the features of all channels, one kind after another.

    >>> derive(np.array([[1.0], [4.0]]), ["values", "changes"]).tolist()
    [[1.0, 0.0], [4.0, 3.0]]
    """
    return np.concatenate([FEATURES[name](x) for name in names], -1).astype(np.float32)
