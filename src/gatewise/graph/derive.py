"""Graph -> backward graph: reverse mode on the graph itself (Linnainmaa 1970), one rule an operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gatewise.graph.algebra import Algebra
from gatewise.graph.graph import Graph, Node


@dataclass(frozen=True)
class Product:
    """A recurrent product's share in the gradient: dU += cotangent operandᵀ, db' += cotangent (or elementwise)."""

    gate: str
    operand: int
    cotangent: int


@dataclass(frozen=True)
class Backward:
    """The backward pass of one time step.

    Attributes:
        graph: the forward graph.
        nodes: the forward graph's nodes, then those of the backward pass. ``("cotangent", state)`` leaves are
            dL/d(next state), from the output at t and from step t + 1.
        states: for each state the node of dL/d(previous state).
        inputs: (gate, node) of dL/d(W x_t + b).
        dense: one entry a product ``u.<gate>(value)``.
        diag: one entry a product ``u.diag.<gate>(value)``.
        vectors: (vector, node); the gradient is the node's sum over the batch and over time.
        cotangents: (forward node, node of its cotangent).
    """

    graph: Graph
    nodes: tuple[Node, ...]
    states: tuple[int, ...]
    inputs: tuple[tuple[str, int], ...]
    dense: tuple[Product, ...]
    diag: tuple[Product, ...]
    vectors: tuple[tuple[str, int], ...]
    cotangents: tuple[tuple[int, int], ...]


# For each operation: given the builder, the node's position and the node, d(node)/d(argument) for each argument.
Factors = Callable[[Algebra, int, Node], tuple[int, ...]]


def _power(b: Algebra, i: int, n: Node) -> tuple[int, ...]:
    p = n.parameters[0]
    if p == 0.0:
        return (b.constant(0.0),)
    if p == 1.0:
        return (b.constant(1.0),)
    lowered = n.args[0] if p == 2.0 else b.node("power", n.args[0], parameters=(p - 1.0,))
    return (b.mul(b.constant(p), lowered),)


def _leaky(b: Algebra, i: int, n: Node) -> tuple[int, ...]:
    slope = n.parameters[0]
    positive = b.node("positive", n.args[0])
    return (b.add(b.constant(slope), b.mul(b.constant(1.0 - slope), positive)),)


def _divide(b: Algebra, i: int, n: Node) -> tuple[int, ...]:
    return b.node("div", b.constant(1.0), n.args[1]), b.neg(b.node("div", i, n.args[1]))


FACTORS: dict[str, Factors] = {
    "add": lambda b, i, n: (b.constant(1.0), b.constant(1.0)),
    "sub": lambda b, i, n: (b.constant(1.0), b.constant(-1.0)),
    "mul": lambda b, i, n: (n.args[1], n.args[0]),
    "div": _divide,
    "neg": lambda b, i, n: (b.constant(-1.0),),
    "power": _power,
    "sigmoid": lambda b, i, n: (b.mul(i, b.one_minus(i)),),
    "tanh": lambda b, i, n: (b.one_minus(b.square(i)),),
    "relu": lambda b, i, n: (b.node("positive", n.args[0]),),
    "leaky_relu": _leaky,
    "softplus": lambda b, i, n: (b.node("sigmoid", n.args[0]),),
    "exp": lambda b, i, n: (i,),
    "log": lambda b, i, n: (b.node("div", b.constant(1.0), n.args[0]),),
    "sqrt": lambda b, i, n: (b.node("div", b.constant(0.5), i),),
    "abs": lambda b, i, n: (b.node("sign", n.args[0]),),
    "clamp": lambda b, i, n: (b.node("within", n.args[0], parameters=n.parameters),),
    "minimum": lambda b, i, n: (b.node("greater", n.args[1], n.args[0]), b.node("greater", *n.args)),
    "maximum": lambda b, i, n: (b.node("greater", *n.args), b.node("greater", n.args[1], n.args[0])),
}


class _Contributions:
    """What flows back to one value: sums of cotangent * factor, like cotangents gathered before the product."""

    def __init__(self) -> None:
        self.factors: dict[int, int] = {}

    def add(self, b: Algebra, cotangent: int, factor: int) -> None:
        held = self.factors.get(cotangent)
        self.factors[cotangent] = factor if held is None else b.add(held, factor)

    def through(self, b: Algebra, total: int, factor: int) -> Iterator[tuple[int, int]]:
        """What passes on to an argument; past a bare sign the product is kept apart, so that like terms still meet."""
        if len(self.factors) == 1 and (b.is_constant(factor, 1.0) or b.is_constant(factor, -1.0)):
            (flow, scale), *_ = self.factors.items()
            yield flow, b.mul(scale, factor)
        else:
            yield total, factor

    def total(self, b: Algebra) -> int:
        value = b.constant(0.0)
        for cotangent, factor in self.factors.items():
            value = b.add(value, b.mul(cotangent, factor))
        return value


def _flows(
    b: Algebra, nodes: Sequence[Node], i: int, total: int, own: _Contributions
) -> Iterator[tuple[int, int, int]]:
    """What a node with the cotangent ``total`` sends back: (argument, cotangent, factor)."""
    node, one = nodes[i], b.constant(1.0)
    if node.op == "dense":
        yield node.args[0], b.product("dense_transposed", node.of, total), one
    elif node.op == "diag":
        yield node.args[0], b.product("diag", node.of, total), one
    elif node.op == "mean":  # its transpose is itself: each unit has the mean of what reaches all of them
        yield node.args[0], b.mean(total), one
    elif node.args:
        for argument, factor in zip(node.args, FACTORS[node.op](b, i, node), strict=True):
            if nodes[argument].op not in ("constant", "mask"):
                for flow, scale in own.through(b, total, factor):
                    yield argument, flow, scale


def derive(graph: Graph) -> Backward:
    """The backward graph of one time step.

    For every node v, in reverse order, dL/dv = Σ over its uses w of dL/dw * dw/dv; a product ``u.<gate>(v)`` sends
    back Uᵀ dL/dw, and its weights gather dL/dw vᵀ.

    Example:
        >>> from gatewise.graph import trace
        >>> backward = derive(trace("gru"))
        >>> [p.gate for p in backward.dense]
        ['r', 'z', 'n']
    """
    b = Algebra(graph.nodes)
    contributions = [_Contributions() for _ in graph.nodes]
    one = b.constant(1.0)
    for state, result in zip(graph.states, graph.results, strict=True):
        contributions[result].add(b, b.node("cotangent", of=state), one)

    cotangent: dict[int, int] = {}
    products: dict[str, list[Product]] = {"dense": [], "diag": []}
    for i in reversed(range(len(graph.nodes))):
        node = graph.nodes[i]
        if node.op in ("constant", "mask"):
            continue
        total = cotangent[i] = contributions[i].total(b)
        if node.op in products:
            products[node.op].append(Product(node.of, node.args[0], total))
        for argument, flow, scale in _flows(b, graph.nodes, i, total, contributions[i]):
            contributions[argument].add(b, flow, scale)

    def of(op: str, names: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
        position = {n.of: i for i, n in enumerate(graph.nodes) if n.op == op}
        return tuple((name, cotangent[position[name]] if name in position else b.constant(0.0)) for name in names)

    used = graph.connections
    return Backward(
        graph=graph,
        states=tuple(c for _, c in of("state", graph.states)),
        inputs=of("input", used.input),
        dense=tuple(sorted(products["dense"], key=lambda p: used.dense.index(p.gate))),
        diag=tuple(sorted(products["diag"], key=lambda p: used.diag.index(p.gate))),
        vectors=of("vector", used.vector),
        cotangents=tuple(sorted(cotangent.items())),
        nodes=tuple(b.nodes),
    )
