"""Cells that nobody wrote: random graphs of all supported operations, native against the reference."""

import pytest
import torch
from comparison import assert_agree, everything, random_input, random_layer, random_states
from hypothesis import HealthCheck, Phase, assume, given, note, settings, strategies
from random_cells import random_cells, tangled_cells  # type: ignore

from gatewise.graph import equations, trace

pytestmark = pytest.mark.usefixtures("native")

T, B, H = 5, 4, 9
LENGTHS = (3, 5, 1, 4)
CHECKS = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.generate],  # to shrink what fails would be to compile it a thousand times
}


def values_of(cell, engine, lengths, threads, nudge=0.0):
    layer = random_layer(cell, engine, H)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.mul_(1 + nudge)
    x, states = random_input(T, B) * (1 + nudge), random_states(layer, B)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return everything(layer, x, states, lengths=lengths)
    finally:
        torch.set_num_threads(before)


def check(cell, lengths, threads):
    """Native agrees with the reference, unless the reference itself jumps when all is changed by a hair."""
    note(equations(cell))
    expected = values_of(cell, "eager", lengths, 1)
    assume(all(value.isfinite().all() for value in expected.values()))
    actual = values_of(cell, "native", lengths, threads)
    try:
        assert_agree(actual, expected, 1e-10)
    except AssertionError:
        nudged = values_of(cell, "eager", lengths, 1, nudge=1e-13)
        differences = [(nudged[name] - value).abs().max() / value.abs().max() for name, value in expected.items()]
        assume(not any(difference > 1e-11 for difference in differences))
        raise


lengths = strategies.sampled_from([None, LENGTHS])
threads = strategies.sampled_from([1, 2])


@settings(max_examples=6, **CHECKS)
@given(cell=random_cells(), lengths=lengths, threads=threads)
def test_random_cells(cell, lengths, threads):
    check(cell, lengths, threads)


@settings(max_examples=10, **CHECKS)
@given(
    cell=tangled_cells().filter(lambda cell: sum(n.op == "dense" for n in trace(cell).nodes) >= 2),
    lengths=lengths,
    threads=threads,
)
def test_tangled_cells(cell, lengths, threads):
    check(cell, lengths, threads)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=150, **CHECKS)
@given(cell=random_cells() | tangled_cells(), lengths=lengths, threads=threads)
def test_many_random_cells(cell, lengths, threads):
    check(cell, lengths, threads)
