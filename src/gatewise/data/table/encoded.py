"""A table as a network takes it: standardised, without gaps, ready to be cut into windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gatewise.data.table.filling import Filled

if TYPE_CHECKING:
    from gatewise.data.table.preparation import Preparation


@dataclass(frozen=True)
class Encoded:
    """A table's series, one after the other, as a network takes them.

    Attributes:
        preparation: what made it.
        filled: the standardised values.
        starts: (S + 1,) the row at which each series begins, and the end of the last.
        keys: (S,) the series' names.
        times: (N,) the time stamps; None without.
        cycles: (N, features) of the calendar; None without.
    """

    preparation: Preparation
    filled: Filled
    starts: tuple[int, ...]
    keys: tuple[str, ...]
    times: np.ndarray | None
    cycles: np.ndarray | None

    def past(self, rows: np.ndarray) -> np.ndarray:
        """The network's inputs over windows, as they are seen at the last row: (L, B) rows to float32 (L, B, d_in)."""
        made = self.preparation
        inputs = self.filled.as_seen(rows, made.input_places)
        parts = [inputs if made.projection is None else made.projection.encode(inputs)]
        if made.marked_places:
            parts.append(self.filled.marks(rows, made.marked_places))
        return _joined([*parts, *self._known(rows, made.known_inputs)])

    def known(self, rows: np.ndarray) -> np.ndarray:
        """What is known of the future: (H, B) rows to float32 (H, B, m)."""
        return _joined(self._known(rows, self.preparation.known_places))

    def _known(self, rows: np.ndarray, places: list[int]) -> list[np.ndarray]:
        values = self.filled.as_seen(rows, places)
        return [values] if self.cycles is None else [values, np.take(self.cycles, rows, axis=0)]

    def history(self, rows: np.ndarray) -> np.ndarray:
        """The targets over windows, filled as they are seen at the last row: (L, B) rows to float32 (L, B, k)."""
        return self.filled.as_seen(rows, self.preparation.target_places)

    def targets(self, rows: np.ndarray) -> np.ndarray:
        """The targets at any rows, NaN where they are unknown: (..., k) float32."""
        return self.filled.as_observed(rows, self.preparation.target_places)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Side by side; copied only where there are several."""
    some = [part for part in parts if part.shape[-1]] or parts[:1]
    return some[0] if len(some) == 1 else np.concatenate(some, -1)
