"""With one gate, or with gates that do not see the output: fewer products than a gated recurrent unit's."""

from __future__ import annotations

import torch

from gatewise.cells.cell import Cell
from gatewise.cells.registry import register


@register("mgu")
class MinimalGatedUnit(Cell):
    """Minimal gated unit (Zhou et al. 2016): one gate both resets and updates.

    f = σ(W_f x_t + b_f + U_f h_{t-1} + b'_f)
    n = tanh(W_n x_t + b_n + U_n (f ⊙ h_{t-1}) + b'_n)
    h_t = (1 − f) ⊙ h_{t-1} + f ⊙ n
    """

    gates = ("f", "n")
    paper = "Zhou et al. 2016, arXiv:1603.09420"

    def step(self, x, u, h):
        f = torch.sigmoid(x.f + u.f(h))
        n = torch.tanh(x.n + u.n(f * h))
        return (1 - f) * h + f * n


@register("ugrnn")
class UpdateGateRNN(Cell):
    """Update gate RNN (Collins, Sohl-Dickstein and Sussillo 2017): the simple network with an update gate.

    z = σ(W_z x_t + b_z + U_z h_{t-1} + b'_z)
    n = tanh(W_n x_t + b_n + U_n h_{t-1} + b'_n)
    h_t = z ⊙ h_{t-1} + (1 − z) ⊙ n

    The paper's letters are g for z and c for n; its constant added to b_z is left to the initialisation.
    """

    gates = ("z", "n")
    paper = "Collins et al. 2017, arXiv:1611.09913"

    def step(self, x, u, h):
        z = torch.sigmoid(x.z + u.z(h))
        n = torch.tanh(x.n + u.n(h))
        return z * h + (1 - z) * n


@register("li-gru")
class LightGRU(Cell):
    """Light gated recurrent unit (Ravanelli et al. 2018): no reset gate, a rectified candidate.

    z = σ(W_z x_t + b_z + U_z h_{t-1} + b'_z)
    n = max(0, W_n x_t + b_n + U_n h_{t-1} + b'_n)
    h_t = z ⊙ h_{t-1} + (1 − z) ⊙ n

    The paper's batch normalisation of W_z x_t and W_n x_t is left out; with nothing to bound n, h can grow.
    """

    gates = ("z", "n")
    paper = "Ravanelli et al. 2018, arXiv:1803.10225"

    def step(self, x, u, h):
        z = torch.sigmoid(x.z + u.z(h))
        n = torch.relu(x.n + u.n(h))
        return z * h + (1 - z) * n


@register("min-gru")
class MinGRU(Cell):
    """minGRU (Feng et al. 2024), the form without logarithms: gate and candidate see the input alone.

    z = σ(W_z x_t + b_z)
    h_t = (1 − z) ⊙ h_{t-1} + z ⊙ (W_n x_t + b_n)
    """

    gates = ("z", "n")
    paper = "Feng et al. 2024, arXiv:2410.01201"

    def step(self, x, u, h):
        z = torch.sigmoid(x.z)
        return (1 - z) * h + z * x.n


@register("min-lstm")
class MinLSTM(Cell):
    """minLSTM (Feng et al. 2024), the form without logarithms: gates see the input alone, and their sum is 1.

    f = σ(W_f x_t + b_f)
    i = σ(W_i x_t + b_i)
    h_t = f / (f + i) ⊙ h_{t-1} + i / (f + i) ⊙ (W_n x_t + b_n)
    """

    gates = ("f", "i", "n")
    paper = "Feng et al. 2024, arXiv:2410.01201"

    def step(self, x, u, h):
        f = torch.sigmoid(x.f)
        i = torch.sigmoid(x.i)
        return f / (f + i) * h + i / (f + i) * x.n


@register("sru")
class SRU(Cell):
    """Simple recurrent unit (Lei et al. 2018): gates see the memory unit by unit, a highway leads past it.

    f = σ(W_f x_t + b_f + p_f ⊙ c_{t-1})
    c_t = f ⊙ c_{t-1} + (1 − f) ⊙ (W_n x_t + b_n)
    r = σ(W_r x_t + b_r + p_r ⊙ c_{t-1})
    h_t = r ⊙ c_t + (1 − r) ⊙ (W_s x_t + b_s)

    The paper's v is p here. Its highway carries x_t itself, scaled, and only a layer with I ≠ H projects it: here every
    layer does. h_{t-1} is not used.
    """

    gates = ("f", "r", "n", "s")
    states = ("h", "c")
    paper = "Lei et al. 2018, arXiv:1709.02755"

    def step(self, x, u, h, c):
        f = torch.sigmoid(x.f + u.diag.f(c))
        r = torch.sigmoid(x.r + u.diag.r(c))
        c = f * c + (1 - f) * x.n
        return r * c + (1 - r) * x.s, c
