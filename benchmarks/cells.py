"""Two cells made up here, as a user would: nothing in the package knows them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gatewise import Cell


class MinimalGate(Cell):
    """A gated unit with one gate (Zhou et al. 2016, arXiv:1603.09420): two products, one after the other.

    f = σ(W_f x_t + b_f + U_f h_{t-1} + b'_f)
    n = tanh(W_n x_t + b_n + U_n (f ⊙ h_{t-1}) + b'_n)
    h_t = (1 − f) ⊙ h_{t-1} + f ⊙ n
    """

    gates = ("f", "n")

    def step(self, x, u, h):
        f = torch.sigmoid(x.f + u.f(h))
        n = torch.tanh(x.n + u.n(f * h))
        return (1 - f) * h + f * n


class SoftLeak(Cell):
    """A leaky unit whose leak depends on the input, with a rate v learned for every unit: exp, softplus, a vector.

    s = softplus(W_s x_t + b_s + U_s h_{t-1} + b'_s)
    n = tanh(W_n x_t + b_n + U_n h_{t-1} + b'_n)
    a = exp(−s ⊙ softplus(v))
    h_t = a ⊙ h_{t-1} + (1 − a) ⊙ n
    """

    gates = ("s", "n")
    vectors = ("v",)

    def step(self, x, u, h):
        s = F.softplus(x.s + u.s(h))
        n = torch.tanh(x.n + u.n(h))
        a = torch.exp(-s * F.softplus(u.vector.v))
        return a * h + (1 - a) * n
