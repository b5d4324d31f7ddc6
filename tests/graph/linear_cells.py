"""Cells that are linear in their states, in every way that there is, and cells that only nearly are."""

import torch
from hypothesis import strategies
from random_cells import OPERATIONS

from gatewise import Cell


class Highway(Cell):
    """A simple recurrent unit whose gates do not see the memory; the output is computed from the new one."""

    gates = ("f", "r", "n", "s")
    states = ("h", "c")

    def step(self, x, u, h, c):
        f, r = torch.sigmoid(x.f), torch.sigmoid(x.r)
        c = f * c + (1 - f) * x.n
        return r * torch.tanh(c) + (1 - r) * x.s, c


class InOrder(Cell):
    """Each state's coefficients see the states before it in any way: matrices, means, squashed, past and present."""

    gates = ("f", "g", "n")
    states = ("h", "c", "m")

    def step(self, x, u, h, c, m):
        m_next = torch.sigmoid(x.f) * m + torch.tanh(x.n)
        c_next = torch.tanh(u.f(m)) * c + u.n(m_next) - m.mean(-1, keepdim=True)
        return torch.tanh(c_next * m) * h + torch.sigmoid(x.g + u.g(c)), c_next, m_next


class Rates(Cell):
    """Coefficients of vectors, diagonal weights, numbers, above 1 and below 0; written in every way."""

    gates = ("n", "d")
    vectors = ("v",)

    def step(self, x, u, h):
        d = 1.5 + torch.tanh(x.d)
        change = (-(h - x.n) / d - 0.25 * u.diag.d(h**1)) * 0.5
        return h + change + u.vector.v * (2 * h - h - 1)


class Delays(Cell):
    """States that are another one's past or present, one that stays, one that forgets."""

    gates = ("n",)
    states = ("h", "c", "before", "fixed", "now")

    def step(self, x, u, h, c, before, fixed, now):
        c_next = 0.9 * c + x.n * fixed
        return before + now, c_next, c, fixed, (c_next - c_next) * now + torch.tanh(c_next)


class Clock(Cell):
    """Nothing but numbers."""

    def step(self, x, u, h):
        return 0.5 * h + 1


LINEAR: dict[str, type[Cell]] = {cell.__name__: cell for cell in (Highway, InOrder, Rates, Delays, Clock)}


@strategies.composite
def random_linear_cells(draw) -> type[Cell]:
    """One or two states, each a sum of terms ``± coefficient * state`` and of what is free of it.

    Coefficients are random programs of the input, a vector and, for the second state, of the first.
    """
    operation = strategies.sampled_from([name for name in OPERATIONS if name != "mean"])
    index = strategies.integers(0, 30)
    program = draw(strategies.lists(strategies.tuples(operation, index, index), max_size=5))
    terms = strategies.lists(strategies.tuples(strategies.booleans(), index), min_size=1, max_size=3)
    shapes = draw(strategies.lists(strategies.tuples(terms, index, strategies.booleans()), min_size=1, max_size=2))

    def step(self, x, u, *given):
        values = [x.n, x.m, u.vector.v]
        for name, i, j in program:
            values.append(OPERATIONS[name](values[i % len(values)], values[j % len(values)]))
        following = []
        for state, (parts, free, divided) in zip(given, shapes, strict=True):
            past = u.diag.d(state) if divided else state
            total = values[free % len(values)] + x.m
            for plus, i in parts:
                term = 0.6 * torch.tanh(values[i % len(values)]) * past
                total = total + term if plus else total - term / 2
            following.append(total / (1.5 + torch.sigmoid(x.n)) if divided else total)
            values += [torch.tanh(state), u.n(following[-1])]
        return tuple(following)

    states = ("h", "c")[: len(shapes)]
    gates = ("n", "m", *(("d",) if any(divided for *_, divided in shapes) else ()))
    return type("RandomLinear", (Cell,), {"gates": gates, "states": states, "vectors": ("v",), "step": step})


BENDS = {
    "tanh": lambda x, u, h: torch.tanh(h),
    "relu": lambda x, u, h: torch.relu(h),
    "square": lambda x, u, h: h * h,
    "power": lambda x, u, h: (1 + h**2) ** 0.5,
    "divisor": lambda x, u, h: x.n / (2 + torch.abs(h)),
    "mean": lambda x, u, h: h.mean(-1, keepdim=True) + 0 * x.n,
    "dense": lambda x, u, h: u.n(h),
    "maximum": lambda x, u, h: torch.maximum(h, x.n),
    "gate": lambda x, u, h: torch.sigmoid(x.n + u.diag.n(h)) * x.n,
}
"""What no linear cell has in it."""


@strategies.composite
def random_bent_cells(draw) -> type[Cell]:
    """A random linear cell with one bend in its first state."""
    inner = draw(random_linear_cells())
    bend = BENDS[draw(strategies.sampled_from(list(BENDS)))]

    def step(self, x, u, *given):
        first, *rest = inner.step(self, x, u, *given)
        return (first + 0.1 * bend(x, u, given[0]), *rest)

    members = {"gates": inner.gates, "states": inner.states, "vectors": inner.vectors, "step": step}
    return type("RandomBent", (Cell,), members)
