"""The convolution over time against ``torch.nn.functional.conv1d``: values, and every gradient."""

import pytest
import torch
import torch.nn.functional as F

from gatewise.layers import causal
from gatewise.layers.causal import causal_relu

T, B, I, C = 13, 3, 2, 5


def operands(kernel_size, kept):
    generator = torch.Generator().manual_seed(kernel_size)
    shapes = {"x": (T, B, I), "kernel": (C, I, kernel_size), "bias": (C,)}
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes.values()]
    mask = (torch.rand(B, C, generator=generator) < 0.6).double() / 0.6 if kept else None
    return [value.requires_grad_() for value in drawn], mask


def convolved_by_torch(x, kernel, bias, dilation, kept):
    padded = F.pad(x.permute(1, 2, 0), ((kernel.shape[-1] - 1) * dilation, 0))
    y = torch.relu(F.conv1d(padded, kernel, bias, dilation=dilation)).permute(2, 0, 1)
    return y if kept is None else y * kept


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("at_once", [1, 4 * B * C, 1 << 18], ids=["a step", "four steps", "all steps"])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(2, 1), (3, 2), (4, 3), (3, 7), (2, 40)])
def test_is_conv1d_with_zeros_before_the_start(kernel_size, dilation, at_once, kept, monkeypatch):
    monkeypatch.setattr(causal, "_AT_ONCE", at_once)
    given, mask = operands(kernel_size, kept)
    x, kernel, bias = given
    found, wanted = (run(x, kernel, bias, dilation, mask) for run in (causal_relu, convolved_by_torch))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    for one, other in zip(*(torch.autograd.grad(y, given, direction) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_the_rows_may_lie_anyhow_in_memory():
    (x, kernel, bias), _ = operands(3, kept=False)
    turned = x.detach().permute(2, 1, 0).contiguous().permute(2, 1, 0).requires_grad_()
    found, wanted = (causal_relu(given, kernel, bias, 2).square().sum() for given in (turned, x))
    assert not turned.is_contiguous()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(found, turned)[0], torch.autograd.grad(wanted, x)[0], rtol=0, atol=1e-12
    )


def test_nothing_is_asked_of_an_input_without_gradient():
    (x, kernel, bias), _ = operands(3, kept=False)
    causal_relu(x.detach(), kernel, bias, 2).sum().backward()
    assert x.grad is None
    assert kernel.grad is not None


def test_the_gradient_may_lie_anyhow_in_memory():
    given, _ = operands(3, kept=False)
    x, kernel, bias = given

    def gradients(y):
        turned = y.transpose(0, 1).contiguous()  # whose gradient comes turned too
        return torch.autograd.grad(turned.square().sum(), given)

    for found, wanted in zip(
        gradients(causal_relu(x, kernel, bias, 2)), gradients(convolved_by_torch(x, kernel, bias, 2, None)), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_no_step_has_no_output():
    assert causal_relu(torch.zeros(0, 2, 3), torch.zeros(4, 3, 2), torch.zeros(4), 1).shape == (0, 2, 4)
