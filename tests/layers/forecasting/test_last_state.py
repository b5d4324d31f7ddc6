"""What a layer ended in, whichever way it is read."""

import pytest
import torch

from gatewise import Recurrent
from gatewise.layers.forecasting.model import last_state


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    ("cell", "sizes"),
    [("gru", 4), (["gru", "gru"], [4, 4]), ("lstm", 4), (["lstm", "lstm"], [4, 4]), (["gru", "lstm"], [4, 4])],
)
def test_is_each_directions_last_output_with_its_gradient(cell, sizes, bidirectional, residual):
    layers = len(sizes) if isinstance(sizes, list) else 1
    layer = Recurrent(cell, 3, sizes, layers, bidirectional=bidirectional, residual=residual and layers > 1).double()
    x = torch.randn(6, 5, 3, dtype=torch.double, requires_grad=True)
    output, final = layer(x)
    forward, backward = output[-1, :, :4], output[0, :, 4:]
    wanted = torch.cat([forward, backward], -1) if bidirectional else forward
    found = last_state(layer, output, final)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    weight = torch.randn_like(found)
    inputs = [x, *layer.parameters()]
    for one, other in zip(
        torch.autograd.grad((found * weight).sum(), inputs, retain_graph=True),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
