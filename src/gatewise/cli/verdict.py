"""What to think of a result, in words: is it better than what costs nothing, or less?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def verdict(baseline: str, better: bool, by: str, whom: str = "") -> str:
    """One line about a network beside one of its baselines.

    Args:
        baseline: what it is called.
        better: whether the network is.
        by: how much, and where.
        whom: what to take the baseline for, where not for all.

    >>> verdict("naive", True, "3.0% of its RMSE")
    'better than naive by 3.0% of its RMSE'
    >>> verdict("naive", False, "0.1% more RMSE")
    'WARNING: NOT better than naive: 0.1% more RMSE; take naive, or train longer, with other settings or more data'
    """
    if better:
        return f"better than {baseline} by {by}"
    advice = f"take {baseline}{whom}, or train longer, with other settings or more data"
    return f"WARNING: NOT better than {baseline}: {by}; {advice}"


def verdict_by_error(baseline: str, own: float, other: float, where: str = "", whom: str = "") -> str:
    """The same from two mean squared errors; ``where`` and ``whom`` are words after them.

    >>> verdict_by_error("naive", 0.81, 1.0, ", at every step")
    'better than naive by 10.0% of its RMSE, at every step'
    """
    ratio = _ratio(own, other)
    by = f"{1 - ratio:.1%} of its RMSE{where}" if ratio < 1 else f"{ratio - 1:.1%} more RMSE{where}"
    return verdict(baseline, ratio < 1, by, whom)


_MOST_NAMED = 12
"""Targets that are named one by one."""


def verdict_of_targets(baseline: str, own: Mapping[str, Any], other: Mapping[str, Any], where: str = "") -> str:
    """The same from figures of each target, standardised, their mean first; of several it says which are otherwise.

    Nothing where there is nothing to compare.

    >>> own, other = ({name: {"mse": mse} for name, mse in zip(("mean", "a", "b"), values)}
    ...               for values in ((0.81, 0.2, 1.42), (1.0, 1.0, 1.0)))
    >>> verdict_of_targets("naive", own, other)
    'better than naive by 10.0% of its RMSE (mean of 2 targets, in standard deviations), but NOT for b: 19.2% more'
    >>> verdict_of_targets("naive", other, own).partition(", in standard deviations")[2].partition(", or train")[0]
    '), but better for b: 16.1% less; take naive for a'
    """
    mean, *targets = own
    if None in (own[mean]["mse"], other[mean]["mse"]):
        return ""
    known = [name for name in targets if None not in (own[name]["mse"], other[name]["mse"])]
    if len(known) < 2:
        return verdict_by_error(baseline, own[mean]["mse"], other[mean]["mse"], where)
    better = own[mean]["mse"] < other[mean]["mse"]
    ratios = {name: _ratio(own[name]["mse"], other[name]["mse"]) for name in known}
    but = {name: ratio for name, ratio in ratios.items() if (ratio < 1) != better}
    words = [f"{name}: {abs(ratio - 1):.1%} {'less' if ratio < 1 else 'more'}" for name, ratio in but.items()]
    named = f", but {'NOT' if better else 'better'} for {_listed(words)}" if but else ", for each of them"
    whom = f" for {_listed([name for name in known if name not in but])}" if but else ""
    scale = f" (mean of {len(known)} targets, in standard deviations)"
    return verdict_by_error(baseline, own[mean]["mse"], other[mean]["mse"], f"{scale}{where}{named}", whom)


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _MOST_NAMED
    return ", ".join([*words[:_MOST_NAMED], *([f"{more} others"] if more > 0 else [])])


def _ratio(own: float, other: float) -> float:
    """Of the root mean squared errors."""
    return math.sqrt(own / other) if other else math.inf if own else 1.0
