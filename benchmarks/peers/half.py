"""``torch.nn.GRU`` with weights and states in bf16, beside our cases in bf16 (which keep theirs in float32)."""

from __future__ import annotations

import torch

from benchmarks.case import Case
from benchmarks.peers import torch_nn
from benchmarks.peers.peer import Peer
from benchmarks.work import Contestant, Subject, layer_contestant


def takes(case: Case) -> bool:
    return not case.in_float32 and case.what.over_a_sequence and case.cell_name in torch_nn.MODULES


def build(subject: Subject) -> Contestant:
    module = torch_nn.MODULES[subject.case.cell_name](*subject.case.sizes[2:])
    module.load_state_dict(subject.layer.state_dict())
    return layer_contestant(f"torch.nn.{type(module).__name__}, all bf16", module.to(torch.bfloat16), subject)


PEER = Peer("torch.nn bf16", takes, build)
