"""Several numbers for one value, from the lowest up."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def increasing(raw: Tensor) -> Tensor:
    """Numbers in rising order along the last axis, whatever ``raw`` is: quantiles that cannot cross.

    The middle one is raw itself, c = q // 2: y_c = r_c. Upwards each is y_j = y_{j-1} + softplus(r_j), downwards
    y_j = y_{j+1} − softplus(r_j). A single number stays what it is.

    Shapes:
        (..., q) -> (..., q)

    >>> increasing(torch.tensor([0.0, 3.0, 0.0]))
    tensor([2.3069, 3.0000, 3.6931])
    """
    count = raw.shape[-1]
    if count == 1:
        return raw
    centre = count // 2
    middle = raw[..., centre : centre + 1]
    gaps = F.softplus(raw)
    below = gaps[..., :centre].flip(-1).cumsum(-1).flip(-1)
    above = gaps[..., centre + 1 :].cumsum(-1)
    return torch.cat([middle - below, middle, middle + above], -1)


def middle(values: Tensor) -> Tensor:
    """The one in the middle, (..., q) -> (...): the point that stands for all."""
    count = values.shape[-1]
    return values.squeeze(-1) if count == 1 else values[..., count // 2]
