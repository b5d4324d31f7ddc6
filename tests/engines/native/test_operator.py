"""The operator by itself: opcheck, fake tensors, and what it refuses."""

import warnings
from typing import Any

import pytest
import torch
from small_model import B, H, I, T
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

import gatewise
from gatewise.cells import resolve
from gatewise.engines.native import build, operator
from gatewise.engines.native.arguments import mask_numbers

pytestmark = pytest.mark.usefixtures("native")

NOISY = gatewise.zoneout(gatewise.recurrent_dropout(gatewise.layer_norm("lstm"), 0.25), 0.5)


def name_of(cell):
    return resolve(cell).name


def arguments_of(cell="gru", dtype=torch.float64, tokens=False, lengths=False, wanted=True, keep=True, reverse=False):
    """What ``scan`` takes, in its order; ``wanted``: what is differentiable needs a gradient."""
    layer = gatewise.Recurrent(cell, I, H, dtype=dtype)
    weights = layer.request().weights[0][0]
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=dtype)

    gates = len(layer.connections.input)
    source = (None, torch.randint(9, (T, B), generator=generator), random(9, gates * H), None, None)
    if not tokens:
        source = (random(T, B, I), None, None, weights.input, weights.input_bias)
    rest = (
        weights.recurrent,
        weights.recurrent_bias,
        weights.diag,
        weights.vector,
        random(len(layer.cell.states), B, H),
    )
    leaves = tuple(
        value.detach().requires_grad_(wanted)
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else value
        for value in (*source, *rest)
    )
    ends = torch.tensor([4, 1, 2]) if lengths else None
    masks = [torch.rand(T if m.per_step else 1, B, H, generator=generator) < m.keep for m in layer.cell.masks.values()]
    numbers = mask_numbers(layer.cell)
    return (build.kernel(resolve(cell), dtype), *leaves, ends, masks, numbers, reverse, keep)


@pytest.fixture
def all_defined(monkeypatch):
    """opcheck compares all that is returned, gaps between what is kept for the backward pass included."""
    monkeypatch.setattr(operator.memory, "empty", lambda shape, like: like.new_zeros(shape))


@pytest.mark.parametrize("wanted", [True, False], ids=["gradients", "none"])
@pytest.mark.parametrize("lengths", [False, True], ids=["all steps", "lengths"])
@pytest.mark.parametrize("tokens", [False, True], ids=["dense", "tokens"])
@pytest.mark.parametrize("cell", ["gru-before", "lstm-peephole", NOISY], ids=name_of)
def test_opcheck(cell, tokens, lengths, wanted, all_defined):
    arguments = arguments_of(cell, tokens=tokens, lengths=lengths, wanted=wanted, keep=wanted, reverse=lengths)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.library.opcheck(torch.ops.gatewise.scan.default, arguments)


def test_opcheck_of_the_backward_operator(all_defined):
    *arguments, reverse, _ = arguments_of("lstm", lengths=True, wanted=False)
    with torch.no_grad():
        found = torch.ops.gatewise.scan(*arguments, reverse, True)
    given = (*arguments, *found[2:], torch.randn_like(found[0]), torch.randn_like(found[1]), reverse)
    for needed in ([True] * 9, [True, False] * 4 + [False]):
        needed = [n and v is not None for n, v in zip(needed, [arguments[1], *arguments[3:11]], strict=True)]
        torch.library.opcheck(torch.ops.gatewise.scan_backward.default, (*given, needed))


def sketch(values):
    return [(value.shape, value.stride(), value.dtype, value.device) for value in values]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm-peephole", NOISY], ids=name_of)
def test_fake_tensors_have_the_shapes_of_real_ones(cell, tokens, keep):
    arguments = arguments_of(cell, tokens=tokens, wanted=False, keep=keep)
    real = torch.ops.gatewise.scan(*arguments)
    with FakeTensorMode() as mode:
        fake = tree_map_only(torch.Tensor, mode.from_tensor, arguments)
        answer = torch.ops.gatewise.scan(*fake)
    assert sketch(answer) == sketch(real)


WRONG_WEIGHTS = {
    "shape": lambda layer: setattr(layer, "weight_hh_l0", nn.Parameter(torch.randn(3, 3))),
    "bias": lambda layer: setattr(layer, "bias_hh_l0", nn.Parameter(torch.randn(1))),
    "type": lambda layer: setattr(layer, "weight_hh_l0", nn.Parameter(torch.randn(3 * H, H).double())),
}


@pytest.mark.parametrize("wrong", WRONG_WEIGHTS)
def test_wrong_weights_are_refused(wrong):
    layer = gatewise.GRU(I, H, engine="native")
    WRONG_WEIGHTS[wrong](layer)
    with pytest.raises(RuntimeError, match=r"native: the recurrent_(weight|bias) (has the shape|is torch\.float64)"):
        layer(torch.randn(T, B, I))


def test_the_operator_itself_refuses_what_does_not_fit():
    arguments: list[Any] = list(arguments_of(wanted=False))
    spoiled = {
        1: [arguments[1][..., :4], arguments[1].float()],
        4: [None, arguments[4][:4]],
        6: [None, arguments[6][:, :3], arguments[6].float()],
        7: [arguments[7][:1]],
        10: [arguments[10][:, :1], torch.cat([arguments[10]] * 2)],
        11: [torch.tensor([1]), torch.tensor([1.0, 1, 1])],
        12: [[torch.ones(T, B, H, dtype=torch.bool)]],
        13: [[1.0, 1.0]],
    }
    for position, values in spoiled.items():
        for value in values:
            with pytest.raises(RuntimeError, match="native: "):
                torch.ops.gatewise.scan(*arguments[:position], value, *arguments[position + 1 :])


def test_a_token_outside_the_table_is_refused_by_the_operator_itself():
    for wrong in (9, -1, 2**60):
        arguments: list[Any] = list(arguments_of(tokens=True))
        arguments[2] = arguments[2].clone()
        arguments[2][1, 1] = wrong
        with pytest.raises(IndexError, match="a token is outside the vocabulary"):
            torch.ops.gatewise.scan(*arguments)
        with pytest.raises(IndexError, match="a token is outside the vocabulary"):
            operator.scan(*arguments)


@pytest.mark.parametrize("key", ["gru double 0", "gru half 0", "nobody's double 0"])
def test_an_unknown_kernel_is_refused(key):
    """Of other equations, of a precision that there is none of, of a cell that is not known here."""
    with pytest.raises((KeyError, RuntimeError), match=f"{key}: this program needs the kernel of a cell"):
        torch.ops.gatewise.scan(key, *arguments_of()[1:])


@pytest.mark.parametrize(
    ("dtype", "bf16"), [(torch.float64, False), (torch.float32, False), (torch.float32, True)], ids=str
)
def test_a_kernel_is_found_again_by_its_key(dtype, bf16, monkeypatch):
    """As a program that was exported in another process asks for it."""
    key = build.kernel(resolve("gru"), dtype, bf16)
    before = build.kernel_named(key)
    monkeypatch.setattr(build, "_kernels", {})
    monkeypatch.setattr(build._known, "_held", {})
    found = build.kernel_named(key)
    assert found is not before
    assert found.dtype == dtype
    assert build._kernels == {key: found}
