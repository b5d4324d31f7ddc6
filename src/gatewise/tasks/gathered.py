"""Results of many windows, gathered a part at a time into arrays that are made once."""

from __future__ import annotations

import numpy as np
from torch import Tensor


class Gathered:
    """Parts of named arrays side by side.

    To keep the parts and join them at the end would take twice the memory, and more: small pieces that are kept among
    large ones that are freed leave holes that nothing fits into.

    Args:
        count: entries along the axis at which the parts stand side by side.
        axis: which it is.

    Example:
        >>> gathered = Gathered(3)
        >>> gathered.put(truth=np.zeros(2))
        >>> gathered.put(truth=np.ones(1))
        >>> gathered["truth"].tolist()
        [0.0, 0.0, 1.0]
    """

    def __init__(self, count: int, axis: int = 0) -> None:
        self._count, self._axis, self._done = count, axis, 0
        self._arrays: dict[str, np.ndarray] = {}

    def put(self, **parts: Tensor | np.ndarray) -> None:
        """Write the next parts, all of one length."""
        begin = self._done
        for name, part in parts.items():
            values = part.numpy() if isinstance(part, Tensor) else part
            if name not in self._arrays:
                shape = list(values.shape)
                shape[self._axis] = self._count
                self._arrays[name] = np.empty(shape, values.dtype)
            self._done = begin + values.shape[self._axis]
            self._arrays[name][(slice(None),) * self._axis + (slice(begin, self._done),)] = values

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]
