"""The processes that share a study: who they are, whether they live."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType

import psutil

SECONDS_BETWEEN_BEATS = 15.0
SECONDS_OF_SILENCE = 120.0
"""After so long without a beat a process is held for dead, wherever it is."""


def this_worker() -> str:
    """A name that no other process has, on this machine or another, before or after."""
    return f"{_machine()}/{os.getpid()}/{_started(os.getpid())}"


def _machine() -> str:
    try:
        numbering = os.readlink("/proc/self/ns/pid")  # containers of one machine number their processes apart
    except OSError:
        numbering = ""
    return f"{platform.node()}{numbering}"


def _started(pid: int) -> float | None:
    """When the process of this number began; None where none runs."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time(), 2)
    except psutil.Error:
        return None


def is_dead(worker: str) -> bool:
    """Whether a process is known to be gone: it was on this machine and is no more."""
    machine, pid, started = worker.rsplit("/", 2)
    return machine == _machine() and str(_started(int(pid))) != started


class Watchman:
    """Notices silence by the watching process's own clock, so that machines need not agree on the time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[int, tuple[int, float]] = {}

    def silent(self, beats: Mapping[int, int]) -> set[int]:
        """Those of the trials under way, by number, whose count of beats has stood still for too long."""
        now = self._clock()
        for number, beat in beats.items():
            if self._heard.get(number, (None,))[0] != beat:
                self._heard[number] = (beat, now)
        self._heard = {number: heard for number, heard in self._heard.items() if number in beats}
        return {number for number, (_, since) in self._heard.items() if now - since > SECONDS_OF_SILENCE}


class Beating:
    """Beats, from a thread of its own, while the block runs."""

    def __init__(self, beat: Callable[[int], None]) -> None:
        self._beat = beat
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        count = 0
        while not self._over.wait(SECONDS_BETWEEN_BEATS):
            count += 1
            with contextlib.suppress(Exception):  # a database that is away for a moment; the trial goes on
                self._beat(count)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
