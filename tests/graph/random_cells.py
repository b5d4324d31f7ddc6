"""Random cells: short random programs of supported operations, kept where logarithms and roots are defined."""

import torch
import torch.nn.functional as F
from hypothesis import strategies

from gatewise import Cell

OPERATIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / (1.5 + b**2),
    "neg": lambda a, b: -a,
    "scale": lambda a, b: -1.5 * a,
    "power": lambda a, b: torch.tanh(a) ** 3 - (1 + b**2) ** -0.5,
    "sigmoid": lambda a, b: torch.sigmoid(a),
    "tanh": lambda a, b: torch.tanh(a),
    "relu": lambda a, b: torch.relu(a),
    "leaky_relu": lambda a, b: F.leaky_relu(a, 0.3),
    "softplus": lambda a, b: F.softplus(a),
    "exp": lambda a, b: torch.exp(torch.tanh(a)),
    "log": lambda a, b: torch.log(1 + torch.abs(a)),
    "sqrt": lambda a, b: torch.sqrt(1 + a**2),
    "clamp": lambda a, b: torch.clamp(a, -0.5, 0.75),
    "minimum": lambda a, b: torch.minimum(a, b + 0.1),  # no exact ties: print says [a > b], leaving the tie out
    "maximum": lambda a, b: torch.maximum(a, b - 0.1),
}


@strategies.composite
def random_cells(draw) -> type[Cell]:
    """A cell of 1 to 3 states: 1 to 8 operations, each on values made before it, with up to 2 products among them."""
    states = ("h", "c", "m")[: draw(strategies.integers(1, 3))]
    operation = strategies.sampled_from(list(OPERATIONS))
    index = strategies.integers(0, 30)
    program = draw(strategies.lists(strategies.tuples(operation, index, index), min_size=1, max_size=8))
    kinds = draw(strategies.lists(strategies.sampled_from(["dense", "diag"]), max_size=2))
    products = {draw(strategies.integers(0, len(program))): (kind, f"p{k}") for k, kind in enumerate(kinds)}

    def step(self, x, u, *given):
        values = [*given, x.n, u.vector.v]
        for position, (name, i, j) in enumerate([*program, ("tanh", -1, -1)]):
            if position in products:
                kind, gate = products[position]
                connection = getattr(u if kind == "dense" else u.diag, gate)
                values.append(connection(torch.tanh(values[-1] * given[0])))
            values.append(OPERATIONS[name](values[i % len(values)], values[j % len(values)]))
        ends = [torch.tanh(value + state + x.n) for value, state in zip(reversed(values), given, strict=False)]
        return (ends[0] + 0.1 * u.vector.v, *ends[1:])

    gates = ("n", *(gate for _, gate in products.values()))
    return type("RandomCell", (Cell,), {"gates": gates, "states": states, "vectors": ("v",), "step": step})
