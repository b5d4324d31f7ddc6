"""The operator among PyTorch's other machinery: torch.func, checkpointing, hooks, autocast, tensors of other kinds."""

import copy
import warnings
from typing import Any

import pytest
import torch
from small_model import B, H, I, Model, T, answer, same, tensors
from torch.testing._internal.two_tensor import TwoTensor

import gatewise

pytestmark = pytest.mark.usefixtures("native")


def test_gradients_by_torch_func():
    model = Model("gru")
    model.layer.engine = "auto"
    x = torch.randn(6, 2, 4)
    weights = dict(model.named_parameters())

    def loss(weights, x):
        if torch._C._functorch.peek_interpreter_stack() is not None:  # type: ignore
            reason = gatewise.which(model).reason
            assert "native does not take part in the transforms of torch.func" in reason

        output, state = torch.func.functional_call(model, weights, (x,))
        return output.square().sum() + state.square().sum()

    found = torch.func.grad(loss)(weights, x)
    expected = torch.autograd.grad(loss(weights, x), list(weights.values()))
    same(found.values(), expected)
    _, value = torch.func.grad_and_value(loss)(weights, x)
    torch.testing.assert_close(value, loss(weights, x))
    _, pullback = torch.func.vjp(lambda x: model(x)[0], x)  # type: ignore
    cotangent = torch.randn(6, 2, 2)
    leaf = x.clone().requires_grad_()
    same(pullback(cotangent), torch.autograd.grad(model(leaf)[0], leaf, cotangent))


def test_transforms_of_torch_func_are_refused_and_said():
    layer = gatewise.GRU(I, H, engine="native")
    x = torch.randn(2, T, B, I)
    for transformed in (
        lambda: torch.func.vmap(lambda x: layer(x)[0])(x),
        lambda: torch.func.jvp(lambda x: layer(x)[0], (x[0],), (x[1],)),
        lambda: torch.func.jacrev(lambda x: layer(x)[1])(x[0]),
    ):
        with pytest.raises(gatewise.UserError, match=r"native does not take part in the transforms of torch\.func"):
            transformed()


def test_what_would_watch_the_operator_gets_another_engine():
    """Forward-mode differentiation and torch.jit.trace, with frozen weights too."""
    layer = gatewise.GRU(I, H).requires_grad_(False)
    reference = gatewise.GRU(I, H, engine="eager")
    reference.load_state_dict(layer.state_dict())
    x, v = torch.randn(2, T, B, I)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, v)
        assert gatewise.which(layer).engine == "torch"
        found, expected = (torch.autograd.forward_ad.unpack_dual(each(dual)[0]).tangent for each in (layer, reference))
    torch.testing.assert_close(found, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced: Any = torch.jit.trace(layer, (x,))
    torch.testing.assert_close(traced(v)[0], layer(v)[0])


def test_gradients_of_a_batch_of_cotangents():
    layer, x = gatewise.GRU(I, H, engine="native"), torch.randn(T, B, I, requires_grad=True)
    output, _ = layer(x)
    cotangents = torch.randn(3, T, B, H)
    (found,) = torch.autograd.grad(output, x, cotangents, is_grads_batched=True, retain_graph=True)
    expected = [torch.autograd.grad(output, x, c, retain_graph=True)[0] for c in cotangents]
    torch.testing.assert_close(found, torch.stack(expected))


def test_tensors_of_another_kind_are_not_taken_for_memory():
    layer, x = gatewise.GRU(I, H), torch.randn(T, B, I)
    with torch.no_grad():
        both = layer(TwoTensor(x, 2 * x))[0]
        torch.testing.assert_close(both.a, layer(x)[0])
        torch.testing.assert_close(both.b, layer(2 * x)[0])


def test_checkpointing_computes_the_same():
    model = Model("gru-before", num_layers=2)
    x = torch.randn(6, 2, 4)
    expected = answer(model, x)
    for reentrant in (True, False):

        def checkpointed(x, reentrant=reentrant):
            return torch.utils.checkpoint.checkpoint(model, x, use_reentrant=reentrant)  # type: ignore

        leaf = x.clone().requires_grad_()
        returned = tensors(checkpointed(leaf))
        loss = torch.stack([value.square().sum() for value in returned]).sum()
        loss.backward()
        grads = [leaf.grad, *(weight.grad for weight in model.parameters())]
        same([*returned, *grads], expected)
        model.zero_grad()


def test_hooks_on_saved_tensors_see_them():
    model = Model("gru")
    seen = []

    def pack(value):
        seen.append(value.numel())
        return value.clone()

    x = torch.randn(6, 2, 4)
    expected = answer(model, x)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        same(answer(model, x), expected)
    assert len(seen) > 5


def test_autocast_is_refused_and_said():
    layer = gatewise.GRU(I, H)
    x = torch.randn(T, B, I)
    assert gatewise.which(layer, x).engine == "native"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        choice = gatewise.which(layer, x)
        assert choice.engine == "torch"
        assert "native does not take part in autocast" in choice.reason
        assert layer(x)[0].shape == (T, B, H)
        layer.engine = "native"
        with pytest.raises(
            gatewise.UserError, match="engine 'native' cannot run this: native does not take part in autocast"
        ):
            layer(x)
    assert torch.equal(layer(x)[0], copy.deepcopy(layer)(x)[0])


def test_an_output_may_be_changed_in_place():
    """As dropout and activations with inplace=True do; large outputs, whose memory is kept for later, too."""
    for steps, batch, hidden in ((4, 3, 7), (64, 512, 64)):
        layer = gatewise.GRU(2, hidden, engine="native")
        x = torch.randn(steps, batch, 2)
        output, state = layer(x)
        expected = torch.autograd.grad((2 * output + 1).sum() + 3 * state.sum(), list(layer.parameters()))
        output, state = layer(x)
        output.mul_(2).add_(1)
        found = torch.autograd.grad(output.sum() + state.mul_(3).sum(), list(layer.parameters()))
        for value, other in zip(found, expected, strict=True):
            torch.testing.assert_close(value, other)


def test_an_output_outlives_the_next_call():
    """No memory is handed out twice."""
    for steps, batch, hidden in ((4, 3, 7), (64, 512, 64)):
        layer = gatewise.GRU(2, hidden, engine="native")
        with torch.no_grad():
            first, second = torch.randn(2, steps, batch, 2)
            one = layer(first)[0]
            kept = one.clone()
            slices = layer(second)[0][5:6] if steps > 4 else None
            part = None if slices is None else slices.clone()
            for _ in range(3):
                layer(second)
            assert torch.equal(one, kept)
            if slices is not None:
                assert torch.equal(slices, part)  # type: ignore
