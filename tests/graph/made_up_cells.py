"""Cells for the tests alone: between them every pointwise operation, every kind of connection, every spelling."""

import torch
import torch.nn.functional as F

from gatewise import Cell


class Smooth(Cell):
    """exp, log, sqrt, softplus, division; a gate with no input weight and one with no recurrent weight."""

    gates = ("a", "d", "n")

    def step(self, x, u, h):
        a = F.softplus(u.a(h))
        d = torch.sqrt(1 + torch.log(2 + h**2)) / ((1.5 + torch.tanh(x.d)) * (1 + h**2))
        n = torch.tanh(x.n + u.n(h / (1 + a)))
        return torch.exp(-a) * h + d * n


class Kinked(Cell):
    """relu, leaky_relu, abs, clamp with two bounds and with one, minimum, maximum."""

    gates = ("r", "n")

    def step(self, x, u, h):
        r = torch.clamp(x.r + u.r(h), -0.7, 0.8)
        n = F.leaky_relu(x.n + u.n(torch.minimum(h, r)), 0.2) - torch.relu(r * h)
        return torch.clamp(torch.maximum(n, 0.3 * h), max=0.9) * torch.abs(r - h) + 0.5 * F.leaky_relu(n)


class Powers(Cell):
    """Exponents of every kind: 0, 1, 2, 3, fractions, negative ones."""

    gates = ("n",)

    def step(self, x, u, h):
        n = torch.tanh(x.n + u.n(h) ** 3 + h**1)
        size = 1 + n**2 + torch.square(h)
        return n * size**-1.5 + h**0 * size**0.5 - 1.5 * torch.pow(size, -1)


class Spelled(Cell):
    """The same operations as methods, reversed operators, aliases, and numbers held in tensors."""

    gates = ("n", "z")

    def step(self, x, u, h):
        z = (x.z + u.z(h)).sigmoid()
        n = torch.tensor(1.5) - x.n.add(u.n(h), alpha=0.5).tanh()
        m = (1 - z).mul(n).add(2 / (3 + n.square())).sub(torch.special.expit(h)).div(torch.tensor(2.0))
        return 0.5 - (+m) * torch.tensor(0.7) + (-n - 1).abs().reciprocal() / 2 + z.clamp(min=0.4).maximum(h).neg()


class Vectors(Cell):
    """Learned vectors, drawn like weights; one has the name of a local variable."""

    gates = ("n",)
    vectors = ("a", "w")

    def step(self, x, u, h):
        a = torch.sigmoid(u.vector.a)
        n = torch.tanh(x.n * u.vector.w + u.n(h))
        return a * h + (1 - a) * n + u.vector.w * u.vector.a


class StartedVectors(Cell):
    """Learned vectors with an initial value; one of them stands inside a product."""

    gates = ("n",)
    vectors = {"decay": 0.9, "gain": 1.5}

    def step(self, x, u, h):
        return u.vector.decay * h + torch.tanh(x.n + u.n(u.vector.gain * h))


class Diagonal(Cell):
    """IndRNN with a second state: diagonal products alone, one of them used twice."""

    gates = ("n", "m")
    states = ("h", "c")

    def step(self, x, u, h, c):
        n = torch.tanh(x.n + u.diag.n(h))
        c = 0.5 * c + u.diag.m(n) * u.diag.m(c)
        return n + 0.1 * c, c


class TwoProducts(Cell):
    """Two products with the same matrix in one step, the second depending on the first."""

    gates = ("n",)

    def step(self, x, u, h):
        first = torch.tanh(x.n + u.n(h))
        return 0.5 * h + torch.tanh(x.n + u.n(first)) * first


class NoProduct(Cell):
    """Quasi-recurrent: no recurrent weight at all."""

    gates = ("f", "n")

    def step(self, x, u, h):
        f = torch.sigmoid(x.f)
        return f * h + (1 - f) * torch.tanh(x.n)


class NoWeights(Cell):
    """Neither input nor weights."""

    def step(self, x, u, h):
        return 0.9 * h - 0.1 * h**3


class ThreeStates(Cell):
    gates = ("i", "n", "m")
    states = ("h", "c", "slow_m")

    def step(self, x, u, h, c, slow_m):
        i = torch.sigmoid(x.i + u.i(h) + u.diag.i(c))
        c = (1 - i) * c + i * torch.tanh(x.n + u.n(h))
        slow_m = 0.8 * slow_m + 0.2 * torch.tanh(u.m(c * h))
        return torch.tanh(c) * (1 - slow_m**2), c, slow_m


class PassedThrough(Cell):
    """The second state is the output of the step before; the third never changes."""

    gates = ("n",)
    states = ("h", "before", "fixed")

    def step(self, x, u, h, before, fixed):
        return torch.tanh(x.n + u.n(h) - 0.5 * before * fixed), h, fixed


class SameResult(Cell):
    """Two states with one value; the first is never read."""

    gates = ("n",)
    states = ("h", "c")

    def step(self, x, u, h, c):
        n = torch.tanh(x.n + u.n(c) + c)
        return n, n


class Unnamed(Cell):
    """Expressions at length, used in several places, with no name of their own."""

    gates = ("n", "z")

    def step(self, x, u, h):
        def gate():
            return torch.sigmoid(x.z + u.z(h) * h)

        return gate() * h + (1 - gate()) * torch.tanh(x.n + u.n(gate() * h)) - 2 * (1 / (3 - (h - gate()))) * (-gate())


class Awkward(Cell):
    """Local variables called like the derivatives of others, and states read but not named in the result."""

    gates = ("n", "n_2")
    states = ("h", "c_slow")

    def step(self, x, u, h, c_slow):
        n = torch.tanh(x.n + u.n(h))
        dn = torch.tanh(x.n_2 + u.n_2(c_slow) + u.diag.n_2(n)) * n
        dh_t = n * dn - h
        s_1 = dh_t * dh_t + c_slow
        return h + 0.25 * dh_t * dn, torch.tanh(s_1)


class Vanishing(Cell):
    """A product whose gradient is exactly zero, one that goes nowhere, and a state that adds to itself."""

    gates = ("n", "idle")

    def step(self, x, u, h):
        u.idle(h)
        return torch.tanh(x.n) * u.n(h) ** 0 + (h - h) + (h + h) / 4


MADE_UP: dict[str, type[Cell]] = {
    cell.__name__: cell
    for cell in (
        Smooth, Kinked, Powers, Spelled, Vectors, StartedVectors, Diagonal, TwoProducts, NoProduct, NoWeights,
        ThreeStates, PassedThrough, SameResult, Unnamed, Awkward, Vanishing,
    )
}  # fmt: skip
