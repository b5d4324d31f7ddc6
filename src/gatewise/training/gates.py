"""What the gates of a cell decide, read from its graph: which keep the state, how open they are, how they start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.cells import Cell, Connections
from gatewise.engines import Tokens, Weights
from gatewise.errors import UnsupportedOperationError
from gatewise.graph import Graph, Node, evaluate, trace
from gatewise.layers import Recurrent
from gatewise.layers.shapes import LayerShape
from gatewise.tasks.memory import Examples


@dataclass(frozen=True)
class Role:
    """What a gate does to a state.

    Attributes:
        gate: its name in the equations.
        of: the gate of ``x`` and ``u`` that its logit is made from: whose biases, or the shifts of
            :func:`gatewise.layer_norm` in their place, move it.
        sign: +1 where a large logit keeps the old state, −1 where a large logit lets it go or takes the new in.
    """

    gate: str
    of: str
    sign: int


def roles(cell: str | type[Cell] | Cell) -> dict[str, Role]:
    """The gates that decide how long a state lasts, found on the cell's graph and not by name.

    Each named sigmoid is held at 0 and at 1 (the others at 1/2, all recurrent products 0), and it is seen how much of
    the old state stays. All with it at 1 and nothing at 0: it keeps (``z`` of ``gru``, ``f`` of ``lstm``); the other
    way round: it lets go (``f`` of ``mgu``). A gate that decides nothing of this, but without which nothing comes in,
    takes in (``i`` of ``lstm``); it counts only where another gate keeps. Empty for a cell whose gates are neither, or
    whose equations cannot be traced.

    >>> {gate: role.sign for gate, role in roles("lstm").items()}, {g: r.sign for g, r in roles("mgu").items()}
    ({'f': 1, 'i': -1}, {'f': -1})
    """
    try:
        graph = trace(cell)
    except UnsupportedOperationError:
        return {}
    gates = _gates(graph)
    keeping: dict[str, Role] = {}
    taking: dict[str, Role] = {}
    for gate, node in gates.items():
        logit = _logit(graph, node)
        if logit is None:
            continue
        of, sign = logit
        for index, state in enumerate(graph.states):
            at_0, at_1 = (_hold(graph, gates, gate, value, state, index) for value in (0.0, 1.0))
            if (at_0[0], at_1[0]) == (0, 1):
                keeping[gate] = Role(gate, of, sign)
            elif (at_0[0], at_1[0]) == (1, 0):
                keeping[gate] = Role(gate, of, -sign)
            elif at_0[0] == at_1[0] == 0.5 and at_0[1] == 0 != at_1[1]:
                taking[gate] = Role(gate, of, -sign)
    return keeping | {gate: role for gate, role in taking.items() if gate not in keeping} if keeping else {}


def _gates(graph: Graph) -> dict[str, int]:
    """The named sigmoids and their nodes."""
    return {name: node for node, name in graph.names if graph.nodes[node].op == "sigmoid"}


def _leaves(graph: Graph, state: str, old: float, inputs: dict[str, float] | None = None) -> dict[Any, Tensor]:
    """One unit whose recurrent connections are all 0; inputs, and the shifts of normalised ones, are 1 unless given."""
    used = graph.connections

    def number(value: float) -> Tensor:
        return torch.full((1, 1), value, dtype=torch.float64)

    leaves = {("state", s): number(old if s == state else 0.0) for s in graph.states}
    leaves |= {("input", g): number((inputs or {}).get(g, 1.0)) for g in used.input}
    leaves |= {("weight", g): number(0.0) for g in used.dense} | {("diag", g): number(0.0)[0] for g in used.diag}
    shifts = {_shift("x", gate): value for gate, value in (inputs or {}).items()}
    leaves |= {("vector", v): number(shifts.get(v, 1.0))[0] for v in used.vector}
    return leaves | {("mask", m): number(1.0) for m in graph.masks}


def _shift(side: str, gate: str) -> str:
    """The vector that a normalised projection has in the place of its bias."""
    return f"shift_{side}_{gate}"


def _hold(graph: Graph, gates: dict[str, int], gate: str, value: float, state: str, index: int) -> tuple[float, float]:
    """With a gate held: the share of an old state that stays, and what comes in where there is none."""
    nodes = list(graph.nodes)
    for name, node in gates.items():
        nodes[node] = Node("constant", parameters=(value if name == gate else 0.5,))
    nothing, one = (
        evaluate(nodes, _leaves(graph, state, old))[graph.results[index]].item() for old in (0.0, 1.0)
    )  # fmt: skip
    return round(one - nothing, 9), round(nothing, 9)


def _logit(graph: Graph, node: int) -> tuple[str, int] | None:
    """The one gate of x, or of u, that a sigmoid's logit is made from, and the sign with which it enters."""
    found = []
    for gate in graph.connections.input:
        low, high = (
            evaluate(graph.nodes, _leaves(graph, "", 0.0, {gate: value}))[node].item() for value in (-1.0, 1.0)
        )  # fmt: skip
        if low != high:
            found.append((gate, 1 if high > low else -1))
    return found[0] if len(found) == 1 else None


def chrono_init(layer: Recurrent, T_max: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Chrono initialisation (Tallec and Ollivier 2018, arXiv:1804.11188): biases for memories of 1 to T_max steps.

    b ~ log U[1, T_max − 1] for a gate that keeps, −b for one that lets go or takes in; with both, as in ``lstm``, they
    share the draw: b_f = b, b_i = −b. In the layer the input's bias is set to it and the recurrent one to 0; with
    layer normalisation, which has no biases, the shifts of both sides.

    Args:
        layer: changed in place, in all its layers and directions.
        T_max: the longest dependency, in steps.
        generator: of the drawing.

    Returns:
        The biases by gate, (hidden,), of the last layer; empty where it is not defined: the cell has no gate
        that :func:`roles` knows, or neither biases nor shifts.

    >>> import math
    >>> layer = Recurrent("gru", 3, 5)
    >>> b = chrono_init(layer, 100, torch.Generator().manual_seed(0))["z"]
    >>> bool((b >= 0).all() and (b <= math.log(99)).all()), layer.bias_ih_l0[5:10].equal(b)
    (True, True)
    """
    biases: dict[str, Tensor] = {}
    for shape, directions in zip(layer.shapes, layer.request().weights, strict=True):
        settable = _settable(shape)
        for weights in directions if settable else ():
            uniform = torch.rand(shape.hidden_size, generator=generator)
            b = (1 + uniform * max(T_max - 2, 0)).log()
            for gate, role in settable.items():
                biases[gate] = role.sign * b
                _start(weights, shape.connections, role.of, biases[gate])
    return biases


def chrono_gates(layer: Recurrent) -> tuple[str, ...]:
    """The gates that :func:`chrono_init` sets."""
    return tuple(dict.fromkeys(gate for shape in layer.shapes for gate in _settable(shape)))


def _settable(shape: LayerShape) -> dict[str, Role]:
    """The roles of the gates that have a bias or a shift."""
    vectors = shape.connections.vector
    return {
        gate: role for gate, role in roles(shape.cell).items() if shape.bias or _shift("x", role.of) in vectors
    }  # fmt: skip


def _start(weights: Weights, used: Connections, gate: str, value: Tensor) -> None:
    """The input's bias or shift of a gate is the value, the recurrent one 0, where there are such."""
    H = len(value)
    places = (
        ("x", weights.input_bias, used.input, value),
        ("u", weights.recurrent_bias, used.dense, torch.zeros_like(value)),
    )
    with torch.no_grad():
        for side, bias, gates, start in places:
            if bias is not None and gate in gates:
                at = gates.index(gate) * H
                bias[at : at + H] = start
            if weights.vector is not None and _shift(side, gate) in used.vector:
                weights.vector[used.vector.index(_shift(side, gate))] = start


def openings(layer: Recurrent, examples: Examples) -> dict[str, dict[str, float]]:
    """Mean opening of each named sigmoid gate at each decisive moment, over units and examples.

    The cell's graph is evaluated step by step, on one layer in one direction.

    Returns:
        ``{gate: {moment: mean}}``; empty for a cell without named sigmoids, or one that cannot be traced.
    """
    courses = gate_courses(layer, examples.inputs)
    moments = {name: where for name, where in examples.moments.items() if where.any()}
    return {
        gate: {name: round(course[where].mean().item(), 4) for name, where in moments.items()}
        for gate, course in courses.items()
    }


def gate_courses(layer: Recurrent, inputs: Tensor) -> dict[str, Tensor]:
    """Each named sigmoid gate over time, its mean over the units: (L, B).

    Args:
        layer: its first layer is looked at, forward.
        inputs: tokens (L, B), or numbers (L, B, I).
    """
    first = layer.shapes[0]
    try:
        graph = trace(first.cell)
    except UnsupportedOperationError:
        return {}
    gates, request = _gates(graph), layer.request()
    if not gates:
        return {}
    weights, used, H = request.weights[0][0], first.connections, first.hidden_size
    with torch.no_grad():
        x = inputs if inputs.is_floating_point() else Tokens(inputs, layer.input_size, None).dense(torch.float32)
        leaves: dict[tuple[str, str], Tensor] = {}
        steps: dict[str, Tensor] = {}
        if weights.input is not None:
            projected = F.linear(x, weights.input, weights.input_bias).split(H, dim=-1)
            steps = dict(zip(used.input, projected, strict=True))
        parts = (
            ("weight", used.dense, weights.recurrent),
            ("bias", used.dense, weights.recurrent_bias),
            ("diag", used.diag, weights.diag),
            ("vector", used.vector, weights.vector),
        )
        for kind, names, stacked in parts:
            if stacked is not None:
                rows = stacked.unbind() if kind in ("diag", "vector") else stacked.chunk(len(names))
                leaves |= {(kind, name): part for name, part in zip(names, rows, strict=True)}
        nothing = x.new_zeros(x.shape[1], H)
        leaves |= {("mask", name): torch.full_like(nothing, mask.mean) for name, mask in first.cell.masks.items()}
        states = dict.fromkeys(graph.states, nothing)
        courses: dict[str, list[Tensor]] = {gate: [] for gate in gates}
        for t in range(len(x)):
            now = {("state", name): value for name, value in states.items()}
            now |= {("input", gate): value[t] for gate, value in steps.items()}
            values = evaluate(graph.nodes, now | leaves)
            states = {name: values[i] for name, i in zip(graph.states, graph.results, strict=True)}
            for gate, node in gates.items():
                courses[gate].append(values[node].mean(-1))
    return {gate: torch.stack(course) for gate, course in courses.items()}
