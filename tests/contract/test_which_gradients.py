"""Some gradients are wanted and others not; nothing is kept for those that nobody can ask for."""

import weakref

import pytest
import torch
from comparison import (
    DISTINCT,
    NATIVE,
    assert_agree,
    everything,
    random_input,
    random_layer,
    random_states,
    run,
)
from made_up_cells import MADE_UP  # type: ignore

import gatewise
from gatewise.engines.native.kernel import Kernel

T, B = 6, 5
LENGTHS = (6, 2, 1, 5, 3)

everywhere = pytest.mark.parametrize(("cell", "engine"), [kernel for kernel in DISTINCT if kernel[1] != "eager"])
natively = pytest.mark.parametrize(("cell", "engine"), NATIVE)


def leaves_of(layer):
    """Input, states and weights by name; the gradients of all are wanted."""
    x, states = random_input(T, B), random_states(layer, B)
    leaves = {"x": x} | dict(zip(layer.cell.states, states, strict=True)) | dict(layer.named_parameters())
    return {name: leaf.requires_grad_() for name, leaf in leaves.items()}


def losses(layer, leaves, **options):
    """A random sum of each value that a layer returns, by name."""
    states = tuple(leaves[name] for name in layer.cell.states)
    returned = run(layer, leaves["x"], states, **options)
    generator = torch.Generator().manual_seed(5)
    sums = [(v * torch.randn(v.shape, generator=generator, dtype=torch.float64).to(v.dtype)).sum() for v in returned]
    return dict(zip(("output", *layer.cell.states), sums, strict=True))


def loss_of(layer, leaves, **options):
    """A random sum of all that a layer returns."""
    return torch.stack(list(losses(layer, leaves, **options).values())).sum()


@everywhere
def test_each_gradient_alone_is_the_one_among_all(cell, engine):
    layer = random_layer(cell, engine, 17)
    every = leaves_of(layer)
    for lengths in (None, LENGTHS):
        gradients = torch.autograd.grad(loss_of(layer, every, lengths=lengths), list(every.values()))
        expected = dict(zip(every, gradients, strict=True))
        for name, leaf in every.items():
            for other in every.values():
                other.requires_grad_(other is leaf)
            (found,) = torch.autograd.grad(loss_of(layer, every, lengths=lengths), leaf)
            assert_agree({name: found}, {name: expected[name]}, 1e-12)
        for leaf in every.values():
            leaf.requires_grad_()


@everywhere
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=str)
def test_a_loss_of_one_returned_value(cell, engine, lengths):
    """The output alone, or one of the final states alone."""
    layer, reference = (random_layer(cell, e, 17, bidirectional=True) for e in (engine, "eager"))
    found = []
    for each in (layer, reference):
        leaves = leaves_of(each)
        by_value = {}
        for name, loss in losses(each, leaves, lengths=lengths).items():
            grads = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True, allow_unused=True)
            for leaf, grad in zip(leaves.items(), grads, strict=True):
                by_value[f"d {name} / d {leaf[0]}"] = torch.zeros_like(leaf[1]) if grad is None else grad
        found.append(by_value)
    assert_agree(*found, 1e-10)  # type: ignore


@everywhere
def test_a_second_backward_pass_gives_the_same_bits(cell, engine):
    layer = random_layer(cell, engine, 17)
    leaves = leaves_of(layer)
    loss = loss_of(layer, leaves, lengths=LENGTHS)
    first = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True)
    everything(layer, random_input(9, 3), random_states(layer, 3))  # another call in between
    second = torch.autograd.grad(loss, list(leaves.values()), retain_graph=True)
    third = torch.autograd.grad(loss, list(leaves.values()))
    for one, two, three in zip(first, second, third, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, list(leaves.values()))


@natively
def test_a_weight_changed_in_between_is_noticed(cell, engine):
    layer = random_layer(cell, engine, 5)
    output, _ = layer(random_input(T, B))
    with torch.no_grad():
        next(layer.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@natively
@pytest.mark.parametrize("loss", [torch.sum, lambda output: output.square().sum()], ids=["linear", "square"])
def test_a_second_derivative_is_refused(cell, engine, loss):
    """Also where the loss is linear in the output: what then reaches the layer has no gradient of its own."""
    layer = random_layer(cell, engine, 5)
    x = random_input(T, B).requires_grad_()
    output, _ = layer(x)
    (gradient,) = torch.autograd.grad(loss(output), x, create_graph=True)
    penalised = output.sum() + gradient.square().sum()
    for inputs in ([x], [next(layer.parameters())]):
        with pytest.raises(RuntimeError, match="differentiate twice"):
            torch.autograd.grad(penalised, inputs, retain_graph=True, allow_unused=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        penalised.backward()


@natively
def test_the_gradient_of_a_gradient_by_its_cotangent_is_refused(cell, engine):
    """By which some compute the derivative forwards: a product with the Jacobian from two with its transpose."""
    layer = random_layer(cell, engine, 5)
    x = random_input(T, B).requires_grad_()
    output, _ = layer(x)
    cotangent = torch.zeros_like(output).requires_grad_()
    (gradient,) = torch.autograd.grad(output, x, cotangent, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        torch.autograd.grad(gradient, cotangent, torch.ones_like(gradient))


@natively
def test_a_second_derivative_is_refused_with_frozen_weights(cell, engine):
    layer = random_layer(cell, engine, 5).requires_grad_(False)
    with pytest.raises((RuntimeError, AssertionError), match="differentiate twice"):
        torch.autograd.gradgradcheck(lambda x: layer(x)[0], random_input(3, 2).requires_grad_())


@natively
def test_forward_mode_is_refused(cell, engine):
    layer = random_layer(cell, engine, 5)
    x = random_input(T, B)
    with pytest.raises(gatewise.UserError, match="forward-mode"), torch.autograd.forward_ad.dual_level():
        layer(torch.autograd.forward_ad.make_dual(x, x))


@pytest.fixture
def kept(monkeypatch):
    """For each call of a kernel, the memory that it has written to for a backward pass."""
    found: list[list[weakref.ref]] = []
    forward = Kernel.forward

    def watched(self, values):
        stored = [values.get(name) for name in ("history", "kept", "panels")]
        found.append([weakref.ref(value.untyped_storage()) for value in stored if value is not None and value.numel()])
        return forward(self, values)

    monkeypatch.setattr(Kernel, "forward", watched)
    return found


@natively
def test_nothing_is_kept_where_no_gradient_can_be_asked_for(cell, engine, kept):
    layer = random_layer(cell, engine, 17, num_layers=2, bidirectional=True)
    x, states = random_input(T, B), random_states(layer, B)
    expected = run(layer, x, states)
    assert len(kept) == 4
    assert all(kept)
    kept.clear()
    with torch.no_grad():
        answers = [run(layer, x, states), run(layer, x.clone().requires_grad_(), states)]
    with torch.inference_mode():
        answers.append(run(layer, x, states))
    layer.requires_grad_(False)
    answers.append(run(layer, x, states))
    assert kept == [[]] * 16
    for answer in answers:
        for value, same in zip(answer, expected, strict=True):
            assert torch.equal(value, same)
    kept.clear()
    run(layer, x.requires_grad_(), states)
    assert all(kept)


@natively
def test_what_was_kept_is_freed_with_the_graph(cell, engine, kept):
    layer = random_layer(cell, engine, 17)
    loss = layer(random_input(T, B))[0].sum()
    assert all(storage() is not None for call in kept for storage in call)
    loss.backward()
    layer(random_input(T, B))
    assert len(kept) == 2
    assert all(storage() is None for call in kept for storage in call)


@natively
def test_an_inference_tensor_is_an_input(cell, engine):
    layer = random_layer(cell, engine, 5)
    x = random_input(T, B)
    with torch.inference_mode():
        inside = x.clone()
        answer = layer(inside)[0]
    assert torch.equal(answer, layer(x)[0])
    with torch.no_grad():
        assert torch.equal(layer(inside)[0], answer)


@pytest.mark.parametrize("name", ["Vanishing", "NoWeights", "PassedThrough", "SameResult", "NoProduct"])
@pytest.mark.parametrize("engine", ["native"])
def test_each_gradient_alone_of_cells_that_have_no_use_for_some(name, engine, native):
    layer, reference = (random_layer(MADE_UP[name], e, 5) for e in (engine, "eager"))
    for lengths in (None, LENGTHS):
        for wanted in leaves_of(layer):
            found = []
            for each in (layer, reference):
                leaves = leaves_of(each)
                for leaf, value in leaves.items():
                    value.requires_grad_(leaf == wanted)
                total = loss_of(each, leaves, lengths=lengths)
                grad = torch.autograd.grad(total, leaves[wanted], allow_unused=True)[0] if total.requires_grad else None
                found.append({wanted: torch.zeros_like(leaves[wanted]) if grad is None else grad})
                each.requires_grad_()
            assert_agree(*found, 1e-12)  # type: ignore
