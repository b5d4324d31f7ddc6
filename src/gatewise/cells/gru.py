"""The gated recurrent unit, with the reset gate on either side of the recurrent product."""

from __future__ import annotations

import torch

from gatewise.cells.cell import Cell
from gatewise.cells.registry import register


@register("gru")
class GRU(Cell):
    """Gated recurrent unit, reset after the recurrent product: the form of PyTorch and cuDNN.

    r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r)
    z = σ(W_z x_t + b_z + U_z h_{t-1} + b'_z)
    n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t-1} + b'_n))
    h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}
    """

    gates = ("r", "z", "n")
    paper = "Cho et al. 2014, arXiv:1406.1078v1; as in cuDNN"

    def step(self, x, u, h):
        r = torch.sigmoid(x.r + u.r(h))
        z = torch.sigmoid(x.z + u.z(h))
        n = torch.tanh(x.n + r * u.n(h))
        return (1 - z) * n + z * h


@register("gru-before")
class GRUBefore(Cell):
    """Gated recurrent unit, reset before the recurrent product: the form of Cho et al. 2014 and of the textbook.

    r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r)
    z = σ(W_z x_t + b_z + U_z h_{t-1} + b'_z)
    n = tanh(W_n x_t + b_n + U_n (r ⊙ h_{t-1}) + b'_n)
    h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}
    """

    gates = ("r", "z", "n")
    paper = "Cho et al. 2014, arXiv:1406.1078; Zhang et al., Dive into Deep Learning, chapter 10.2"

    def step(self, x, u, h):
        r = torch.sigmoid(x.r + u.r(h))
        z = torch.sigmoid(x.z + u.z(h))
        n = torch.tanh(x.n + u.n(r * h))
        return (1 - z) * n + z * h
