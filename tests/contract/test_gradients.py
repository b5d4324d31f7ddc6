"""Finite differences: input, initial states and every weight, for every cell on every engine that takes it."""

import pytest
from comparison import KERNELS, one_or_all, random_input, random_layer, random_states
from torch.autograd import gradcheck
from torch.func import functional_call

from gatewise import Recurrent
from gatewise.engines import ENGINES
from gatewise.engines.stack import refusal

VARIANTS = {
    "one layer": {},
    "no bias": {"bias": False},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "lengths": {"num_layers": 2, "bidirectional": True, "lengths": (2, 4, 1)},
}


def check(cell, engine, options, fast_mode):
    options = dict(options)
    lengths = options.pop("lengths", None)
    layer = random_layer(cell, engine, hidden=3, **options)
    names = [name for name, _ in layer.named_parameters()]
    states = random_states(layer, 3)
    leaves = [leaf.detach().requires_grad_() for leaf in (random_input(4, 3), *states, *layer.parameters())]

    def forward(x, *rest):
        hx, weights = rest[: len(states)], dict(zip(names, rest[len(states) :], strict=True))
        output, final = functional_call(layer, weights, (x, one_or_all(hx)), {"lengths": lengths})
        return (output, *((final,) if len(states) == 1 else final))

    assert gradcheck(forward, leaves, eps=1e-6, atol=1e-8, rtol=1e-6, fast_mode=fast_mode)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(("cell", "engine"), KERNELS)
def test_gradients_are_finite_differences(cell, engine, options):
    check(cell, engine, options, fast_mode=bool(options))  # each number by itself in the plain variant


PROJECTED = [
    (cell, engine.name)
    for cell in ("lstm", "lstm-peephole")
    for engine in ENGINES
    if not refusal(engine, Recurrent(cell, 3, 5, proj_size=2).request())
]


@pytest.mark.parametrize(("cell", "engine"), PROJECTED)
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_gradients_through_a_projection_are_finite_differences(cell, engine, options):
    check(cell, engine, options | {"proj_size": 2}, fast_mode=True)
