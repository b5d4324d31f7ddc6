"""Convolutions in the place of matrix products: the same equations on pictures, or on rows of points."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

NOT_CONVOLVED = "only 'eager' convolves"
"""What every other engine answers."""

_CONVOLVE = {1: F.conv1d, 2: F.conv2d}


@dataclass(frozen=True)
class Convolution:
    """(W * v + b) with as many pixels out as in; ``*`` is torch's convolution, which does not flip the kernel.

    The channels are the last axis, as the units are everywhere: a cell's lines do not change. In memory that is the
    layout in which PyTorch convolves fastest on a CPU.

    Attributes:
        dims: axes of a picture, 1 or 2.
        padding_mode: what stands around a picture, as in ``torch.nn.Conv2d``.
    """

    dims: int
    padding_mode: str = "zeros"

    def __call__(self, value: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """(..., pixels, I) -> (..., pixels, O), with a kernel (O, I, odd sizes)."""
        pixels = value.shape[-1 - self.dims : -1]
        pictures = value.reshape(-1, *value.shape[-1 - self.dims :]).movedim(-1, 1)
        around = [size // 2 for size in kernel.shape[2:]]
        if self.padding_mode == "zeros":
            result = _CONVOLVE[self.dims](pictures, kernel, bias, padding=around)
        else:
            sides = [side for size in reversed(around) for side in (size, size)]
            result = _CONVOLVE[self.dims](F.pad(pictures, sides, self.padding_mode), kernel, bias)
        return result.movedim(1, -1).reshape(*value.shape[: -1 - self.dims], *pixels, len(kernel))
