"""A causal, dilated convolution over time, ReLU and dropout of channels, in one pass over memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_AT_ONCE = 1 << 18
"""Numbers of a slice of time: what is multiplied several times stays in the cache in between."""


def causal_relu(x: Tensor, kernel: Tensor, bias: Tensor, dilation: int, kept: Tensor | None = None) -> Tensor:
    """m ReLU(C * x), where (C * x)_t = Σ_i C_i x_{t - d i} + b, i = 0 ... κ − 1: zero before the start.

    Time is the first axis: the steps t − d i of a slice of time are then a slice of the same memory, d i steps before,
    and the convolution is κ matrix products of what lies there as it is. Differentiable once.

    Args:
        x: (T, B, I).
        kernel: (C, I, κ), with C_0, that of the present step, last, as ``torch.nn.Conv1d`` has it.
        bias: (C,).
        dilation: d.
        kept: m, (B, C): zero for a channel that is dropped; None is 1 throughout.

    Returns:
        (T, B, C).

    >>> x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
    >>> causal_relu(x, torch.tensor([[[10.0, 1.0]]]), torch.zeros(1), dilation=2).flatten().tolist()
    [1.0, 2.0, 13.0, 24.0]
    """
    return _CausalReLU.apply(x, kernel, bias, dilation, kept)  # type: ignore[no-any-return]


class _CausalReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, bias: Tensor, dilation: int, kept: Tensor | None) -> Tensor:
        x, taps = x.contiguous(), _taps(kernel)
        y = x.new_empty(*x.shape[:2], len(kernel))
        for start, end in _slices(y):
            torch.addmm(bias, _rows(x, start, end), taps[0].t(), out=_rows(y, start, end))
            for i in range(1, len(taps)):
                first, before = max(start, dilation * i), dilation * i
                if first < end:
                    rows = _rows(y, first, end)
                    torch.addmm(rows, _rows(x, first - before, end - before), taps[i].t(), out=rows)
            part = y[start:end].relu_()
            if kept is not None:
                part *= kept
        ctx.save_for_backward(x, kernel, y, kept)
        ctx.dilation = dilation
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:  # type: ignore[override]
        x, kernel, y, kept = ctx.saved_tensors
        dilation, taps, dy = ctx.dilation, _taps(kernel), dy.contiguous()
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        d_taps, d_bias = torch.zeros_like(taps), x.new_zeros(len(kernel))
        for start, end in _slices(y):
            dz = dy[start:end] * y[start:end].sign()  # y is never below 0, and 0 too where the channel is dropped
            if kept is not None:
                dz *= kept
            d_bias += dz.sum((0, 1))
            for i in range(len(taps)):
                first, before = max(start, dilation * i), dilation * i
                if first >= end:
                    break
                rows = _rows(dz, first - start, end - start)
                torch.addmm(d_taps[i], rows.t(), _rows(x, first - before, end - before), out=d_taps[i])
                if dx is not None:  # the rows of steps before this slice have their first term already
                    into = _rows(dx, first - before, end - before)
                    torch.addmm(into, rows, taps[i], beta=int(i > 0), out=into)
        return dx, d_taps.permute(1, 2, 0).flip(-1), d_bias, None, None


def _taps(kernel: Tensor) -> Tensor:
    """(C, I, κ) -> (κ, C, I), that of the present step first, a matrix after the other in memory."""
    return kernel.flip(-1).permute(2, 0, 1).contiguous()


def _rows(values: Tensor, start: int, end: int) -> Tensor:
    """A slice of time, (T, B, F) -> (steps B, F), without a copy."""
    return values[start:end].view(-1, values.shape[-1])


def _slices(y: Tensor) -> Iterator[tuple[int, int]]:
    steps = max(1, _AT_ONCE // max(1, y.shape[1] * y.shape[2]))
    return ((start, min(start + steps, len(y))) for start in range(0, len(y), steps))
