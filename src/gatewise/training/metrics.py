"""Numbers that say how good a model is."""

from __future__ import annotations

import math


def perplexity(loss: float) -> float:
    """exp(loss) of a loss in nats per token: as uncertain as a choice among so many; inf where that overflows.

    >>> perplexity(0.0), round(perplexity(math.log(28)), 6)
    (1.0, 28.0)
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
