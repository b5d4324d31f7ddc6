"""Time stamps: which column they are, how far apart they stand, and what comes after the last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frequency:
    """From one time stamp to the next.

    Attributes:
        count: of units.
        unit: "us", "ms", "s", "min", "h", "d", "mo" or "y"; months and years have no fixed length.

    >>> str(Frequency(1, "h")), str(Frequency(15, "min")), str(Frequency(1, "mo"))
    ('1h', '15min', '1mo')
    """

    count: int
    unit: str

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    def after(self, time: np.datetime64, steps: int) -> np.ndarray:
        """The ``steps`` time stamps that follow ``time``: (steps,) ``datetime64[us]``."""
        raise NotImplementedError
