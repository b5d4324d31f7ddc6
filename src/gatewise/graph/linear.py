"""Which cells are linear in their states, found on the graph: s_t = a_t ⊙ s_{t-1} + b_t, with a and b free of s."""

from __future__ import annotations

from dataclasses import dataclass

from gatewise.graph.algebra import Algebra
from gatewise.graph.graph import Graph, Node


@dataclass(frozen=True)
class Recurrence:
    """One state's update, s_t = a_t ⊙ s_{t-1} + b_t.

    Attributes:
        state: the state's name.
        a: the node of a_t; None where s_t does not depend on s_{t-1}, which leaves s_t = b_t.
        b: the node of b_t.
        result: the node of the graph that s_t is.
        needs: the nodes that a and b are computed from, in order, beyond those of the recurrences before.
    """

    state: str
    a: int | None
    b: int
    result: int
    needs: tuple[int, ...]


@dataclass(frozen=True)
class Linear:
    """A cell whose states can be solved one after the other, each for all time steps at once.

    Attributes:
        graph: the cell's graph.
        nodes: the graph's nodes, then those of the coefficients. ``("state", s)`` is s_{t-1}, known for every t once s
            has been solved.
        recurrences: one for each state, in the order in which they are solved.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    recurrences: tuple[Recurrence, ...]


@dataclass(frozen=True)
class NotLinear:
    """Why a cell is not linear in its states."""

    why: str


@dataclass(frozen=True)
class _Affine:
    """The value a ⊙ s_{t-1} + b, for the state s that is looked at."""

    a: int
    b: int


@dataclass(frozen=True)
class _Obstacle:
    """A value that is not affine in the state, or one that needs another state first."""

    why: str
    waits: bool = False


_Value = int | _Affine | _Obstacle
"""What is known of a node while one state is looked at; a number is a node that is free of unsolved states."""


def linear(graph: Graph) -> Linear | NotLinear:
    """Whether every state's update is linear in that state, and its coefficients.

    The states are put in an order in which each is s_t = a_t ⊙ s_{t-1} + b_t, where a_t and b_t may depend on the
    input, vectors, masks, and on the states solved before, past and present, in any way. A product of the state itself
    with a matrix, u.<gate>(s), mixes its units: then a is no vector, and the cell not linear in this sense.

    Example:
        >>> from gatewise.graph import trace
        >>> [found] = linear(trace("min-gru")).recurrences
        >>> found.state, linear(trace("min-gru")).nodes[found.a].op
        ('h', 'sub')
        >>> linear(trace("indrnn")).why
        'h_{t-1} stands inside relu'
    """
    algebra = Algebra(graph.nodes)
    order: list[tuple[str, int | None, int]] = []
    waiting = list(graph.states)
    while waiting:
        found = {state: _update(algebra, graph, state, {s for s, _, _ in order}) for state in waiting}
        state = next((s for s, value in found.items() if not isinstance(value, _Obstacle)), None)
        if state is None:
            obstacles = [value for value in found.values() if isinstance(value, _Obstacle)]
            final = (obstacle.why for obstacle in obstacles if not obstacle.waits)
            return NotLinear(next(final, f"{' and '.join(waiting)} depend on each other"))
        value = found[state]
        order.append((state, value.a, value.b) if isinstance(value, _Affine) else (state, None, value))  # type: ignore
        waiting.remove(state)
    return Linear(graph, tuple(algebra.nodes), _with_needs(algebra.nodes, graph, order))


def _update(algebra: Algebra, graph: Graph, state: str, solved: set[str]) -> _Value:
    """The next value of a state: free of it, affine in it, or neither."""
    known = _results(graph, solved)
    values: list[_Value] = []
    for i, node in enumerate(graph.nodes):
        if node.op == "state" and node.of == state:
            values.append(_Affine(algebra.constant(1.0), algebra.constant(0.0)))
        elif node.op == "state" and node.of not in solved:
            values.append(_Obstacle(f"{state}_t needs {node.of}_{{t-1}}", waits=True))
        elif i in known:
            values.append(i)
        else:
            value = _through(algebra, i, node, [values[a] for a in node.args], state)
            vanishes = isinstance(value, _Affine) and algebra.is_constant(value.a, 0.0)
            values.append(value.b if vanishes else value)  # type: ignore[union-attr]
    return values[graph.results[graph.states.index(state)]]


def _results(graph: Graph, solved: set[str]) -> set[int]:
    """The nodes that are the next values of states solved already."""
    pairs = zip(graph.states, graph.results, strict=True)
    return {result for state, result in pairs if state in solved and graph.nodes[result].op != "state"}


def _through(algebra: Algebra, i: int, node: Node, args: list[_Value], state: str) -> _Value:
    """A node's value from those of its arguments."""
    obstacles = [arg for arg in args if isinstance(arg, _Obstacle)]
    if obstacles:
        return min(obstacles, key=lambda obstacle: obstacle.waits)
    if all(isinstance(arg, int) for arg in args):
        same = tuple(args) == node.args
        return i if same else algebra.node(node.op, *args, of=node.of, parameters=node.parameters)  # type: ignore
    zero = algebra.constant(0.0)
    affine = [arg if isinstance(arg, _Affine) else _Affine(zero, arg) for arg in args]  # type: ignore[arg-type]
    match node.op:
        case "add" | "sub":
            combine = algebra.add if node.op == "add" else algebra.sub
            return _Affine(combine(affine[0].a, affine[1].a), combine(affine[0].b, affine[1].b))
        case "neg":
            return _Affine(algebra.neg(affine[0].a), algebra.neg(affine[0].b))
        case "diag":
            return _Affine(*(algebra.product("diag", node.of, part) for part in (affine[0].a, affine[0].b)))
        case "mul" if any(isinstance(arg, int) for arg in args):
            one, factor = (affine[0], args[1]) if isinstance(args[1], int) else (affine[1], args[0])
            return _Affine(algebra.mul(one.a, factor), algebra.mul(one.b, factor))  # type: ignore[arg-type]
        case "div" if isinstance(args[1], int):
            return _Affine(algebra.div(affine[0].a, args[1]), algebra.div(affine[0].b, args[1]))
        case "power" if node.parameters == (1.0,):
            return affine[0]
    return _Obstacle(_why(node, state))


def _why(node: Node, state: str) -> str:
    past = f"{state}_{{t-1}}"
    match node.op:
        case "dense":
            return f"{past} stands inside u.{node.of}, a product that mixes the units"
        case "mean":
            return f"{past} stands inside a mean over the units"
        case "mul":
            return f"{past} is multiplied by a value that depends on it"
        case "div":
            return f"{past} stands in a divisor"
    return f"{past} stands inside {node.op}"


def _with_needs(nodes: list[Node], graph: Graph, order: list[tuple[str, int | None, int]]) -> tuple[Recurrence, ...]:
    """Which nodes are to be computed for each state; a solved state's next value is not computed a second time."""
    known: set[int] = set()
    found = []
    for state, a, b in order:
        needs: set[int] = set()
        pending = [b] if a is None else [a, b]
        while pending:
            i = pending.pop()
            if i not in known | needs:
                needs.add(i)
                pending.extend(nodes[i].args)
        known |= needs
        result = graph.results[graph.states.index(state)]
        known |= _results(graph, {state})
        found.append(Recurrence(state, a, b, result, tuple(sorted(needs))))
    return tuple(found)
