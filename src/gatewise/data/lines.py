"""Sequences of their own, of different lengths: the lines of a text, and batches of sequences of like length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from gatewise.errors import UserError

Padded = tuple[Tensor, Tensor]
"""Sequences (T, B, ...) with their lengths (B,); zeros behind the ends."""

_POOL = 50  # batches among which sequences are sorted: enough for like lengths, too few for the same neighbours


def lines_of(text: str) -> list[str]:
    r"""The lines of a text that are not blank, without the blanks at their ends.

    >>> lines_of("To be,\n\n  or not\t\n")
    ['To be,', 'or not']
    """
    return [line for line in map(str.strip, text.split("\n")) if line]


def padded(sequences: Sequence[Tensor]) -> Padded:
    """Sequences (n_i, ...) side by side, (T, B, ...), zeros behind their ends; and their lengths.

    >>> values, lengths = padded([torch.tensor([1, 2, 3]), torch.tensor([4])])
    >>> values.T.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, 0, 0]], [3, 1])
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(list(sequences)), lengths


@dataclass(frozen=True)
class Bunches(Sequence[Padded]):
    """An epoch's batches of sequences: of like length, so that little of a batch is padding; cut when asked for.

    Attributes:
        sequences: all of them, (n_i, ...) each.
        groups: which belong to each batch.
    """

    sequences: Sequence[Tensor]
    groups: Sequence[Sequence[int]]

    @classmethod
    def drawn(cls, sequences: Sequence[Tensor], batch_size: int, generator: torch.Generator) -> Bunches:
        """As :func:`drawn_groups` has them."""
        return cls(sequences, drawn_groups(list(map(len, sequences)), batch_size, generator))

    @classmethod
    def in_order(cls, sequences: Sequence[Tensor], batch_size: int) -> Bunches:
        """All sequences from the shortest to the longest, the same on every call; for measuring."""
        return cls(sequences, groups_in_order(list(map(len, sequences)), batch_size))

    def __len__(self) -> int:
        return len(self.groups)

    @overload
    def __getitem__(self, index: int) -> Padded: ...
    @overload
    def __getitem__(self, index: slice) -> Bunches: ...
    def __getitem__(self, index: int | slice) -> Padded | Bunches:
        if isinstance(index, slice):
            return Bunches(self.sequences, self.groups[index])
        return padded([self.sequences[i] for i in self.groups[index]])


def drawn_groups(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """The sequences of each batch, by number: shuffled, sorted by length within pools of 50 batches, cut, and the
    batches shuffled.

    Every sequence stands in exactly one batch, and every epoch has as many batches: ⌈N / batch_size⌉.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    groups = []
    for start in range(0, len(order), _POOL * batch_size):
        pool = sorted(order[start : start + _POOL * batch_size], key=lambda i: lengths[i])
        groups += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [groups[i] for i in torch.randperm(len(groups), generator=generator).tolist()]


def groups_in_order(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """The sequences of each batch, by number, from the shortest to the longest."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def part_lines(
    text: str, heldout: float, say: Callable[[str], None] = lambda line: None
) -> tuple[list[str], list[str]]:
    """The lines to learn, and the last ``heldout`` of them that are held out.

    A held-out line that stands word for word among those to learn is left out: it would have been seen.

    Raises:
        UserError: fewer than two lines.
    """
    lines = lines_of(text)
    if len(lines) < 2:
        raise UserError("the text has fewer than two lines: an autoencoder learns from many sequences, one a line")
    cut = len(lines) - int(len(lines) * heldout)
    train, rest = lines[:cut], lines[cut:]
    seen = set(train)
    fresh = [line for line in rest if line not in seen]
    if len(fresh) < len(rest):
        say(f"{len(rest) - len(fresh):,} of {len(rest):,} held-out lines stand among those to learn, and are left out")
    return train, fresh
