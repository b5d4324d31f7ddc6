"""How many threads a run gets where nobody says."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import torch

SECONDS = 0.3
"""How long other programs are watched."""


def free_threads(most: int, busy: float, cores: int) -> int:
    """Threads for a run where other programs keep so many of the cores busy: at least one.

    Threads wait for each other many times in a step. One that shares its core with another program makes all of them
    wait for milliseconds, so that two threads beside two busy programs are slower than one.

    Args:
        most: threads there would be on an idle machine.
        busy: cores that other programs use; half a core is as good as a whole one.
        cores: of the machine.

    >>> free_threads(2, 0.1, 2), free_threads(2, 1.0, 2), free_threads(8, 30.0, 64), free_threads(8, 63.0, 64)
    (2, 1, 8, 1)
    """
    return max(1, min(most, round(cores - busy)))


def choose_threads(say: Callable[[str], None]) -> int:
    """PyTorch's own number, less where other programs keep the cores busy; said then."""
    most, cores = torch.get_num_threads(), psutil.cpu_count() or 1
    if most == 1:
        return 1
    busy = psutil.cpu_percent(SECONDS) / 100 * cores
    chosen = free_threads(most, busy, cores)
    if chosen < most:
        say(f"{chosen} of {most} threads: other programs keep {busy:.1f} of {cores} cores busy (--threads sets it)")
    return chosen
