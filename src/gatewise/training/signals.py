"""Ctrl-C and SIGTERM: noted at once, answered when the work at hand is done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gatewise.training.run import Run


class Interrupted(Exception):  # noqa: N818  (a request from outside, answered)
    """Ctrl-C or SIGTERM: the step was finished and everything saved."""

    def __init__(self, signum: int, run: Run) -> None:
        super().__init__(f"stopped and saved; `gatewise resume {run.folder}` goes on from here")
        self.exit_code = 128 + signum


class Stop:
    """Whether a signal asked to stop."""

    def __init__(self) -> None:
        self.signum = 0

    def note(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler; a second signal stops at once."""
        if self.signum:
            raise KeyboardInterrupt
        self.signum = signum

    def check(self, run: Run) -> None:
        """Raise :class:`Interrupted` if asked to stop; what is to be saved is saved by now."""
        if self.signum:
            raise Interrupted(self.signum, run)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note Ctrl-C and SIGTERM instead of dying of them, in the main thread."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {s: signal.signal(s, stop.note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            with contextlib.suppress(TypeError, ValueError):
                signal.signal(signum, handler)
