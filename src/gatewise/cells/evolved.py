"""The three units that an evolutionary search over ten thousand architectures found beside the GRU.

z opens towards the candidate, against ``gru``.
"""

from __future__ import annotations

import torch

from gatewise.cells.cell import Cell
from gatewise.cells.registry import register


@register("mut1")
class MUT1(Cell):
    """MUT1 (Jozefowicz, Zaremba and Sutskever 2015): the update gate sees the input alone.

    z = σ(W_z x_t + b_z)
    r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r)
    n = tanh(U_n (r ⊙ h_{t-1}) + b'_n + tanh(W_n x_t + b_n))
    h_t = z ⊙ n + (1 − z) ⊙ h_{t-1}

    The paper has tanh(x_t) in n, for an input of H features; the projection stands in its place.
    """

    gates = ("r", "z", "n")
    paper = "Jozefowicz et al. 2015, proceedings.mlr.press/v37/jozefowicz15.html"

    def step(self, x, u, h):
        z = torch.sigmoid(x.z)
        r = torch.sigmoid(x.r + u.r(h))
        n = torch.tanh(u.n(r * h) + torch.tanh(x.n))
        return z * n + (1 - z) * h


@register("mut2")
class MUT2(Cell):
    """MUT2 (Jozefowicz, Zaremba and Sutskever 2015): the reset gate takes the input as it comes.

    z = σ(W_z x_t + b_z + U_z h_{t-1} + b'_z)
    r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r)
    n = tanh(W_n x_t + b_n + U_n (r ⊙ h_{t-1}) + b'_n)
    h_t = z ⊙ n + (1 − z) ⊙ h_{t-1}

    The paper has x_t in r, for an input of H features; the projection stands in its place. With W_r = 1, b_r = 0 the
    unit is the paper's; with any W_r it is ``gru-before`` with z ↦ 1 − z.
    """

    gates = ("r", "z", "n")
    paper = "Jozefowicz et al. 2015, proceedings.mlr.press/v37/jozefowicz15.html"

    def step(self, x, u, h):
        z = torch.sigmoid(x.z + u.z(h))
        r = torch.sigmoid(x.r + u.r(h))
        n = torch.tanh(x.n + u.n(r * h))
        return z * n + (1 - z) * h


@register("mut3")
class MUT3(Cell):
    """MUT3 (Jozefowicz, Zaremba and Sutskever 2015): the update gate sees the tanh of the state.

    z = σ(W_z x_t + b_z + U_z tanh(h_{t-1}) + b'_z)
    r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r)
    n = tanh(W_n x_t + b_n + U_n (r ⊙ h_{t-1}) + b'_n)
    h_t = z ⊙ n + (1 − z) ⊙ h_{t-1}
    """

    gates = ("r", "z", "n")
    paper = "Jozefowicz et al. 2015, proceedings.mlr.press/v37/jozefowicz15.html"

    def step(self, x, u, h):
        z = torch.sigmoid(x.z + u.z(torch.tanh(h)))
        r = torch.sigmoid(x.r + u.r(h))
        n = torch.tanh(x.n + u.n(r * h))
        return z * n + (1 - z) * h
