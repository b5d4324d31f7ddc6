"""Recurrent cells without a gate."""

from __future__ import annotations

import torch

from gatewise.cells.cell import Cell
from gatewise.cells.registry import register


@register("rnn")
class RNN(Cell):
    """Simple recurrent network (Elman 1990).

    h_t = tanh(W x_t + b + U h_{t-1} + b')
    """

    gates = ("h",)
    paper = "Elman 1990, doi:10.1207/s15516709cog1402_1"

    def step(self, x, u, h):
        return torch.tanh(x.h + u.h(h))


@register("rnn-relu")
class ReluRNN(Cell):
    """Simple recurrent network with a rectifier (Le, Jaitly and Hinton 2015).

    h_t = max(0, W x_t + b + U h_{t-1} + b')
    """

    gates = ("h",)
    paper = "Le, Jaitly, Hinton 2015, arXiv:1504.00941"

    def step(self, x, u, h):
        return torch.relu(x.h + u.h(h))


@register("indrnn")
class IndRNN(Cell):
    """Independently recurrent network (Li et al. 2018): every unit sees its own past alone.

    h_t = max(0, W x_t + b + p ⊙ h_{t-1})

    The paper's u is p here. It starts in U(0, 1), within the paper's range for any number of steps: p alone remembers,
    and where it starts near 0 the gradient vanishes within a few steps.
    """

    gates = ("h",)
    diagonal = (0.0, 1.0)
    paper = "Li et al. 2018, arXiv:1803.04831"

    def step(self, x, u, h):
        return torch.relu(x.h + u.diag.h(h))
