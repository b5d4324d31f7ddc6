"""How alike two frames look: the structural similarity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 11
"""Pixels of the window's side; smaller frames have no similarity."""

_SIGMA, _C1, _C2 = 1.5, 0.01**2, 0.03**2


def ssim(one: Tensor, other: Tensor) -> Tensor:
    """Structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004, doi:10.1109/TIP.2003.819861).

    SSIM = mean of (2 μ_x μ_y + c₁)(2 σ_xy + c₂) / ((μ_x² + μ_y² + c₁)(σ_x² + σ_y² + c₂)) over all places of a window of
    11 x 11 pixels that lies within the frame, the means and (co)variances weighted by a Gaussian of σ = 1.5;
    c₁ = 0.01², c₂ = 0.03². 1 is the same frame; frames of several channels have the mean over them.

    Args:
        one: (..., C, height, width), 0 to 1.
        other: likewise.

    Returns:
        (...), NaN for frames smaller than the window.

    Example:
        >>> frame = torch.rand(1, 16, 16)
        >>> round(ssim(frame, frame).item(), 6), ssim(frame, 1 - frame).item() < 0
        (1.0, True)
    """
    lead, (height, width) = one.shape[:-3], one.shape[-2:]
    if min(height, width) < WINDOW:
        return one.new_full(lead, torch.nan)
    place = torch.arange(WINDOW, dtype=one.dtype, device=one.device) - WINDOW // 2
    weights = torch.softmax(-(place**2) / (2 * _SIGMA**2), 0)

    def blurred(values: Tensor) -> Tensor:
        rows = F.conv2d(values.reshape(-1, 1, height, width), weights.reshape(1, 1, -1, 1))
        return F.conv2d(rows, weights.reshape(1, 1, 1, -1))

    mean_x, mean_y = blurred(one), blurred(other)
    var_x, var_y = blurred(one * one) - mean_x**2, blurred(other * other) - mean_y**2
    cov = blurred(one * other) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + _C1) * (2 * cov + _C2) / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    return alike.reshape(*lead, -1).mean(-1)
