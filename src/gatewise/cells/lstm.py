"""Long short-term memory, with and without peepholes."""

from __future__ import annotations

import torch

from gatewise.cells.cell import Cell
from gatewise.cells.registry import register


@register("lstm")
class LSTM(Cell):
    """Long short-term memory with a forget gate (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    i = σ(W_i x_t + b_i + U_i h_{t-1} + b'_i)
    f = σ(W_f x_t + b_f + U_f h_{t-1} + b'_f)
    g = tanh(W_g x_t + b_g + U_g h_{t-1} + b'_g)
    o = σ(W_o x_t + b_o + U_o h_{t-1} + b'_o)
    c_t = f ⊙ c_{t-1} + i ⊙ g
    h_t = o ⊙ tanh(c_t)
    """

    gates = ("i", "f", "g", "o")
    states = ("h", "c")
    paper = "Hochreiter, Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; Gers et al. 2000"

    def step(self, x, u, h, c):
        i = torch.sigmoid(x.i + u.i(h))
        f = torch.sigmoid(x.f + u.f(h))
        g = torch.tanh(x.g + u.g(h))
        o = torch.sigmoid(x.o + u.o(h))
        c = f * c + i * g
        h = o * torch.tanh(c)
        return h, c


@register("lstm-peephole")
class PeepholeLSTM(Cell):
    """LSTM whose gates see the cell state (Gers, Schraudolph and Schmidhuber 2002); i and f the old one, o the new one.

    i = σ(W_i x_t + b_i + U_i h_{t-1} + b'_i + p_i ⊙ c_{t-1})
    f = σ(W_f x_t + b_f + U_f h_{t-1} + b'_f + p_f ⊙ c_{t-1})
    g = tanh(W_g x_t + b_g + U_g h_{t-1} + b'_g)
    c_t = f ⊙ c_{t-1} + i ⊙ g
    o = σ(W_o x_t + b_o + U_o h_{t-1} + b'_o + p_o ⊙ c_t)
    h_t = o ⊙ tanh(c_t)
    """

    gates = ("i", "f", "g", "o")
    states = ("h", "c")
    paper = "Gers, Schraudolph, Schmidhuber 2002, jmlr.org/papers/v3/gers02a.html"

    def step(self, x, u, h, c):
        i = torch.sigmoid(x.i + u.i(h) + u.diag.i(c))
        f = torch.sigmoid(x.f + u.f(h) + u.diag.f(c))
        g = torch.tanh(x.g + u.g(h))
        c = f * c + i * g
        o = torch.sigmoid(x.o + u.o(h) + u.diag.o(c))
        h = o * torch.tanh(c)
        return h, c
