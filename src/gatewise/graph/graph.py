"""The graph of one time step: a few immutable nodes in the order in which they are computed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gatewise.cells import Connections

LEAVES = ("constant", "state", "input", "vector", "mask", "cotangent")
"""Nodes without arguments. ``of`` names the state, the gate (``input``: W x_t + b), the vector or the mask."""

PRODUCTS = ("dense", "diag", "dense_transposed")
"""``dense``: U v + b'; ``diag``: w ⊙ v; ``dense_transposed``: Uᵀ v, of which only the backward graph has any."""

REDUCTIONS = ("mean",)
"""``mean``: over the units, one number for every row."""

POINTWISE = (
    "add", "sub", "mul", "div", "neg", "power",
    "sigmoid", "tanh", "relu", "leaky_relu", "softplus", "exp", "log", "sqrt", "abs", "clamp", "minimum", "maximum",
)  # fmt: skip
"""What a cell may do to values of shape (batch, hidden)."""

DERIVATIVES = ("positive", "sign", "within", "greater")
"""Pointwise operations that only the backward graph has: [x > 0], sign x, [lo <= x <= hi], [a > b] (tie: 1/2)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a time step.

    Attributes:
        op: one of ``LEAVES``, ``PRODUCTS``, ``REDUCTIONS``, ``POINTWISE``, ``DERIVATIVES``.
        args: the nodes it is computed from, by their position in the graph.
        of: the state, gate or vector it belongs to, where it belongs to one.
        parameters: numbers that are part of the operation: the constant itself, the exponent, a slope, bounds.
    """

    op: str
    args: tuple[int, ...] = ()
    of: str = ""
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A traced cell.

    Attributes:
        cell: the cell's name.
        states: the states' names, the output first.
        nodes: every value, each after the values it needs.
        results: for each state the node that is its next value.
        names: (node, name) for values that the source gives a name.
        connections: the weights in use.
        masks: the cell's masks.
        biased: whether its products have biases.
    """

    cell: str
    states: tuple[str, ...]
    nodes: tuple[Node, ...]
    results: tuple[int, ...]
    names: tuple[tuple[int, str], ...]
    connections: Connections
    masks: tuple[str, ...]
    biased: bool = True

    @property
    def output_feeds_products_only(self) -> bool:
        """Whether the output state enters the step through dense products alone, so that it may be projected."""
        output = next((i for i, n in enumerate(self.nodes) if n == Node("state", of=self.states[0])), -1)
        return output not in self.results and all(output not in n.args or n.op == "dense" for n in self.nodes)


class Builder:
    """Collects nodes; a node that is there already is not made twice."""

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.nodes: list[Node] = list(nodes)
        self._position = {node: i for i, node in enumerate(self.nodes)}

    def node(self, op: str, *args: int, of: str = "", parameters: tuple[float, ...] = ()) -> int:
        node = Node(op, args, of, parameters)
        if node not in self._position:
            self._position[node] = len(self.nodes)
            self.nodes.append(node)
        return self._position[node]

    def constant(self, value: float) -> int:
        return self.node("constant", parameters=(float(value),))


def prune(nodes: list[Node], needed: Iterable[int]) -> tuple[tuple[Node, ...], dict[int, int]]:
    """The nodes that ``needed`` depends on, in order, and where each went."""
    alive: set[int] = set()
    pending = list(needed)
    while pending:
        i = pending.pop()
        if i not in alive:
            alive.add(i)
            pending.extend(nodes[i].args)
    moved = {old: new for new, old in enumerate(sorted(alive))}
    kept = tuple(
        Node(nodes[i].op, tuple(moved[a] for a in nodes[i].args), nodes[i].of, nodes[i].parameters) for i in moved
    )
    return kept, moved
