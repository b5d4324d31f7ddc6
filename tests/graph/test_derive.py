"""The derived backward pass against autograd, for every cell there is and for random ones."""

import math

import pytest
import torch
from back_propagation import assert_agree, by_autograd, by_derived_graph, problem
from hypothesis import given, settings, strategies
from made_up_cells import MADE_UP
from random_cells import random_cells, tangled_cells

from gatewise import CELLS, Cell
from gatewise.graph import derive, evaluate, trace
from gatewise.graph.graph import POINTWISE

EVERY_CELL = [pytest.param(cell, id=name) for name, cell in (CELLS | MADE_UP).items()]


def test_the_cells_of_the_tests_use_every_operation():
    used = {node.op for cell in MADE_UP.values() for node in trace(cell).nodes}
    assert set(POINTWISE) <= used


@pytest.mark.parametrize("cell", EVERY_CELL)
def test_derived_backward_is_autograd(cell):
    for seed in range(3):
        p = problem(cell, seed)
        expected = by_autograd(p)
        assert expected["output"].abs().max() > 1e-3  # the comparison is not one of zeros
        assert_agree(by_derived_graph(p), expected)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(cell=random_cells() | tangled_cells(), seed=strategies.integers(0, 99))
def test_derived_backward_is_autograd_for_random_cells(cell, seed):
    p = problem(cell, seed, steps=5, hidden=3)
    assert_agree(by_derived_graph(p), by_autograd(p), 1e-9)


def test_derivatives_at_the_kinks_are_those_of_torch():
    """relu, leaky_relu, abs, clamp, minimum and maximum exactly where they bend."""

    class AtTheKink(Cell):
        def step(self, x, u, h):
            a = torch.relu(h) + 2 * torch.nn.functional.leaky_relu(h, 0.1) + 4 * torch.abs(h)
            return a + 8 * torch.clamp(h, 0.0, 1.0) + 16 * torch.minimum(h, -h) + 32 * torch.maximum(h, 2 * h)

    h = torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.float64, requires_grad=True)
    AtTheKink().step(None, None, h).sum().backward()
    backward = derive(trace(AtTheKink))
    leaves = {("state", "h"): h.detach(), ("cotangent", "h"): torch.ones_like(h)}
    assert h.grad is not None
    assert torch.equal(evaluate(backward.nodes, leaves)[backward.states[0]], h.grad)


def test_the_derivative_of_a_derivative_free_path_is_zero():
    backward = derive(trace(MADE_UP["Vanishing"]))
    (product,) = backward.dense
    assert backward.nodes[product.cotangent].op == "constant"
    assert backward.nodes[product.cotangent].parameters == (0.0,)
    assert all(math.isfinite(n.parameters[0]) for n in backward.nodes if n.op == "constant")
