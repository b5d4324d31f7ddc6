"""Graph -> plan: which values a step computes together, which it stores, and where.

A *stage* is some products and then the pointwise work that they allow. The products of a stage are computed for a block
of rows and units at a time, and the pointwise work follows while the block is at hand. A value that is needed as a
whole (the operand of a later product) or in a later stage is stored in a *plane*: one number for every row and unit.
A mean over the units is summed in one stage and there from the next one on; what is made of such means alone is one
number a row too, and computed as soon as they are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from gatewise.graph import Backward, Graph, Node
from gatewise.graph.graph import Builder

# Computed again from their arguments in the backward pass, rather than stored.
_CHEAP = {
    "add", "sub", "mul", "neg", "diag", "relu", "leaky_relu", "abs", "clamp", "minimum", "maximum",
    "positive", "sign", "within", "greater",
}  # fmt: skip

AT_HAND = ("constant", "state", "vector", "mask", "mean")
"""What any stage, of either pass, finds without a plane."""

_PER_UNIT = ("mean", "dense", "dense_transposed", "transposed_sum", "diag")
"""Whatever they are applied to, their results differ from unit to unit, or are made unit by unit."""

TRANSPOSED_SUM = "transposed_sum"
"""Σ Uᵀ v over several gates: one product. ``args`` are the values, ``of`` the gates, separated by blanks."""


@dataclass(frozen=True)
class Group:
    """Products with one operand: ``gates[i]`` of node ``nodes[i]``."""

    operand: int
    gates: tuple[str, ...]
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Derived:
    """One number a row: a node's value, or, for those that something is divided by, one over it.

    Attributes:
        node: in the backward plan's nodes.
        inverse: whether it is one over the value.
        stage: of the forward pass, from which on it is there.
    """

    node: int
    inverse: bool
    stage: int


def is_cheap(node: Node) -> bool:
    """Whether a value is sooner computed again than stored."""
    return node.op in _CHEAP or (node.op == "power" and node.parameters[0] in (0.0, 1.0, 2.0, 3.0))


def row_values(nodes: Sequence[Node], forward: int) -> frozenset[int]:
    """Nodes that are one number a row: means of the first ``forward`` nodes, and what is made of them and constants."""
    found: set[int] = set()
    for i, node in enumerate(nodes):
        is_mean = node.op == "mean" and i < forward
        made = all(a in found or nodes[a].op == "constant" for a in node.args) and not found.isdisjoint(node.args)
        if is_mean or (made and node.op not in _PER_UNIT):
            found.add(i)
    return frozenset(found)


def _users(nodes: tuple[Node, ...] | list[Node]) -> dict[int, list[int]]:
    users: dict[int, list[int]] = {i: [] for i in range(len(nodes))}
    for i, node in enumerate(nodes):
        for argument in set(node.args):
            users[argument].append(i)
    return users


class ForwardPlan:
    """The stages of a step.

    Attributes:
        graph: the cell.
        stage: of each node.
        stages: how many there are.
        inputs: for each stage, the gates whose projection W x_t + b enters in it.
        groups: for each stage, its products.
        crossing: nodes that a later stage needs, and operands of products that are no state; in order.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, nodes = graph, graph.nodes
        self.stage: list[int] = []
        for node in nodes:
            after = max((self.stage[a] for a in node.args), default=0)
            self.stage.append(after + self._waits(node))
        self.stages = 1 + max((self.stage[i] for i in range(len(nodes))), default=0)
        self.row_values = row_values(nodes, len(nodes))
        users = _users(nodes)
        for i, node in enumerate(nodes):
            if node.op == "input" and i not in graph.results:
                self.stage[i] = min(self.stage[u] - self._waits(nodes[u]) for u in users[i])
        self.crossing = self._crossing(users)

    def _waits(self, node: Node) -> bool:
        """Whether a node needs its argument for all units, from the stage before."""
        return node.op == "mean" or (node.op == "dense" and self.graph.nodes[node.args[0]].op != "state")

    def _crossing(self, users: dict[int, list[int]]) -> tuple[int, ...]:
        nodes, at_hand = self.graph.nodes, set[int]()
        found = list[int]()
        for i, node in enumerate(nodes):
            # A vector or a number as an operand is spread over the rows like any other.
            if i not in self.operands and (node.op in AT_HAND or i in self.row_values):
                at_hand.add(i)
            elif i in self.operands or any(self.stage[u] - (nodes[u].op == "mean") > self.stage[i] for u in users[i]):
                if i not in self.operands and is_cheap(node) and node.op != "diag" and at_hand.issuperset(node.args):
                    continue
                found.append(i)
                at_hand.add(i)
        return tuple(found)

    @cached_property
    def means(self) -> tuple[int, ...]:
        """The means over the units, in the order of their stages."""
        return tuple(sorted((i for i, n in enumerate(self.graph.nodes) if n.op == "mean"), key=lambda i: self.stage[i]))

    @cached_property
    def operands(self) -> frozenset[int]:
        """Operands of products that are no state."""
        nodes = self.graph.nodes
        return frozenset(n.args[0] for n in nodes if n.op == "dense" and nodes[n.args[0]].op != "state")

    @cached_property
    def inputs(self) -> tuple[tuple[str, ...], ...]:
        return tuple(
            tuple(n.of for i, n in enumerate(self.graph.nodes) if n.op == "input" and self.stage[i] == stage)
            for stage in range(self.stages)
        )

    @cached_property
    def groups(self) -> tuple[tuple[Group, ...], ...]:
        return tuple(self._groups(stage) for stage in range(self.stages))

    def _groups(self, stage: int) -> tuple[Group, ...]:
        nodes = self.graph.nodes
        products = [i for i, n in enumerate(nodes) if n.op == "dense" and self.stage[i] == stage]
        operands = dict.fromkeys(nodes[i].args[0] for i in products)
        return tuple(
            Group(operand, tuple(nodes[i].of for i in mine), tuple(mine))
            for operand in operands
            for mine in [[i for i in products if nodes[i].args[0] == operand]]
        )


class BackwardPlan:
    """The stages of a step of the backward pass, and what the forward pass has to keep for it.

    Attributes:
        nodes: the forward graph's nodes at their places, then those of the backward pass, products gathered into sums.
        stage: of each node; what the forward pass gave is there from the start.
        stages: how many there are; the first has no products.
        states: for each state the node of dL/d(previous state).
        inputs: (gate, node) of dL/d(W x_t + b), for the gates that have any.
        dense: (gate, operand, node) for every product.
        diag: (gate, node): the diagonal's gradient is the node's sum over rows and steps.
        vectors: (vector, node), likewise.
        kept: forward values to be stored for this pass, or needed by a later stage of the forward pass.
        gradients: nodes with a plane that is kept until the weights' gradients are summed.
        temporaries: nodes that a later stage of the same step needs.
        row_values: nodes made of the forward pass's means alone.
    """

    def __init__(self, forward: ForwardPlan, backward: Backward) -> None:
        self.forward, self.graph = forward, forward.graph
        self._count = len(self.graph.nodes)
        builder = Builder(backward.nodes)
        diag = [(p.gate, builder.node("mul", p.cotangent, p.operand)) for p in backward.diag]
        inputs = [(gate, i) for gate, i in backward.inputs if builder.nodes[i].op != "constant"]
        vectors = [(vector, i) for vector, i in backward.vectors if builder.nodes[i].op != "constant"]
        dense = [p for p in backward.dense if builder.nodes[p.cotangent].op != "constant"]
        diag = [(gate, i) for gate, i in diag if builder.nodes[i].op != "constant"]
        ends = [*backward.states, *(i for _, i in (*inputs, *vectors, *diag)), *(p.cotangent for p in dense)]
        moved = self._gather(builder.nodes, ends)
        self.states = tuple(moved[i] for i in backward.states)
        self.inputs = tuple((gate, moved[i]) for gate, i in inputs)
        self.vectors = tuple((vector, moved[i]) for vector, i in vectors)
        self.diag = tuple((gate, moved[i]) for gate, i in diag)
        self.dense = tuple((p.gate, p.operand, moved[p.cotangent]) for p in dense)
        self.stages = 1 + max(self.stage)
        multiplied = [a for n in self.nodes[self._count :] if n.op == TRANSPOSED_SUM for a in n.args]
        ends = [*multiplied, *(i for _, i in self.inputs), *(i for *_, i in self.dense)]
        self.gradients = tuple(dict.fromkeys(ends))
        self.kept = self._kept()
        self.temporaries = self._temporaries()

    def _gather(self, nodes: list[Node], ends: Iterable[int]) -> dict[int, int]:
        """Rebuild the backward nodes that ``ends`` need, with sums of products made one product."""
        alive: set[int] = set()
        pending = list(ends)
        uses = Counter(pending)
        while pending:
            i = pending.pop()
            if i in alive or i < self._count:
                continue
            alive.add(i)
            uses.update(nodes[i].args)
            pending.extend(nodes[i].args)
        inner = {a for i in alive if nodes[i].op == "add" for a in nodes[i].args if uses[a] == 1 and a in alive}

        def terms(i: int) -> list[int]:
            return [t for a in nodes[i].args for t in (terms(a) if a in inner and nodes[a].op == "add" else [a])]

        built = Builder(nodes[: self._count])
        self.stage = [0] * self._count
        moved = {i: i for i in range(self._count)}

        def make(op: str, *args: int, of: str = "", parameters: tuple[float, ...] = ()) -> int:
            made = built.node(op, *args, of=of, parameters=parameters)
            if made == len(self.stage):
                self.stage.append(max((self.stage[a] for a in args), default=0) + (op in (TRANSPOSED_SUM, "mean")))
            return made

        for i in sorted(alive):
            node = nodes[i]
            if i in inner and node.op in ("add", "dense_transposed"):
                continue  # part of the sum that follows
            parts = terms(i) if node.op == "add" else [i]
            products = [t for t in parts if nodes[t].op == "dense_transposed" and (t in inner or t == i)]
            if products:
                args = [moved[nodes[t].args[0]] for t in products]
                total = make(TRANSPOSED_SUM, *args, of=" ".join(nodes[t].of for t in products))
                rest = sorted((moved[t] for t in parts if t not in products), key=lambda t: self.stage[t])
                for k, term in enumerate(rest):  # those of early stages first, so that one value crosses, not several
                    rest[k] = term if k == 0 else make("add", rest[k - 1], term)
                moved[i] = make("add", rest[-1], total) if rest else total
            elif node.op == "add":
                early = sorted((moved[t] for t in parts), key=lambda t: self.stage[t])
                moved[i] = early[0]
                for term in early[1:]:
                    moved[i] = make("add", moved[i], term)
            else:
                moved[i] = make(node.op, *(moved[a] for a in node.args), of=node.of, parameters=node.parameters)
        self.nodes = tuple(built.nodes)
        self.row_values = row_values(self.nodes, self._count)
        return moved

    def _kept(self) -> tuple[int, ...]:
        needed = {a for n in self.nodes[self._count :] for a in n.args if a < self._count}
        kept = dict.fromkeys(self.forward.crossing)
        costly = [i for i in sorted(needed) if not self.is_at_hand(i, kept) and not is_cheap(self.nodes[i])]
        kept |= dict.fromkeys(costly)
        for i in sorted(needed):
            if not self.is_at_hand(i, kept) and not self._can_be_computed(i, kept):
                kept[i] = None
        return tuple(kept)

    def is_at_hand(self, i: int, kept: Iterable[int]) -> bool:
        """Whether the backward pass finds a forward value in memory."""
        at_hand = self.nodes[i].op in AT_HAND or i in self.row_values
        return at_hand or i in kept or i in self.graph.results

    def _can_be_computed(self, i: int, kept: Iterable[int]) -> bool:
        if self.is_at_hand(i, kept):
            return True
        return is_cheap(self.nodes[i]) and all(self._can_be_computed(a, kept) for a in self.nodes[i].args)

    @cached_property
    def means(self) -> tuple[int, ...]:
        """The means over the units that this pass makes itself, in the order of their stages."""
        own = (i for i in range(self._count, len(self.nodes)) if self.nodes[i].op == "mean")
        return tuple(sorted(own, key=lambda i: self.stage[i]))

    @cached_property
    def derived(self) -> tuple[Derived, ...]:
        """What is made of the forward pass's means alone and wanted unit by unit, in either pass."""
        found: dict[tuple[int, bool], None] = {}
        for i in (*self.graph.results, *self.gradients, *(i for _, i in (*self.vectors, *self.diag))):
            found |= {(i, False): None} if i in self.row_values else {}
        for i, node in enumerate(self.nodes):
            for place, a in enumerate(node.args if i not in self.row_values or node.op == "mean" else ()):
                if a in self.row_values:
                    found[a, node.op == "div" and place == 1] = None
        stages = [0] * len(self.nodes)
        for i, node in enumerate(self.nodes):
            stages[i] = self.forward.stage[i] if i < self._count else max((stages[a] for a in node.args), default=0)
        wanted = [one for one in found if one[1] or self.nodes[one[0]].op != "mean"]
        return tuple(Derived(i, inverse, stages[i]) for i, inverse in wanted)

    def _temporaries(self) -> tuple[int, ...]:
        found = dict.fromkeys(
            a
            for i in range(self._count, len(self.nodes))
            if self.nodes[i].op not in (TRANSPOSED_SUM, "mean")
            for a in self.nodes[i].args
            if a >= self._count and self.stage[a] < self.stage[i] and self.nodes[a].op not in ("constant", "mean")
            if a not in self.row_values
        )
        return tuple(i for i in found if i not in self.gradients)
