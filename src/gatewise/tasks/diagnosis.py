"""Fault diagnosis: how soon a fault is noticed and named after it begins, and how often there is a false alarm."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatewise.data.recordings.examples import Examples
from gatewise.data.recordings.sequences import Recording


class Event(NamedTuple):
    """A stretch of a recording with one label that is not the normal one.

    Attributes:
        recording: which one.
        label: of the stretch.
        start: its first step: the onset.
        stop: the step after its last.
    """

    recording: int
    label: str
    start: int
    stop: int


def events(recordings: Sequence[Recording], normal: str) -> Iterator[Event]:
    """All faults that begin, in order; of one that had begun before a recording was cut off nobody knows since when.

    >>> labels = np.array(["ok", "ok", "hot", "hot", "leak", "ok"])
    >>> [tuple(event) for event in events([Recording("a", np.zeros((6, 1)), labels)], "ok")]
    [(0, 'hot', 2, 4), (0, 'leak', 4, 5)]
    """
    for number, one in enumerate(recordings):
        borders = [0, *one.changes(), len(one)]
        for start, stop in itertools.pairwise(borders):
            label = str(one.labels[start])
            if label != normal and (start or label != one.before):
                yield Event(number, label, start, stop)


def diagnose(
    examples: Examples, predicted: np.ndarray, recordings: Sequence[Recording], classes: Sequence[str], normal: str,
    in_a_row: int = 3,
) -> dict[str, Any]:  # fmt: skip
    """What an operator asks of a diagnosis.

    An alarm is raised at the end of the window with which ``in_a_row`` windows in a row say a fault, all of them ending
    after the onset; a fault is named where they all say the right one. The delay is the number of steps from the
    onset, the fault's first row, to the end of that window: 0 is at once.

    Args:
        examples: windows over the recordings.
        predicted: (n,) numbers of classes.
        recordings: those that were measured.
        classes: names of the classes, in the order of their numbers.
        normal: the name of normal operation.
        in_a_row: windows that raise an alarm.

    Returns:
        ``normal`` and ``in_a_row``; ``false_alarm_rate``, the share of normal windows that are taken for a fault;
        ``false_alarm_rate_in_a_row``, the share of them at which an alarm stands; ``missed_rate``, the share of faulty
        windows that are taken for normal; ``faults``: by class ``events``, ``detected`` and ``diagnosed`` (shares of
        them), ``delay`` and ``diagnosis_delay`` (mean steps over those). None for what there is nothing of.
    """
    quiet = list(classes).index(normal)
    faulty, right = predicted != quiet, predicted == examples.classes
    is_normal = examples.classes == quiet
    found: dict[str, Any] = {
        "normal": normal, "in_a_row": in_a_row, "false_alarm_rate": _share(faulty[is_normal]),
        "false_alarm_rate_in_a_row": _share(_standing(faulty, examples.recordings, in_a_row)[is_normal]),
        "missed_rate": _share(~faulty[~is_normal]),
    }  # fmt: skip
    delays: dict[str, list[tuple[int | None, int | None]]] = {}
    for event in events(recordings, normal):
        inside = _windows_of(event, examples)
        ends = examples.last[inside] - event.start
        both = (_first(faulty[inside], ends, in_a_row), _first(right[inside], ends, in_a_row))
        delays.setdefault(event.label, []).append(both)
    found["faults"] = {name: _of_fault(delays[name]) for name in classes if name in delays}
    return found


def _windows_of(event: Event, examples: Examples) -> slice:
    """Those that end in it; windows stand in the order of their recordings, and in these of their ends."""
    first, stop = np.searchsorted(examples.recordings, [event.recording, event.recording + 1])
    ends = examples.last[first:stop]
    return slice(*(first + np.searchsorted(ends, [event.start, event.stop])).tolist())


def _standing(flags: np.ndarray, groups: np.ndarray, in_a_row: int) -> np.ndarray:
    """Whether a flag and those before it, ``in_a_row`` in all and of one group, are all set."""
    standing = flags.copy()
    for back in range(1, in_a_row):
        standing[:back] = False
        standing[back:] &= flags[:-back] & (groups[back:] == groups[:-back])
    return standing


def _first(flags: np.ndarray, ends: np.ndarray, in_a_row: int) -> int | None:
    """The end at which ``in_a_row`` flags in a row are set for the first time."""
    places = np.flatnonzero(_standing(flags, np.zeros(len(flags)), in_a_row))
    return int(ends[places[0]]) if len(places) else None


def _of_fault(delays: Sequence[tuple[int | None, int | None]]) -> dict[str, Any]:
    alarms, names = ([one for one in each if one is not None] for each in zip(*delays, strict=True))
    return {
        "events": len(delays), "detected": len(alarms) / len(delays), "delay": _mean(alarms),
        "diagnosed": len(names) / len(delays), "diagnosis_delay": _mean(names),
    }  # fmt: skip


def _mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(flags: np.ndarray) -> float | None:
    return float(flags.mean()) if len(flags) else None
