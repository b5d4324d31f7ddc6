"""The peers' loops are ours to get right: outputs and every gradient, against the reference."""

from __future__ import annotations

import pytest
import torch
from benchmarks.case import Case, Sizes, What
from benchmarks.cells import MinimalGate, SoftLeak
from benchmarks.peers import PEERS, Peer, loop, missing
from benchmarks.work import make_subject

from gatewise import Cell

OWN: dict[str, str | type[Cell]] = {cell.name: cell for cell in (MinimalGate, SoftLeak)}


@pytest.mark.parametrize("cell", loop.LOOPS)
def test_a_loop_is_the_cell(cell: str):
    case = Case(OWN.get(cell, cell), What.TRAIN_INPUT, Sizes(5, 3, 4, 7))
    subject = make_subject(case, threads=1)
    _, module = loop.module_of(subject)
    found = []
    for each in (module, subject.layer):
        subject.x.grad = None
        output = each(subject.x)[0]
        output.backward(subject.cotangent)
        assert subject.x.grad is not None
        found.append([output, subject.x.grad, *(p.grad for p in each.parameters())])
    assert len(found[0]) == len(found[1]) == 2 + len(list(subject.layer.parameters()))
    for actual, expected in zip(*found, strict=True):
        torch.testing.assert_close(actual, expected)


def test_every_peer_has_a_name_of_its_own():
    assert len({peer.key for peer in PEERS}) == len(PEERS)


def test_what_is_missing_is_what_is_not_installed():
    def refuse(subject):
        raise AssertionError

    peer = Peer("x", lambda case: True, refuse, ("torch", "no-such-package[cpu]"))
    assert missing(peer) == ("no-such-package[cpu]",)
