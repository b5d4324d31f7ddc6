"""The temporal convolutional network: causal, and it sees exactly as far as it says."""

from typing import Any

import pytest
import torch

from gatewise import UserError
from gatewise.layers.tcn import TCN


@pytest.mark.parametrize(("levels", "kernel"), [(1, 2), (2, 3), (3, 2)])
def test_an_output_depends_on_its_own_step_and_the_receptive_field_before_it(levels, kernel):
    network = TCN(2, 6, levels, kernel).double()
    for weight in network.parameters():
        torch.nn.init.uniform_(weight, 0.1, 1.0)  # nothing is cut by ReLU, nothing cancels
    steps = network.receptive_field + 4
    x = torch.rand(steps, 1, 2, dtype=torch.float64, requires_grad=True)
    output = network(x)
    for t in range(steps):
        (gradient,) = torch.autograd.grad(output[t].sum(), x, retain_graph=True)
        seen = gradient.abs().sum((1, 2)) > 0
        first = max(0, t - network.receptive_field + 1)
        assert seen.tolist() == [first <= step <= t for step in range(steps)]


def test_dropout_is_of_whole_channels():
    network: Any = TCN(2, 8, 1, dropout=0.5)
    seen = []
    network.blocks[0].dropout.register_forward_hook(lambda layer, given, output: seen.append((given[0], output)))
    network(torch.rand(9, 3, 2) + 1)
    assert len(seen) == 2
    for given, output in seen:
        alive = given.abs().sum(-1) > 0
        kept = output.abs().sum(-1) > 0
        assert 0 < (kept & alive).sum() < alive.sum()
        torch.testing.assert_close(output[kept], 2 * given[kept])


@pytest.mark.parametrize(
    ("key", "value", "least"), [("channels", 0, 1), ("levels", 1.5, 1), ("kernel_size", 1, 2), ("levels", True, 1)]
)
def test_sizes_are_whole_numbers(key, value, least):
    sizes = {"channels": 4, "levels": 2, "kernel_size": 3, key: value}
    with pytest.raises(UserError, match=f"{key}: want a whole number from {least} up, got {value!r}"):
        TCN(2, **sizes)
