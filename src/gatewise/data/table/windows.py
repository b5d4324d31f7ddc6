"""Windows over series: what a network sees and what is to come, gathered a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gatewise.data.table.encoded import Encoded
from gatewise.errors import UserError, nearest

PARTS = ("train", "validation", "test", "all")


@dataclass(frozen=True)
class Batch:
    """Windows side by side, float32.

    Attributes:
        past: (L, B, d_in) the inputs.
        history: (L, B, k) the targets' own past; without features where the targets are of the inputs' last step.
        known: (H, B, m) what is known of the steps to be predicted.
        targets: (H, B, k) what is to be predicted, NaN where it is unknown.
    """

    past: Tensor
    history: Tensor
    known: Tensor
    targets: Tensor


class Windows:
    """All windows whose targets lie in one part of the split; inputs may reach back into the part before.

    Nothing is copied but the batch that is asked for. Windows with a gap are left out where the policy fills none.

    Args:
        encoded: the series.
        lookback: steps of the inputs, L.
        horizon: steps to be predicted, H.
        part: "train", "validation", "test", or "all" rows.
        same_step: the target is of the inputs' last step, H = 1.

    Raises:
        UserError: more rows are wanted for the parts than a series has.

    Example:
        >>> from gatewise.data.table.preparation import Preparation, Roles
        >>> from gatewise.data.table.series_table import Series, SeriesTable
        >>> from gatewise.data.table.split import Split
        >>> series = Series("", np.arange(10.0)[:, None], None, np.arange(2, 12))
        >>> table = SeriesTable("made up", ("a",), ("a",), (series,), None)
        >>> preparation = Preparation.fitted(table, Roles(("a",), ("a",)), Split.parse("6,2,2"))
        >>> windows = Windows(preparation.encode(table), lookback=3, horizon=2, part="test")
        >>> len(windows), windows.origins.tolist()
        (1, [[0, 7]])
        >>> preparation.decode_targets(windows.batch([0]).targets[:, 0]).round(4).tolist()
        [[8.0], [9.0]]
    """

    def __init__(
        self, encoded: Encoded, lookback: int, horizon: int = 1, part: str = "train", same_step: bool = False
    ) -> None:
        if part not in PARTS:
            raise UserError(f"part {part!r}: {nearest(part, PARTS)}")
        if min(lookback, horizon) < 1 or (same_step and horizon != 1):
            raise UserError(
                f"windows of {lookback} steps, {horizon} to come: want numbers above 0, and 1 for same_step"
            )
        self.encoded, self.lookback, self.horizon, self.part = encoded, lookback, horizon, part
        self._delay = 0 if same_step else 1
        self._same_step = same_step
        self._rows = self._bounds()
        broken = self._broken()
        found = []
        for start, rows in zip(encoded.starts, self._rows, strict=False):
            first = max(rows.start - self._delay, lookback - 1)
            stop = max(first, rows.stop - horizon - self._delay + 1)  # a part shorter than the horizon has none
            origins = range(start + first, start + stop)
            found.append(origins if broken is None else np.array(origins)[~broken[origins.start : origins.stop]])
        self._found: list[range | np.ndarray] = found
        self._ends = np.cumsum([len(one) for one in found])
        self._begins = self._ends - [len(one) for one in found]
        self._starts = np.asarray(encoded.starts)

    def _bounds(self) -> list[range]:
        """The rows of each series in which targets may lie."""
        lengths = np.diff(self.encoded.starts).tolist()
        if self.part == "all":
            return list(map(range, lengths))
        cuts = self.encoded.preparation.split.of(lengths)
        if self.part == "train":
            return [range(one.train) for one in cuts]
        if self.part == "validation":
            return [range(one.train, one.validation) for one in cuts]
        return [range(one.validation, one.test) for one in cuts]

    def _broken(self) -> np.ndarray | None:
        """(N,) whether the window that has its last input in a row has a gap; None where none has."""
        made, filled = self.encoded.preparation, self.encoded.filled
        if filled.policy not in ("error", "drop"):
            return None
        past = {*made.input_places, *made.known_inputs, *([] if self._same_step else made.target_places)}
        behind, before = filled.touched(sorted(past)), filled.touched(made.known_places)
        if behind is None:
            return None
        rows = np.arange(len(behind))
        broken = _any_in(behind, rows - self.lookback + 1, rows + 1)
        if before is not None:
            broken |= _any_in(before, rows + self._delay, rows + self._delay + self.horizon)
        return broken

    def __len__(self) -> int:
        return int(self._ends[-1])

    def require(self) -> Windows:
        """These windows, of which there must be one.

        Raises:
            UserError: there is none; the numbers say why.
        """
        if len(self):
            return self
        steps = self.lookback + (0 if self._same_step else self.horizon)
        most = max(len(rows) for rows in self._rows)
        if most >= steps:
            raise UserError(
                f"every window of {steps} rows in the {self.part} part has a gap; take --missing interpolate or mask"
            )
        wanted = f"{self.lookback} to look back on" + ("" if self._same_step else f" and {self.horizon} to predict")
        longest = "" if len(self._rows) == 1 else " of the longest series"
        raise UserError(
            f"the {self.part} part{longest} has {most} rows, and a window wants {steps}: {wanted}; give more rows, or "
            "shorter windows"
        )

    @property
    def targets_are_complete(self) -> bool:
        """Whether every target of the part is known."""
        missing = self.encoded.filled.touched(self.encoded.preparation.target_places)
        if missing is None:
            return True
        own = zip(self.encoded.starts, self._rows, strict=False)
        return not any(missing[start + rows.start : start + rows.stop].any() for start, rows in own)

    @property
    def counts(self) -> list[int]:
        """Windows of each series."""
        return list(map(len, self._found))

    @property
    def origins(self) -> np.ndarray:
        """(windows, 2): the series, and the row in it of the last input."""
        return self.origins_of(np.arange(len(self)))

    def origins_of(self, numbers: Sequence[int] | np.ndarray | Tensor) -> np.ndarray:
        """(B, 2) the same of these windows."""
        rows = self.rows(numbers)
        places = np.searchsorted(self._starts[1:], rows, side="right")
        return np.stack([places, rows - self._starts[places]], 1)

    def rows(self, numbers: Sequence[int] | np.ndarray | Tensor) -> np.ndarray:
        """(B,) the rows, in all series one after the other, of the last inputs of these windows."""
        numbers = np.asarray(numbers, dtype=np.int64)
        if len(numbers) and not (numbers.min() >= 0 and numbers.max() < len(self)):
            raise IndexError(f"windows are numbered 0 ... {len(self) - 1}")
        if len(self._found) == 1:
            found = self._found[0]
            return numbers + found.start if isinstance(found, range) else found[numbers]
        places = np.searchsorted(self._ends, numbers, side="right")
        rows = np.empty_like(numbers)
        for place in np.unique(places):
            here = places == place
            found, within = self._found[place], numbers[here] - self._begins[place]
            rows[here] = found.start + within if isinstance(found, range) else found[within]
        return rows

    def batch(self, numbers: Sequence[int] | np.ndarray | Tensor) -> Batch:
        """These windows, in this order."""
        last = self.rows(numbers)
        behind = last + np.arange(1 - self.lookback, 1)[:, None]
        ahead = last + np.arange(self._delay, self._delay + self.horizon)[:, None]
        history = np.empty((*behind.shape, 0), np.float32) if self._same_step else self.encoded.history(behind)
        parts = (self.encoded.past(behind), history, self.encoded.known(ahead), self.encoded.targets(ahead))
        return Batch(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))

    def batches(self, numbers: Sequence[int] | np.ndarray | Tensor, size: int) -> list[Batch]:
        """These windows, so many a batch and what is left in the last: as :meth:`batch` of each, and sooner."""
        whole = self.batch(numbers)
        parts = (whole.past, whole.history, whole.known, whole.targets)
        return [
            Batch(*(one.contiguous() for one in each)) for each in zip(*(p.split(size, 1) for p in parts), strict=True)
        ]

    @cached_property
    def numbers_a_window(self) -> int:
        """How many numbers a window consists of; there must be one."""
        one = self.batch([0])
        return sum(part.shape[0] * part.shape[2] for part in (one.past, one.history, one.known, one.targets))


def _any_in(marked: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Whether a row in ``[start, stop)`` is marked, for each pair; rows outside are not."""
    counts = np.concatenate([[0], np.cumsum(marked, dtype=np.int64)])
    return counts[np.clip(stops, 0, len(marked))] > counts[np.clip(starts, 0, len(marked))]
