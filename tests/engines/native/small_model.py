"""A model with a layer on the native engine, and what the tests of the operator compare of it."""

import torch
from torch import nn

import gatewise

T, B, I, H = 4, 3, 5, 7


class Model(nn.Module):
    """A layer with something before and after it."""

    def __init__(self, cell: str = "gru", **options) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(4, I)
        self.layer = gatewise.Recurrent(cell, I, H, engine="native", **options)
        self.after = nn.Linear(self.layer.output_size, 2)

    def forward(self, x, state=None):
        output, state = self.layer(self.before(x), state)
        return self.after(torch.relu(output)), state


def tensors(value):
    return [value] if isinstance(value, torch.Tensor) else [t for item in value for t in tensors(item)]


def answer(model, *inputs):
    """What a model returns and every gradient of the sum of its squares."""
    inputs = [value.detach().clone() for value in inputs]
    wanted = [value.requires_grad_() for value in inputs if value.is_floating_point()]
    returned = tensors(model(*inputs))
    loss = torch.stack([value.square().sum() for value in returned]).sum()
    return [*returned, *torch.autograd.grad(loss, [*wanted, *model.parameters()], allow_unused=True)]


def same(actual, expected):
    for value, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6)
