"""What to think of a result, in words: is it better than what costs nothing, or less?"""

from __future__ import annotations

import math


def verdict(baseline: str, better: bool, by: str) -> str:
    """One line about a network beside one of its baselines.

    Args:
        baseline: what it is called.
        better: whether the network is.
        by: how much, and where.

    >>> verdict("naive", True, "3.0% of its RMSE")
    'better than naive by 3.0% of its RMSE'
    >>> verdict("naive", False, "0.1% more RMSE")
    'WARNING: NOT better than naive: 0.1% more RMSE; take naive, or train longer, with other settings or more data'
    """
    if better:
        return f"better than {baseline} by {by}"
    return (
        f"WARNING: NOT better than {baseline}: {by}; take {baseline}, or train longer, with other settings or more data"
    )


def verdict_by_error(baseline: str, own: float, other: float, where: str = "") -> str:
    """The same from two mean squared errors.

    >>> verdict_by_error("naive", 0.81, 1.0, ", at every step")
    'better than naive by 10.0% of its RMSE, at every step'
    """
    ratio = math.sqrt(own / other) if other else math.inf
    return verdict(
        baseline, ratio < 1, f"{1 - ratio:.1%} of its RMSE{where}" if ratio < 1 else f"{ratio - 1:.1%} more RMSE{where}"
    )
