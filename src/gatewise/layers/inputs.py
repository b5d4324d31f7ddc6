"""What an input says of itself, in the form in which a layer takes it."""

from __future__ import annotations

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def steps_and_rows(x: Tensor | PackedSequence, batch_first: bool, dims: int = 0) -> tuple[int, int]:
    """T and B of an input as a layer takes it, with so many axes of pixels.

    >>> import torch
    >>> steps_and_rows(torch.zeros(2, 7, 3), batch_first=True)
    (7, 2)
    """
    if isinstance(x, PackedSequence):
        return len(x.batch_sizes), int(x.batch_sizes[0])
    if x.dim() < (3 + dims if x.is_floating_point() else 2):
        return x.shape[0], 1
    return (x.shape[1], x.shape[0]) if batch_first else (x.shape[0], x.shape[1])
