"""Between the gated recurrent unit and long short-term memory: the one with a part of the other."""

from __future__ import annotations

import torch

from gatewise.cells.cell import Cell
from gatewise.cells.registry import register


@register("gru-memory-cell")
class MemoryCellGRU(Cell):
    """Gated recurrent unit with a memory cell, a tutorial's form, reset before: the output is the tanh of the memory.

    r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r)
    z = σ(W_z x_t + b_z + U_z h_{t-1} + b'_z)
    n = tanh(W_n x_t + b_n + U_n (r ⊙ h_{t-1}) + b'_n)
    c_t = z ⊙ c_{t-1} + (1 − z) ⊙ n
    h_t = tanh(c_t)

    c_t lies between c_{t-1} and n, so |c_0| ≤ 1 keeps |c_t| ≤ 1 and |h_t| ≤ tanh 1 = 0.76.
    """

    gates = ("r", "z", "n")
    states = ("h", "c")
    paper = "a tutorial's form of Cho et al. 2014, arXiv:1406.1078"

    def step(self, x, u, h, c):
        r = torch.sigmoid(x.r + u.r(h))
        z = torch.sigmoid(x.z + u.z(h))
        n = torch.tanh(x.n + u.n(r * h))
        c = z * c + (1 - z) * n
        return torch.tanh(c), c


@register("forget-gate-gru")
class ForgetGateGRU(Cell):
    """Gated recurrent unit with a forget gate of its own: the "LSTM-GRU" of a tutorial.

    r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r)
    z = σ(W_z x_t + b_z + U_z h_{t-1} + b'_z)
    f = σ(W_f x_t + b_f + U_f h_{t-1} + b'_f)
    n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t-1} + b'_n))
    h_t = f ⊙ h_{t-1} + z ⊙ n

    z opens towards the candidate, against ``gru``, which is the case z ↦ 1 − z, f = z.
    """

    gates = ("r", "z", "f", "n")
    paper = (
        "a tutorial's form of Cho et al. 2014, arXiv:1406.1078, and Gers et al. 2000, doi:10.1162/089976600300015015"
    )

    def step(self, x, u, h):
        r = torch.sigmoid(x.r + u.r(h))
        z = torch.sigmoid(x.z + u.z(h))
        f = torch.sigmoid(x.f + u.f(h))
        n = torch.tanh(x.n + r * u.n(h))
        return f * h + z * n


@register("cifg")
class CoupledLSTM(Cell):
    """LSTM with coupled input and forget gates (Greff et al. 2017): it forgets as much as it takes in.

    i = σ(W_i x_t + b_i + U_i h_{t-1} + b'_i)
    g = tanh(W_g x_t + b_g + U_g h_{t-1} + b'_g)
    o = σ(W_o x_t + b_o + U_o h_{t-1} + b'_o)
    c_t = (1 − i) ⊙ c_{t-1} + i ⊙ g
    h_t = o ⊙ tanh(c_t)

    The paper's peepholes are left out.
    """

    gates = ("i", "g", "o")
    states = ("h", "c")
    paper = "Greff et al. 2017, arXiv:1503.04069"

    def step(self, x, u, h, c):
        i = torch.sigmoid(x.i + u.i(h))
        g = torch.tanh(x.g + u.g(h))
        o = torch.sigmoid(x.o + u.o(h))
        c = (1 - i) * c + i * g
        return o * torch.tanh(c), c
