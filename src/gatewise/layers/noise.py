"""What is drawn anew for every call while training: masks, and recurrent matrices with entries dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.cells import Mask
from gatewise.engines import Weights
from gatewise.layers.shapes import LayerShape


def with_noise(
    weights: Sequence[Sequence[Weights]], shapes: Sequence[LayerShape], x: Tensor, weight_drop: float
) -> tuple[tuple[Weights, ...], ...]:
    """The weights with what is drawn for a call on x (T, B, ...), for each of its pixels where it has any.

    The numbers come from PyTorch's generator, in one order whatever engine runs: the same seed, the same noise.
    """
    steps, batch = x.shape[:2]

    def noisy(one: Weights, layer: LayerShape) -> Weights:
        matrix = one.recurrent
        if weight_drop and matrix is not None:
            matrix = F.dropout(matrix, weight_drop)

        def drawn(mask: Mask) -> Tensor:
            shape = (steps if mask.per_step else 1, batch, *x.shape[2:-1], layer.hidden_size)
            return torch.empty(shape, dtype=torch.bool, device=x.device).bernoulli_(mask.keep)

        return replace(one, recurrent=matrix, masks=tuple(map(drawn, layer.cell.masks.values())))

    layers = zip(weights, shapes, strict=True)
    return tuple(tuple(noisy(one, layer) for one in directions) for directions, layer in layers)
