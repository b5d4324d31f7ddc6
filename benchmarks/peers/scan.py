"""Our own engine "scan" beside the engine that is timed, for cells that are linear in their states."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.ours import layer_of
from benchmarks.peers.peer import Peer
from benchmarks.work import Contestant, Subject, layer_contestant
from gatewise import trace
from gatewise.graph import Linear, linear


def takes(case: Case) -> bool:
    return case.in_float32 and case.what.over_a_sequence and isinstance(linear(trace(case.cell)), Linear)


def build(subject: Subject) -> Contestant:
    return layer_contestant("our engine 'scan'", layer_of(subject, "scan"), subject)


PEER = Peer("scan", takes, build)
