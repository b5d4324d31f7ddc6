"""What a peer is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.case import Case
from benchmarks.work import Contestant, Subject


@dataclass(frozen=True)
class Peer:
    """Someone else who can do the work of some cases.

    Attributes:
        key: what ``Case.targets`` goes by.
        takes: whether it can do the work of a case.
        build: the contestant, with the subject's weights.
        packages: what it needs, as ``pip install`` is told; the module is the name up to "[".
        opt_in: the option that it takes part with, if it does not by itself.
    """

    key: str
    takes: Callable[[Case], bool]
    build: Callable[[Subject], Contestant]
    packages: tuple[str, ...] = ()
    opt_in: str | None = None


def missing(peer: Peer) -> tuple[str, ...]:
    """The packages that a peer needs and that are not installed."""
    return tuple(package for package in peer.packages if find_spec(package.partition("[")[0]) is None)
