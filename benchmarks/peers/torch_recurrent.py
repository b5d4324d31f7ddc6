"""The PyPI package ``torchrecurrent``: many cells, each a Python loop."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from torch import Tensor

from benchmarks.case import Case
from benchmarks.peers.peer import Peer
from benchmarks.work import Contestant, Subject, layer_contestant

Weights = dict[str, Tensor]


def _plain(weights: Weights) -> Weights:
    return {f"cells.0.{name.removesuffix('_l0')}": weight for name, weight in weights.items()}


def _peephole(weights: Weights) -> Weights:
    """Its gates stand in our order; its peepholes are one vector."""
    named = _plain(weights)
    peepholes = named.pop("cells.0.weight_diag")
    return named | {"cells.0.weight_ph": peepholes.flatten()}


LAYERS: dict[str, tuple[str, Callable[[Weights], Weights]]] = {
    "MinimalGate": ("MGU", _plain),
    "lstm-peephole": ("PeepholeLSTM", _peephole),
}
"""Our cell -> its layer, and our weights under its names."""


def takes(case: Case) -> bool:
    return case.what.over_a_sequence and case.cell_name in LAYERS


def build(subject: Subject) -> Contestant:
    name, rename = LAYERS[subject.case.cell_name]
    module = getattr(import_module("torchrecurrent"), name)(*subject.case.sizes[2:])
    module.load_state_dict(rename(subject.layer.state_dict()))
    return layer_contestant(f"torchrecurrent.{name}", module, subject)


PEER = Peer("torchrecurrent", takes, build, ("torchrecurrent",))
