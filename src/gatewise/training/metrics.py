"""Figures on their way into a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def finite(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with None for infinity and NaN, which JSON cannot write, in lists and tables within them too.

    >>> finite({"loss": 1e3, "perplexity": math.inf, "by_step": [1.0, math.nan]})
    {'loss': 1000.0, 'perplexity': None, 'by_step': [1.0, None]}
    """
    return {name: _finite(value) for name, value in figures.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return finite(value)
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
