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
