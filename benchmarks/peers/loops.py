"""The Python loops that one writes for want of a layer: one round of the loop is one time step.

Written with care, as the peers of a comparison must be: the input's projections are computed for all steps at once and
products of the same state are one product. Weights have the names of the layer's, so that its ``state_dict`` loads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Outputs = tuple[Tensor]


class CellLoop(nn.Module):
    """The textbook's: a call of ``nn.GRUCell``, ``nn.LSTMCell`` or ``nn.RNNCell`` a step."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell

    def load_state_dict(self, state_dict, strict: bool = True, assign: bool = False):
        state_dict = {f"cell.{name.removesuffix('_l0')}": weight for name, weight in state_dict.items()}
        return super().load_state_dict(state_dict, strict, assign)

    def forward(self, x: Tensor) -> Outputs:
        state, outputs = None, []
        for x_t in x:
            state = self.cell(x_t, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return (torch.stack(outputs),)


class Loop(nn.Module):
    """Weights of a cell with as many gates, all of which have both products."""

    gates = 0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        rows = self.gates * hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, input_size))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, hidden_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows))

    def projected(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_ih_l0, self.bias_ih_l0)

    def zeros(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[1], self.weight_hh_l0.shape[1])

    def split(self, rows: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The recurrent weights and biases, the first so many blocks of rows apart from the rest."""
        H = self.weight_hh_l0.shape[1]
        (W, V), (b, c) = (w.split([rows * H, w.shape[0] - rows * H]) for w in (self.weight_hh_l0, self.bias_hh_l0))
        return (W, b), (V, c)


class GRUBeforeLoop(Loop):
    """The textbook's GRU: the reset gate before the product."""

    gates = 3

    def forward(self, x: Tensor) -> Outputs:
        h, outputs = self.zeros(x), []
        (U, b), (U_n, b_n) = self.split(2)
        for x_t in self.projected(x):
            x_r, x_z, x_n = x_t.chunk(3, 1)
            u_r, u_z = F.linear(h, U, b).chunk(2, 1)
            r, z = torch.sigmoid(x_r + u_r), torch.sigmoid(x_z + u_z)
            n = torch.tanh(x_n + F.linear(r * h, U_n, b_n))
            h = (1 - z) * n + z * h
            outputs.append(h)
        return (torch.stack(outputs),)


class PeepholeLoop(Loop):
    """LSTM whose gates see the cell state."""

    gates = 4

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_diag_l0 = nn.Parameter(torch.empty(3, hidden_size))

    def forward(self, x: Tensor) -> Outputs:
        h, outputs = self.zeros(x), []
        c = h
        p_i, p_f, p_o = self.weight_diag_l0
        for x_t in self.projected(x):
            i, f, g, o = (x_t + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)).chunk(4, 1)
            i, f = torch.sigmoid(i + p_i * c), torch.sigmoid(f + p_f * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
            outputs.append(h)
        return (torch.stack(outputs),)


class MinGRULoop(nn.Module):
    """minGRU: nothing in a step but the mean of the state and the candidate."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.weight_ih_l0 = nn.Parameter(torch.empty(2 * hidden_size, input_size))
        self.bias_ih_l0 = nn.Parameter(torch.empty(2 * hidden_size))

    def forward(self, x: Tensor) -> Outputs:
        z, n = F.linear(x, self.weight_ih_l0, self.bias_ih_l0).chunk(2, 2)
        z = torch.sigmoid(z)
        keep, taken = 1 - z, z * n
        h, outputs = torch.zeros_like(taken[0]), []
        for a, b in zip(keep, taken, strict=True):
            h = torch.addcmul(b, a, h)
            outputs.append(h)
        return (torch.stack(outputs),)


class MinimalGateLoop(Loop):
    """The equations of :class:`benchmarks.cells.MinimalGate`."""

    gates = 2

    def forward(self, x: Tensor) -> Outputs:
        h, outputs = self.zeros(x), []
        (U_f, b_f), (U_n, b_n) = self.split(1)
        for x_t in self.projected(x):
            x_f, x_n = x_t.chunk(2, 1)
            f = torch.sigmoid(x_f + F.linear(h, U_f, b_f))
            n = torch.tanh(x_n + F.linear(f * h, U_n, b_n))
            h = (1 - f) * h + f * n
            outputs.append(h)
        return (torch.stack(outputs),)


class SoftLeakLoop(Loop):
    """The equations of :class:`benchmarks.cells.SoftLeak`."""

    gates = 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.vector_l0 = nn.Parameter(torch.empty(1, hidden_size))

    def forward(self, x: Tensor) -> Outputs:
        h, outputs = self.zeros(x), []
        rate = F.softplus(self.vector_l0[0])
        for x_t in self.projected(x):
            s, n = (x_t + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)).chunk(2, 1)
            a = torch.exp(-F.softplus(s) * rate)
            h = a * h + (1 - a) * torch.tanh(n)
            outputs.append(h)
        return (torch.stack(outputs),)
