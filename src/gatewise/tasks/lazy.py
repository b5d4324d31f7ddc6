"""Batches that are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Made = TypeVar("Made")


class Lazy(Sequence[Made]):
    """Batches that are made when they are asked for."""

    def __init__(self, count: int, make: Callable[[int], Made]) -> None:
        self._places, self._make = range(count), make

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        found = self._places[place]
        return Lazy(len(found), lambda i: self._make(found[i])) if isinstance(found, range) else self._make(found)

    def __iter__(self) -> Iterator[Made]:
        return map(self._make, self._places)


class InGroups(Sequence[Made]):
    """As :class:`Lazy`, but made several at a time while they are gone through: what is done once for many costs less.

    Args:
        places: of the batches.
        make: the batches at some places in turn.
        together: how many are made at a time.
    """

    def __init__(self, places: range, make: Callable[[range], Sequence[Made]], together: int) -> None:
        self._places, self._make, self._together = places, make, together

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: Any) -> Any:
        found = self._places[place]
        if isinstance(found, range):
            return InGroups(found, self._make, self._together)
        return self._make(range(found, found + 1))[0]

    def __iter__(self) -> Iterator[Made]:
        for begin in range(0, len(self._places), self._together):
            yield from self._make(self._places[begin : begin + self._together])
