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
    "mean": lambda a, b: (a * b).mean(-1, keepdim=True) + b,
}

BINARY = {"add", "sub", "mul", "div", "power", "minimum", "maximum", "mean"}


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


def _compute(program, u, values, has_rows):
    """Append what the operations and products of a program make of the values before, and whether each has rows."""

    def add(value, *indices):
        values.append(value)
        has_rows.append(any(has_rows[i] for i in indices))

    for name, *rest in program:
        if name in OPERATIONS:
            i, j = (k % n for k, n in zip(rest, (3, len(values)), strict=True))
            i = max(0, len(values) - 1 - i)  # a late one, so that much is used in the end
            used = (i, j) if name in BINARY else (i,)
            add(OPERATIONS[name](values[i], values[j]), *used)
        else:
            gate, i = rest
            connection = getattr(u if name == "dense" else u.diag, gate)
            squash = i % 3 > 0
            i %= len(values)
            add(connection(torch.tanh(values[i]) if squash else values[i]), i)


@strategies.composite
def tangled_cells(draw) -> type[Cell]:
    """Random cells without a pattern in how things are connected.

    Up to 9 operations and products, of a gate used before or of another one, with any value before it: a state, an
    input, a vector, another product. A gate may have no input, no product, or both; there may be no gate at all. A
    next state may be any value, another state, or the same as before.
    """
    states = ("h", "c", "m")[: draw(strategies.integers(1, 3))]
    inputs = sorted(draw(strategies.sets(strategies.sampled_from("npq"))))
    vectors = sorted(draw(strategies.sets(strategies.sampled_from("vw"), max_size=draw(strategies.integers(0, 2)))))
    index = strategies.integers(0, 30)
    operation = strategies.tuples(strategies.sampled_from(list(OPERATIONS)), index, index)
    kind = strategies.sampled_from(["dense", "dense", "dense", "diag"])
    product = strategies.tuples(kind, strategies.sampled_from("npq"), index)
    program = draw(strategies.lists(operation | product, min_size=3, max_size=9))
    end = strategies.sampled_from(["new", "new", "new", "sum", "kept", "raw"])
    ends = [(draw(end), draw(index)) for _ in states]

    def step(self, x, u, *given):
        values = [*(getattr(u.vector, v) for v in vectors), *(getattr(x, gate) for gate in inputs), *given]
        has_rows = [k >= len(vectors) for k in range(len(values))]  # a vector has one number a unit
        _compute(program, u, values, has_rows)

        def following(k, how, i):
            if how == "kept":
                return given[i % len(given)]
            chosen = [i % len(values)] if how == "raw" else [len(values) - 1 - n for n in (i % 3, (i + 2 * k) % 5)]
            chosen = [n for n in chosen if 0 <= n < len(values)]
            value = sum(values[n] for n in chosen)
            value = 0.5 * value if how == "raw" else torch.tanh(value)  # type: ignore[arg-type]
            return value if any(has_rows[n] for n in chosen) and how != "sum" else value + 0.5 * given[k]

        return tuple(following(k, how, i) for k, (how, i) in enumerate(ends))

    gates = sorted({*inputs, *(gate for name, gate, _ in program if name in ("dense", "diag"))})
    members = {"gates": tuple(gates), "states": states, "vectors": tuple(vectors), "step": step}
    return type("TangledCell", (Cell,), members)
