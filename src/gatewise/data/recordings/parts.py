"""Which recordings are learned from, which choose the weights and which are measured: no step is in two parts."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

from gatewise.data.recordings.sequences import Recording, Sequences, in_natural_order
from gatewise.errors import UserError


@dataclass(frozen=True)
class Parts:
    """Recordings, or stretches of them, by what they are for.

    Attributes:
        train: what is learned.
        validation: what the weights are chosen on; may be empty.
        test: what is measured in the end.
    """

    train: tuple[Recording, ...]
    validation: tuple[Recording, ...]
    test: tuple[Recording, ...]

    def classes(self) -> list[str]:
        """The labels to learn.

        Raises:
            UserError: one class only, or a label that is measured or chosen on and not learned.
        """
        known = {str(label) for one in self.train for label in one.labels}
        for part, recordings in (("validation", self.validation), ("test", self.test)):
            for one in recordings:
                strange = next((label for label in one.labels if label not in known), None)
                if strange is not None:
                    raise UserError(
                        f"the label '{strange}' is in the {part} part ({one.place}) and not in the training part; "
                        "leave it out, or give recordings of it to learn from (--test says which are measured)"
                    )
        if len(known) < 2:
            raise UserError(f"one class only to learn, '{min(known)}'; a classifier wants at least two")
        return in_natural_order(known)


def matching(sequences: Sequences, pattern: str) -> tuple[tuple[Recording, ...], tuple[Recording, ...]]:
    """The recordings whose name does not match a pattern of a shell (``*_te.dat``), and those whose does.

    Raises:
        UserError: none or all of them match.
    """
    inside = [fnmatch.fnmatchcase(one.name, pattern) for one in sequences]
    if not any(inside) or all(inside):
        count = "every recording" if all(inside) else "no recording"
        names = ", ".join(one.name for one in sequences.recordings[:3])
        raise UserError(
            f"--test {pattern}: {count} of {sequences.name} is called so ({names}, ...), and nothing else is there by "
            "this name; mend the pattern, or give a file, a folder or a share below 1"
        )
    pairs = list(zip(sequences, inside, strict=True))
    return tuple(one for one, found in pairs if not found), tuple(one for one, found in pairs if found)


def cut_whole(recordings: Sequence[Recording], share: float) -> tuple[tuple[Recording, ...], tuple[Recording, ...]]:
    """The recordings without, and with, the last share of each class; a class of two or more gives at least one.

    >>> import numpy as np
    >>> some = [Recording(str(n), np.zeros((1, 1)), np.array([label])) for n, label in enumerate("aaaabbb")]
    >>> [[one.name for one in part] for part in cut_whole(some, 0.25)]
    [['0', '1', '2', '4', '5'], ['3', '6']]
    """
    if not share:
        return tuple(recordings), ()
    places: dict[str, list[int]] = {}
    for place, one in enumerate(recordings):
        places.setdefault(one.label, []).append(place)
    later = {
        place for of_class in places.values() if len(of_class) > 1
        for place in of_class[-min(len(of_class) - 1, max(1, round(share * len(of_class)))) :]
    }  # fmt: skip
    first = tuple(one for place, one in enumerate(recordings) if place not in later)
    return first, tuple(recordings[place] for place in sorted(later))


def cut_in_time(
    recordings: Sequence[Recording], share: float, window: int, part: str
) -> tuple[tuple[Recording, ...], tuple[Recording, ...]]:
    """Every recording without, and its last share alone.

    Raises:
        UserError: a stretch is shorter than a window.
    """
    if not share:
        return tuple(recordings), ()
    first, later = [], []
    for one in recordings:
        cut = len(one) - round(share * len(one))
        for stretch, what in ((one.part(0, cut), "training"), (one.part(cut, len(one)), part)):
            if len(stretch) < window:
                raise UserError(
                    f"{one.place}: {len(stretch)} of its {len(one)} rows are in the {what} part, and a window has "
                    f"{window}; give a smaller --window, or other shares"
                )
        first.append(one.part(0, cut))
        later.append(one.part(cut, len(one)))
    return tuple(first), tuple(later)
