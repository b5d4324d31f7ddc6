"""The count of operations, against what PyTorch's counter sees the reference do, and against a count by hand."""

from __future__ import annotations

import doctest

import pytest
import torch
from benchmarks.case import Case, Sizes, What
from benchmarks.cells import MinimalGate, SoftLeak
from benchmarks.flops import flops
from torch.utils.flop_counter import FlopCounterMode

import gatewise
from benchmarks import flops as flops_module
from benchmarks import registry
from gatewise import CELLS

CELLS_COUNTED = [*CELLS, MinimalGate, SoftLeak]
SIZES = Sizes(5, 3, 4, 7)


@pytest.mark.parametrize("what", [What.TRAIN, What.TRAIN_INPUT, What.INFER])
@pytest.mark.parametrize("cell", CELLS_COUNTED, ids=lambda cell: cell if isinstance(cell, str) else cell.__name__)
def test_the_reference_does_as_many(cell, what):
    T, B, I, H = SIZES
    layer = gatewise.Recurrent(cell, I, H, engine="eager")
    x = torch.randn(T, B, I, requires_grad=what is What.TRAIN_INPUT)
    counter = FlopCounterMode(display=False)
    with counter:
        output, _ = layer(x)
        if what is not What.INFER:
            output.sum().backward()
    assert counter.get_total_flops() == flops(Case(cell, what, SIZES))


@pytest.mark.parametrize("module", [flops_module, registry])
def test_the_docstrings_examples_run(module):
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0


def test_a_language_model_looks_its_tokens_up():
    T, B, V, H = SIZES
    head = 2 * T * B * H * V
    products = 2 * B * 3 * H * H
    assert flops(Case("gru", What.GENERATE, SIZES)) == T * products + head
    # U forward, for its own gradient, and for h except the initial one; the head forward and twice backward
    assert flops(Case("gru", What.TEXT, SIZES)) == (3 * T - 1) * products + 3 * head
