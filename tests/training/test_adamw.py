"""AdamW against PyTorch's, bit for bit."""

import copy

import pytest
import torch

from gatewise.training.adamw import AdamW


def made(kind, weights, **options):
    matrices, vectors = [p for p in weights if p.dim() > 1], [p for p in weights if p.dim() == 1]
    return kind([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], 1e-2, **options)


def weights():
    generator = torch.Generator().manual_seed(3)
    return [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in ((5, 4), (7,), (2, 3), (1,))]


def take_steps(optimizer, ours, count, begin=0, without=()):
    for number in range(begin, begin + count):
        generator = torch.Generator().manual_seed(number)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 / (1 + number)
        for place, weight in enumerate(ours):
            weight.grad = None if (number, place) in without else torch.randn(weight.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("without", [(), {(0, 1)}, {(3, 2)}, {(number, 3) for number in range(12)}])
def test_steps_are_those_of_pytorch(without):
    ours, theirs = weights(), weights()
    options = {"betas": (0.9, 0.99), "weight_decay": 0.3}
    take_steps(made(AdamW, ours, **options), ours, 12, without=without)
    take_steps(made(torch.optim.AdamW, theirs, **options, fused=True), theirs, 12, without=without)
    assert all(map(torch.equal, ours, theirs))


def test_goes_on_from_a_saved_state_and_its_state_is_that_of_pytorch():
    ours, theirs = weights(), weights()
    first, other = made(AdamW, ours), made(torch.optim.AdamW, theirs, fused=True)
    take_steps(first, ours, 3)
    take_steps(other, theirs, 3)
    saved = copy.deepcopy(first.state_dict())
    for place, slots in other.state_dict()["state"].items():
        assert all(torch.equal(value, saved["state"][place][name]) for name, value in slots.items())
    take_steps(first, ours, 4, begin=50)  # what is restored must not be what these left
    with torch.no_grad():
        for weight, wanted in zip(ours, theirs, strict=True):
            weight.copy_(wanted)
    first.load_state_dict(saved)
    take_steps(first, ours, 3, begin=3)
    take_steps(other, theirs, 3, begin=3)
    assert all(map(torch.equal, ours, theirs))


def test_copies_added_groups_and_a_state_that_was_cleared_are_as_with_pytorch():
    found = []
    for kind in (AdamW, torch.optim.AdamW):
        ours, more = weights(), weights()
        optimizer = made(kind, ours, **({} if kind is AdamW else {"fused": True}))
        take_steps(optimizer, ours, 3)
        optimizer.add_param_group({"params": more})
        take_steps(optimizer, [*ours, *more], 3, begin=3)
        optimizer.state.clear()
        take_steps(optimizer, [*ours, *more], 2, begin=6)
        again = copy.deepcopy(optimizer)
        copied = [weight for group in again.param_groups for weight in group["params"]]
        take_steps(again, copied, 2, begin=8)
        found.append([*ours, *more, *copied])
    assert all(map(torch.equal, *found))
