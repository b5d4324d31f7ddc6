"""What is learned, what is chosen on and what is measured on: by time, never shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gatewise.errors import UserError

WAYS = ("time", "series")
"""What is cut: every series in time, or the list of series."""


@dataclass(frozen=True)
class Cuts:
    """Where one series is cut.

    Attributes:
        train: rows [0, train) are learned.
        validation: rows [train, validation) choose the weights.
        test: rows [validation, test) are measured on; later rows are not used.
    """

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Split:
    """Shares of every series, or numbers of its rows.

    Attributes:
        parts: of training, validation and test.
        by: one of :data:`WAYS`: every series is cut in time, or each as a whole is of one part, in the table's order.
    """

    parts: tuple[float, float, float]
    by: str = "time"

    @classmethod
    def parse(cls, text: str, by: str = "time") -> Split:
        """From "0.7,0.1,0.2" or "8640,2880,2880".

        Raises:
            UserError: not three parts, parts below 0, none to learn, shares that add up to more than 1.

        >>> Split.parse("8640,2880,2880").cuts(17420)
        Cuts(train=8640, validation=11520, test=14400)
        >>> Split.parse("0.7,0.1,0.2").cuts(144)
        Cuts(train=101, validation=115, test=144)
        """
        wrong = UserError(f"--split {text}: want training, validation and test as in 0.7,0.1,0.2 or 8640,2880,2880")
        try:
            train, validation, test = map(float, text.split(","))
        except ValueError:
            raise wrong from None
        parts = (train, validation, test)
        if not (train > 0 and validation >= 0 and test >= 0) or sum(parts) == float("inf"):
            raise wrong
        found = cls(parts, by)
        if not found.shares and any(part != int(part) for part in parts):
            if max(parts) <= 1:
                raise UserError(f"--split {text}: the shares add up to {sum(parts):g}; want at most 1")
            raise wrong
        return found

    @property
    def shares(self) -> bool:
        """Whether the parts are shares; numbers of one series each, 1,1,1, add up to more than 1.

        >>> Split.parse("0.7,0.1,0.2").shares, Split.parse("1,0,1").shares
        (True, False)
        """
        return sum(self.parts) <= 1 + 1e-9

    def of(self, lengths: Sequence[int]) -> list[Cuts]:
        """Of each series, which have so many rows.

        Raises:
            UserError: more rows, or series, are wanted than there are.

        >>> [cuts.train for cuts in Split.parse("2,1,0", by="series").of([10, 20, 30])]
        [10, 20, 0]
        """
        if self.by == "time":
            return [self.cuts(rows) for rows in lengths]
        last = self.cuts(len(lengths), "the table", "series")
        return [
            Cuts(*(rows if number < end else 0 for end in (last.train, last.validation, last.test)))
            for number, rows in enumerate(lengths)
        ]

    def cuts(self, rows: int, whole: str = "a series", what: str = "rows") -> Cuts:
        """Of a series of so many rows; or of whatever ``whole`` consists of, said in the message.

        Raises:
            UserError: more rows are wanted than there are.
        """
        ends = (self.parts[0], self.parts[0] + self.parts[1], sum(self.parts))
        if self.shares:
            ends = tuple(round(rows * share) for share in ends)
        elif ends[2] > rows:
            raise UserError(f"--split wants {ends[2]:.0f} {what}, and {whole} has {rows}; give fewer, or shares")
        return Cuts(*map(int, ends))
