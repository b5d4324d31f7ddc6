"""Series of numbers from outside: a ``.npy`` file, its windows, and the scale that the training part gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.errors import UserError


def read_series(path: str | Path) -> np.ndarray:
    """A ``.npy`` file of numbers: one series (T, d) or (T,), which becomes (T, 1), or many of equal length, (N, T, d).

    Raises:
        UserError: the file is missing, is no ``.npy`` file, holds something else than real numbers (objects are not
            opened: they could run code), has a value that is not finite, or another number of dimensions.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: does not exist; check the name, or give the full path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; check the path") from None
    except (ValueError, EOFError, MemoryError) as error:
        raise UserError(f"{path}: not a .npy file of numbers ({error}); write one with numpy.save") from None
    if values.dtype.kind not in "fiub":
        raise UserError(f"{path}: holds {values.dtype}, not real numbers; convert it first")
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim not in (2, 3) or not values.size:
        raise UserError(f"{path}: has the shape {values.shape}; want (T,), (T, d) or (N, T, d) with something in it")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise UserError(f"{path}: the value at {place} is {values[place]}; fill the gaps first")
    return values


@dataclass(frozen=True)
class Standardiser:
    """(x − mean) / deviation, feature by feature, and back.

    Attributes:
        mean: (d,).
        deviation: (d,), 1 for a feature that does not vary.

    Example:
        >>> scale = Standardiser.fitted(np.array([[1.0, 5.0], [3.0, 5.0]]))
        >>> scale.encode(np.array([[3.0, 6.0]])).tolist(), scale.decode(torch.tensor([[1.0, 1.0]])).tolist()
        ([[1.0, 1.0]], [[3.0, 6.0]])
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fitted(cls, values: np.ndarray, unvarying: float = 1.0) -> Standardiser:
        """To (..., d): the training part, and nothing else.

        A feature does not vary where its deviation is but the rounding of its mean, 1e-12 of it; it is given
        ``unvarying``.

        Raises:
            UserError: values too large to be squared.
        """
        flat = values.reshape(-1, values.shape[-1])
        with np.errstate(over="ignore", invalid="ignore"):
            mean, deviation = flat.mean(0), flat.std(0)
        if not np.isfinite(np.stack([mean, deviation])).all():
            raise UserError(f"a series has values of {np.abs(values).max():.3g}, whose squares overflow; scale it down")
        varies = deviation > 1e-12 * np.maximum(np.abs(mean), np.finfo(np.float64).tiny)
        return cls(tuple(mean.tolist()), tuple(np.where(varies, deviation, unvarying).tolist()))

    @property
    def size(self) -> int:
        """Features, d."""
        return len(self.mean)

    def encode(self, series: np.ndarray) -> Tensor:
        """(T, d) in the file's units to float32 in standard deviations."""
        if series.ndim != 2 or series.shape[1] != self.size:
            raise UserError(f"a series of {self.size} features is (T, {self.size}), not {series.shape}")
        return torch.from_numpy((series - np.array(self.mean)) / np.array(self.deviation)).float()

    def decode(self, values: Tensor) -> np.ndarray:
        """And back."""
        return values.double().numpy() * np.array(self.deviation) + np.array(self.mean)

    def to_config(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Standardiser:
        """The inverse of :meth:`to_config`.

        Raises:
            UserError: the description is malformed.
        """
        try:
            mean, deviation = (tuple(map(float, config[name])) for name in ("mean", "deviation"))
        except (KeyError, TypeError, ValueError):
            mean, deviation = (), ()
        if not mean or len(mean) != len(deviation) or not np.isfinite(mean + deviation).all() or min(deviation) <= 0:
            raise UserError("malformed scale: it wants as many means as deviations above 0; train anew")
        return cls(mean, deviation)


def part_series(values: np.ndarray, heldout: float, window: int) -> tuple[np.ndarray, np.ndarray]:
    """What is learned and what is held out, the end: series (N, T, d), or windows of one series (T, d).

    Windows to learn begin every quarter of a window; those held out stand side by side, and none has a step in common
    with a window to learn.

    Raises:
        UserError: too few steps for two windows, or a window of one step.

    >>> train, rest = part_series(np.arange(100.0).reshape(100, 1), heldout=0.2, window=8)
    >>> train.shape, rest.shape, float(train.max()), float(rest.min())
    ((37, 8, 1), (2, 8, 1), 79.0, 80.0)
    """
    if values.ndim == 3:
        if len(values) < 2 or values.shape[1] < 2:
            raise UserError(f"{len(values)} series of {values.shape[1]} steps: want at least 2 of at least 2 steps")
        cut = len(values) - int(len(values) * heldout)
        return values[:cut], values[cut:]
    if window < 2:
        raise UserError(f"--window {window}: a latent of a sequence wants at least 2 steps")
    cut = len(values) - int(len(values) * heldout)
    if cut < 2 * window:
        raise UserError(f"--window {window}: the training part has {cut} steps only; want at least {2 * window}")
    return _windows(values[:cut], window, max(1, window // 4)), _windows(values[cut:], window, window)


def _windows(values: np.ndarray, window: int, stride: int) -> np.ndarray:
    if len(values) < window:
        return np.empty((0, window, values.shape[1]))
    return np.lib.stride_tricks.sliding_window_view(values, window, 0)[::stride].swapaxes(1, 2)
