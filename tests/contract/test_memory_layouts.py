"""Input, weights, states and arriving gradients that are not laid out row after row."""

import pytest
import torch
from comparison import NATIVE, assert_agree, everything, one_or_all, random_input, random_layer, random_states
from torch.func import functional_call

T, B, I, H = 6, 4, 3, 17

pytestmark = pytest.mark.parametrize(("cell", "engine"), NATIVE)


def scattered(value):
    """The same numbers with gaps between them in every dimension."""
    wide = value.new_full([2 * n + 1 for n in value.shape], torch.nan)
    part = wide[tuple(slice(1, None, 2) for _ in value.shape)]
    part.copy_(value)
    return part


def permuted(value):
    """The same numbers, the last dimension laid out first."""
    return value.movedim(-1, 0).contiguous().movedim(0, -1)


LAYOUTS = {
    "scattered": scattered,
    "permuted": permuted,
    "batch first": lambda v: v.transpose(0, 1).contiguous().transpose(0, 1),
    "backwards": lambda v: v.flip(0, 1, 2).clone().flip(0, 1, 2),
    "negative view": lambda v: torch._neg_view(-v),  # type: ignore
    "imaginary part": lambda v: torch.complex(torch.zeros_like(v), v).imag,
    "part of something larger": lambda v: torch.nn.functional.pad(v, (5, 2))[..., 5 : 5 + v.shape[-1]],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_input_and_states(cell, engine, layout):
    for features in (1, I):
        layer = random_layer(cell, engine, H, features=features, bidirectional=True)
        x, states = random_input(T, B, features=features), random_states(layer, B)
        for lengths in (None, (6, 1, 4, 2)):
            expected = everything(layer, x, states, lengths=lengths)
            options = {"into": layout, "states_into": layout, "lengths": lengths}
            assert_agree(everything(layer, x, states, **options), expected, 1e-12)


@pytest.mark.parametrize("shape", [(1, 1, I), (T, 1, I), (1, B, I), (T, B, 1)], ids=str)
def test_an_input_repeated_without_a_copy(cell, engine, shape):
    layer = random_layer(cell, engine, H)
    one, states = random_input(*shape[:2], features=shape[2]), random_states(layer, B)
    expected = everything(layer, one, states, into=lambda x: x.expand(T, B, I).contiguous())
    assert_agree(everything(layer, one, states, into=lambda x: x.expand(T, B, I)), expected, 1e-12)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_weights(cell, engine, layout):
    layer = random_layer(cell, engine, H)
    x, states = random_input(T, B), one_or_all(random_states(layer, B))

    def gradients(change):
        leaves = {name: weight.detach().clone().requires_grad_() for name, weight in layer.named_parameters()}
        weights = {name: change(leaf[None])[0] if leaf.dim() == 2 else leaf for name, leaf in leaves.items()}
        output, _ = functional_call(layer, weights, (x, states))
        grads = torch.autograd.grad((output * random_input(T, B, features=H)).sum(), list(leaves.values()))
        return {"output": output.detach()} | dict(zip(leaves, grads, strict=True))

    assert_agree(gradients(layout), gradients(lambda weight: weight), 1e-12)


ARRIVING = {
    **LAYOUTS,
    "one number for all": lambda v: v.new_tensor(0.7).expand(v.shape),
    "one row for all": lambda v: v[:1, :1].expand(v.shape),
    "one unit for all": lambda v: v[..., :1].expand(v.shape),
    "zero": torch.zeros_like,
}


@pytest.mark.parametrize("layout", ARRIVING.values(), ids=ARRIVING)
def test_arriving_gradients(cell, engine, layout):
    layer = random_layer(cell, engine, H)
    x, states = random_input(T, B).requires_grad_(), random_states(layer, B)
    for state in states:
        state.requires_grad_()
    output, final = layer(x, one_or_all(states))
    returned = [output, *((final,) if len(states) == 1 else final)]
    leaves = [x, *states, *layer.parameters()]
    arriving = [layout(torch.randn_like(value)) for value in returned]
    dense = [gradient.resolve_neg().contiguous() for gradient in arriving]
    expected = torch.autograd.grad(returned, leaves, dense, retain_graph=True)
    found = torch.autograd.grad(returned, leaves, arriving)
    names = [str(i) for i in range(len(leaves))]
    assert_agree(dict(zip(names, found, strict=True)), dict(zip(names, expected, strict=True)), 1e-12)
