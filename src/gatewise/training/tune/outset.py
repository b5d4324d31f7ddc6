"""What a search sets out with: settings that were left to the data decided, ranges that the data allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gatewise.errors import UserError
from gatewise.training.lifecycle import Job, Training
from gatewise.training.settings import NetworkSettings
from gatewise.training.tune.ranges import REACH, Looked, Range


@dataclass(frozen=True)
class Outset:
    """What all trials have in common.

    Attributes:
        settings: of every trial, but for what is looked for.
        ranges: what is looked for.
        data: what the data are, as ``config.toml`` records it.
        name: of the data.
    """

    settings: NetworkSettings
    ranges: Sequence[Range]
    data: Mapping[str, Any]
    name: str


def set_out(
    training: Training, source: Any, settings: NetworkSettings, looked: Looked, say: Callable[[str], None]
) -> Outset:
    """Prepare a training once as it is, and once at either end of the ranges.

    So what the data decide (the steps looked back on, say) is the same for all trials, and what cannot be is refused
    before the first of them and not in the midst. A default range of such steps comes down to what the data allow.

    Raises:
        UserError: the data cannot be used; an end of a range that they do not allow; nothing is left to look for.
    """
    job = training.prepare(source, settings, None, say)
    settings = replace(settings, **{name: value for name, value in job.decided.items() if name not in looked.given})
    own = [r.name for r in looked.own]
    ranges = [_allowed(r, r.name not in own, training, source, settings) for r in looked.ranges(settings)]
    ranges = [r for r in ranges if r.low < r.high]
    if not ranges:
        raise UserError("nothing is left to look for: the data allow one value only; name other settings with --range")
    for end in ("high", "low"):
        largest = replace(settings, **{r.name: getattr(r, end) for r in ranges})
        training.prepare(source, largest, None, lambda line: None)
    return Outset(settings, ranges, dict(job.data), _name(job, settings))


def _allowed(r: Range, default: bool, training: Training, source: Any, settings: NetworkSettings) -> Range:
    """A default range of steps as far as the data allow it, towards the value that they are known to allow."""
    if r.name not in REACH or not default:
        return r
    known = getattr(settings, r.name)

    def farthest(end: float) -> float:
        if _works(training, source, replace(settings, **{r.name: end})):
            return end
        works = known
        while abs(end - works) > 1:
            middle = int((works + end) // 2)
            if _works(training, source, replace(settings, **{r.name: middle})):
                works = middle
            else:
                end = middle
        return works

    return replace(r, low=farthest(r.low), high=farthest(r.high))


def _works(training: Training, source: Any, settings: NetworkSettings) -> bool:
    try:
        training.prepare(source, settings, None, lambda line: None)
    except UserError:
        return False
    return True


def _name(job: Job, settings: NetworkSettings) -> str:
    return job.name.removesuffix(f"-{'-'.join(settings.cells)}")
