"""Numbers that say how good a model is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def perplexity(loss: float) -> float:
    """exp(loss) of a loss in nats per token: as uncertain as a choice among so many; inf where that overflows.

    >>> perplexity(0.0), round(perplexity(math.log(28)), 6)
    (1.0, 28.0)
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with None for infinity and NaN, which JSON cannot write.

    >>> finite({"loss": 1e3, "perplexity": perplexity(1e3)})
    {'loss': 1000.0, 'perplexity': None}
    """
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
