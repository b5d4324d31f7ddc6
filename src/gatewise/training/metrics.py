"""Figures on their way into a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with None for infinity and NaN, which JSON cannot write.

    >>> finite({"loss": 1e3, "perplexity": math.inf})
    {'loss': 1000.0, 'perplexity': None}
    """
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}
