"""The same loop through ``torch.compile``. Opt-in: it compiles for 20 to 45 s, which no figure contains."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from benchmarks.case import Case
from benchmarks.peers import loop
from benchmarks.peers.peer import Peer
from benchmarks.work import Contestant, Subject, layer_contestant


def takes(case: Case) -> bool:
    return case.in_float32 and case.what.over_a_sequence and case.cell_name in loop.LOOPS


def build(subject: Subject) -> Contestant:
    _, module = loop.module_of(subject)
    # Every case compiles its own graph; without a reset the cache's limit would send later cases back to Python.
    torch.compiler.reset()
    compiled = cast(Any, torch.compile(module, dynamic=False))
    assert isinstance(compiled, nn.Module)
    return layer_contestant("the same loop, compiled", compiled, subject)


PEER = Peer("compiled loop", takes, build, opt_in="--compile")
