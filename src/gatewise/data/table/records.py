"""The rows of a text of fields, counted before anything is made of them: rows of unequal lengths are found here."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from gatewise.errors import UserError

SEPARATORS = ",;\t"
"""What may stand between two fields."""

_QUOTE, _END, _RETURN = ord('"'), ord("\n"), ord("\r")

_STRAY = re.compile(rb'[^,;\t\r\n"]"[^,;\t\r\n"]')

_CHUNK = 1 << 23
"""Bytes looked at together."""


@dataclass(frozen=True)
class Records:
    """How a text is cut.

    Attributes:
        separator: between two fields.
        count: rows, the first and blank ones among them, but for blank ones at the end.
        blank_end: blank rows at the end.
    """

    separator: str
    count: int
    blank_end: int


def count_fields(content: np.ndarray, name: str) -> Records:
    """Which separator gives all rows as many fields as the first, and how many rows there are.

    Args:
        content: (bytes,) uint8, UTF-8 without byte-order mark. Ends of lines and separators between two quotes are
            part of a field.
        name: of the file, for messages.

    Raises:
        UserError: rows of unequal lengths, a quote without its fellow, two separators that serve equally well; the
            message names the row.
    """
    tally = _Tally()
    for start in range(0, len(content), _CHUNK):
        tally.add(content[start : start + _CHUNK])
    try:
        tally.finish(name)
        return Records(SEPARATORS[tally.which(name)], tally.filled, tally.rows - tally.filled)
    except UserError:
        refuse_stray_quote(content, name)
        raise


def refuse_stray_quote(content: np.ndarray, name: str) -> None:
    """Raise if a quote stands neither at the beginning nor at the end of its field: rows then end anywhere.

    Raises:
        UserError: with the first such row.
    """
    stray = _STRAY.search(content.data)
    if stray:
        row = int((content[: stray.start() + 1] == _END).sum()) + 1
        raise UserError(f'{name}: row {row}: a quote within a field; write such a field as "a ""quoted"" word"')


def first_record(content: np.ndarray) -> str:
    """The text of the first row."""
    size = 1 << 12
    while True:
        part = content[:size]
        ends = np.flatnonzero((part == _END) & ~np.logical_xor.accumulate(part == _QUOTE))
        if len(ends) or size >= len(content):
            return bytes(part[: ends[0] if len(ends) else None]).decode().rstrip("\r")
        size *= 4


class _Tally:
    """Separators in each row, the bytes coming in pieces."""

    def __init__(self) -> None:
        self.rows = self.filled = 0
        self._inside = False
        self._begun = np.zeros(len(SEPARATORS), np.int64)
        self._length = 0
        self._last = 0
        self._header: np.ndarray | None = None
        self._odd: list[tuple[int, int] | None] = [None] * len(SEPARATORS)

    def add(self, part: np.ndarray) -> None:
        quotes = part == _QUOTE
        free = None
        if self._inside or quotes.any():
            covered = np.logical_xor.accumulate(quotes) ^ self._inside
            self._inside, free = bool(covered[-1]), ~covered

        def places(byte: int) -> np.ndarray:
            found = part == byte
            return np.flatnonzero(found if free is None else found & free)

        ends = places(_END)
        lengths = np.diff(ends, prepend=-1) - 1
        if len(ends):
            lengths[0] += self._length
            before = part[ends - 1]  # of an end at 0 the last byte, which is mended below
            before[0] = self._last if ends[0] == 0 else before[0]
            lengths -= before == _RETURN
        counts = np.empty((len(SEPARATORS), len(ends)), np.int64)
        for number, separator in enumerate(SEPARATORS):
            found = places(ord(separator))
            up_to = np.searchsorted(found, ends)
            counts[number] = np.diff(up_to, prepend=0)
            if len(ends):
                counts[number, 0] += self._begun[number]
                self._begun[number] = 0
            self._begun[number] += len(found) - (up_to[-1] if len(ends) else 0)
        self._last = part[-1]
        self._length = len(part) - 1 - ends[-1] if len(ends) else self._length + len(part)
        self._compare(counts, lengths)

    def finish(self, name: str) -> None:
        if self._inside:
            raise UserError(
                f"{name}: row {self.rows + 1}: a quote is opened and never closed; close it, or take stray quotes out"
            )
        if self._length:
            self._compare(self._begun[:, None], np.array([self._length]))

    def _compare(self, counts: np.ndarray, lengths: np.ndarray) -> None:
        if self._header is None and counts.shape[1]:
            self._header = counts[:, 0].copy()
        for number in range(len(SEPARATORS)):
            if self._header is not None and self._odd[number] is None:
                odd = np.flatnonzero((counts[number] != self._header[number]) & (lengths > 0))
                if len(odd):
                    self._odd[number] = (self.rows + int(odd[0]) + 1, int(counts[number, odd[0]]))
        filled = np.flatnonzero(lengths > 0)
        if len(filled):
            self.filled = self.rows + int(filled[-1]) + 1
        self.rows += counts.shape[1]

    def which(self, name: str) -> int:
        assert self._header is not None
        header = self._header.tolist()
        present = [number for number, count in enumerate(header) if count]
        fitting = [number for number in present if self._odd[number] is None]
        most = max((header[number] for number in fitting), default=0)
        best = [number for number in fitting if header[number] == most]
        if len(best) == 1:
            return best[0]
        if best:
            raise UserError(
                f"{name}: row 1: fields may be separated by {SEPARATORS[best[0]]!r} or {SEPARATORS[best[1]]!r}, every "
                "row has as many of both; put quotes around names that hold one"
            )
        odd = {number: odd for number, odd in enumerate(self._odd) if odd and (header[number] or not present)}
        if not odd:
            return 0
        worst = max(odd, key=lambda number: header[number])
        row, count = odd[worst]
        hint = (
            "; a decimal comma wants semicolons between the fields"
            if (worst, count > header[worst]) == (0, True)
            else ""
        )
        raise UserError(
            f"{name}: row {row}: {_fields(count)} separated by {SEPARATORS[worst]!r}, but the first row has "
            f"{header[worst] + 1}; mend the row{hint}"
        )


def _fields(separators: int) -> str:
    return f"{separators + 1} field{'s' if separators else ''}"
