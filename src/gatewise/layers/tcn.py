"""A temporal convolutional network: causal, dilated, residual."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from gatewise.errors import UserError
from gatewise.layers.causal import causal_relu


class CausalBlock(nn.Module):
    """Two causal convolutions and a way past them (Bai, Kolter and Koltun 2018, arXiv:1803.01271, figure 1b).

        F(x) = dropout(ReLU(C_2 * dropout(ReLU(C_1 * x)))),   y = ReLU(F(x) + R x)

    (C * x)_t = Σ_i C_i x_{t - d i} + b, i = 0 ... κ − 1: zero before the start, nothing after t. The kernels are of
    normalised weights, C = g V / ‖V‖ for each channel; dropout is of whole channels. R is a matrix where x has another
    number of channels than y, else it is left out.

    Shapes:
        (T, B, I) -> (T, B, C).
    """

    first: Any  # a torch.nn.Conv1d, for its normalised weights alone
    second: Any

    def __init__(self, inputs: int, channels: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self._dilation = dilation
        self.first, self.second = (weight_norm(nn.Conv1d(size, channels, kernel_size)) for size in (inputs, channels))
        self.dropout = nn.Dropout1d(dropout)
        self.past = nn.Linear(inputs, channels) if inputs != channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for convolution in (self.first, self.second):
            kept = self._kept(y, convolution.out_channels)
            y = causal_relu(y, convolution.weight, convolution.bias, self._dilation, kept)
        return (y + self.past(x)).relu_()

    def _kept(self, x: Tensor, channels: int) -> Tensor | None:
        """What the channels of each row are multiplied by, (B, C)."""
        if not (self.training and self.dropout.p):
            return None
        return self.dropout(x.new_ones(x.shape[1], channels, 1)).squeeze(-1)


class TCN(nn.Module):
    """Blocks over blocks, each of twice the dilation: 1, 2, 4, ... (Bai, Kolter and Koltun 2018, arXiv:1803.01271).

    An output sees its own step and the :attr:`receptive_field` − 1 before it: 1 + 2 (κ − 1) (2^levels − 1) in all.
    It can be differentiated once: a second derivative is refused, as are the transforms of ``torch.func``.

    Args:
        input_size: features of the input, I.
        channels: of every block, C.
        levels: blocks.
        kernel_size: steps of a kernel, κ.
        dropout: of whole channels, while training.

    Shapes:
        (T, B, I) -> (T, B, C).

    Raises:
        UserError: a number that is not whole, or below 1 (κ: 2).

    Example:
        >>> import torch
        >>> network = TCN(input_size=3, channels=8, levels=4, kernel_size=3)
        >>> network(torch.zeros(20, 5, 3)).shape, network.receptive_field
        (torch.Size([20, 5, 8]), 61)
    """

    def __init__(
        self, input_size: int, channels: int, levels: int, kernel_size: int = 3, dropout: float = 0.0
    ) -> None:  # fmt: skip
        super().__init__()
        given = {"channels": (channels, 1), "levels": (levels, 1), "kernel_size": (kernel_size, 2)}
        for name, (number, least) in given.items():
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise UserError(f"{name}: want a whole number from {least} up, got {number!r}")
        self.receptive_field = 1 + 2 * (kernel_size - 1) * (2**levels - 1)
        sizes = [input_size, *[channels] * (levels - 1)]
        self.blocks = nn.Sequential(
            *(CausalBlock(size, channels, kernel_size, 2**level, dropout) for level, size in enumerate(sizes))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def levels_for(steps: int, kernel_size: int) -> int:
    """The fewest levels whose receptive field is so many steps.

    >>> levels_for(61, 3), levels_for(62, 3), levels_for(1, 3)
    (4, 5, 1)
    """
    levels = 1
    while 1 + 2 * (kernel_size - 1) * (2**levels - 1) < steps:
        levels += 1
    return levels
