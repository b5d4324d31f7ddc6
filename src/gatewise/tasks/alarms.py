"""When a diagnosis raises an alarm: a limit with which normal operation is seldom taken for a fault."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gatewise.data.recordings.examples import Examples
from gatewise.errors import UserError
from gatewise.tasks.intervals import conformal_radius


@dataclass(frozen=True)
class AlarmLimit:
    """An example is taken for the most probable class if s = 1 − p(normal) is above a limit, and for normal if not.

    The most probable class alone holds normal operation for as common as each fault was in training, and the more
    faults there are to choose from, the less often normal operation wins. The limit is the ⌈(n + 1)(1 − α)⌉-th smallest
    s of n normal examples of the validation part (split conformal detection: Vovk et al. 2005; Bates et al. 2023,
    arXiv:2104.08279). A new normal example is above it with a probability of α at most, if it is exchangeable with
    those n. Windows that overlap, and operation that is not what it was in the validation part, are not; so what comes
    of it is measured. No limit makes alarms of what is most probably normal.

    Attributes:
        share: α.
        limit: of s, 0 to 1.
        normal: the number of the class of normal operation.
        examples: n.

    Example:
        >>> chances = np.linspace(0.2, 1.0, 20)[:, None] * [1.0, -1.0] + [0.0, 1.0]
        >>> found = AlarmLimit.fitted(chances, np.zeros(20, int), normal=0, share=0.1)
        >>> round(found.limit, 3), found.classes(np.array([[0.4, 0.6], [0.1, 0.9]])).tolist()
        (0.758, [0, 1])
    """

    share: float
    limit: float
    normal: int
    examples: int

    @classmethod
    def fitted(cls, chances: np.ndarray, classes: np.ndarray, normal: int, share: float) -> AlarmLimit:
        """To examples that nothing was learned from.

        Args:
            chances: (n, C) probabilities.
            classes: (n,) numbers of their true classes.
            normal: the number of the class of normal operation.
            share: of normal examples that may be taken for a fault, α.
        """
        scores = _scores(chances[classes == normal], normal)
        limit, _ = conformal_radius(scores, 1 - share)
        return cls(share, float(limit), normal, len(scores))

    def classes(self, chances: np.ndarray) -> np.ndarray:
        """(n, C) probabilities to (n,) numbers of classes."""
        return np.where(_scores(chances, self.normal) > self.limit, chances.argmax(1), self.normal)

    def to_config(self) -> dict[str, Any]:
        """As plain numbers."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], classes: int) -> AlarmLimit:
        """The inverse of :meth:`to_config`, of so many classes.

        Raises:
            UserError: it is malformed.
        """
        try:
            share, limit = (float(config[name]) for name in ("share", "limit"))
            normal, examples = (int(config[name]) for name in ("normal", "examples"))
        except (KeyError, TypeError, ValueError):
            raise UserError("its alarm limit is malformed; use another copy") from None
        if not (0 < share < 1 and 0 <= limit <= 1 and 0 <= normal < classes and examples > 0):
            raise UserError("its alarm limit is malformed; use another copy")
        return cls(share, limit, normal, examples)


def examples_wanted(share: float) -> int:
    """How many normal examples vouch for a share of false alarms: the least n with ⌈(n + 1)(1 − α)⌉ ≤ n.

    >>> examples_wanted(0.05), examples_wanted(0.1)
    (19, 9)
    """
    return math.ceil(1 / share - 1e-9) - 1


def apart(examples: Examples, numbers: np.ndarray) -> int:
    """How many of these windows share no row with another, at most: overlapping ones say much the same.

    >>> from gatewise.data.recordings.examples import SequencePreparation
    >>> from gatewise.data.recordings.sequences import Recording
    >>> one = Recording("a", np.arange(10.0)[:, None], np.full(10, "ok"))
    >>> windows = Examples.over([one], SequencePreparation.fitted([one]), ["ok"], window=3)
    >>> len(windows), apart(windows, np.arange(len(windows)))
    (8, 3)
    """
    count, free = 0, -1
    for number in sorted(numbers.tolist(), key=lambda n: int(examples.first[n])):
        if examples.first[number] >= free:
            count, free = count + 1, int(examples.first[number] + examples.lengths[number])
    return count


def _scores(chances: np.ndarray, normal: int) -> np.ndarray:
    return 1.0 - chances[:, normal].astype(np.float64)
