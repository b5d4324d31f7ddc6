"""Labelled recordings: what a classifier of sequences, or of windows over a stream, learns from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gatewise.data.table.schema import Schema
from gatewise.errors import UserError


@dataclass(frozen=True)
class Recording:
    """One recording, its steps in order of time.

    Attributes:
        name: of its file, of its series, or its line of a file.
        values: (T, d) float64 in the file's units, NaN where it has nothing.
        labels: (T,) text, what is true at each step.
        origin: the file or folder it is of, for messages.
        before: what was true at the step before the first, of a part that was cut off; "" where it begins.
    """

    name: str
    values: np.ndarray
    labels: np.ndarray
    origin: str = ""
    before: str = ""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"{self.origin}, {self.name}" if self.origin else self.name

    @property
    def label(self) -> str:
        """The last step's: that of a recording with one label."""
        return str(self.labels[-1])

    def changes(self) -> list[int]:
        """The steps whose label is not that of the step before."""
        return (np.flatnonzero(self.labels[1:] != self.labels[:-1]) + 1).tolist()

    def part(self, start: int, stop: int) -> Recording:
        """Some of its steps, without a copy."""
        before = str(self.labels[start - 1]) if start else self.before
        return replace(self, values=self.values[start:stop], labels=self.labels[start:stop], before=before)

    def with_onset(self, normal: str, rows: int) -> Recording:
        """The same with the label ``normal`` in its first rows.

        Raises:
            UserError: fewer rows.
        """
        if rows > len(self):
            raise UserError(f"--onset {rows}: {self.place} has {len(self)} rows only; give a smaller number")
        kept = self.labels[rows:].tolist()
        return replace(self, labels=np.array([normal] * rows + kept))


@dataclass(frozen=True)
class Sequences:
    """Recordings of the same channels.

    Attributes:
        name: of the file or folder, for messages.
        recordings: at least one.
        columns: the channels' names; "1", "2", ... where they have none.
        schema: of the table they stand in, without its labels; None where they stand elsewhere.

    Raises:
        UserError: none, an empty one, or different channels.

    Example:
        >>> one = Recording("a", np.zeros((5, 2)), np.array(["on"] * 5))
        >>> Sequences("made up", (one, one.part(2, 4))).channels
        2
    """

    name: str
    recordings: tuple[Recording, ...]
    columns: tuple[str, ...] = ()
    schema: Schema | None = None

    def __post_init__(self) -> None:
        if not self.recordings:
            raise UserError(f"{self.name}: holds no recordings; give data with at least one")
        first = self.recordings[0]
        for one in self.recordings:
            if not len(one):
                raise UserError(f"{one.place}: has no steps; leave it out")
            if one.values.shape[1] != first.values.shape[1]:
                raise UserError(
                    f"{one.place}: has {one.values.shape[1]} channels, and {first.name} has "
                    f"{first.values.shape[1]}; all recordings want the same"
                )

        if not self.columns:
            object.__setattr__(self, "columns", tuple(map(str, range(1, self.channels + 1))))

    def __len__(self) -> int:
        return len(self.recordings)

    def __iter__(self) -> Iterator[Recording]:
        return iter(self.recordings)

    @property
    def channels(self) -> int:
        """d."""
        return self.recordings[0].values.shape[1]

    def labels(self) -> set[str]:
        """All that occur."""
        return {str(label) for one in self for label in np.unique(one.labels)}

    def check_values(self, infinite_only: bool) -> None:
        """Raise for a value that is infinite, or missing.

        Args:
            infinite_only: whether missing values may be there.
        """
        for one in self:
            bad = np.isinf(one.values) if infinite_only else ~np.isfinite(one.values)
            if bad.any():
                step, channel = (int(place) for place in np.argwhere(bad)[0])
                what = "missing" if np.isnan(one.values[step, channel]) else "infinite"
                remedy = "give --missing interpolate or mask" if what == "missing" else "mend the data"
                place = f"{one.place}: the value of channel {self.columns[channel]} at step {step + 1}"
                raise UserError(f"{place} is {what}; {remedy}")


def in_natural_order(labels: Sequence[str] | set[str]) -> list[str]:
    """Labels as a person counts.

    >>> in_natural_order({"10", "9", "b2", "b11", "a"})
    ['9', '10', 'a', 'b2', 'b11']
    """

    def key(label: str) -> list[tuple[int, int, str]]:
        parts = re.findall(r"[0-9]+|[^0-9]+", label)
        return [(0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts]

    return sorted(labels, key=lambda label: (key(label), label))
