"""Sums and products of a graph's values, without those that change nothing."""

from __future__ import annotations

from gatewise.graph.graph import Builder


class Algebra(Builder):
    """A builder that leaves out what does nothing: + 0, * 1, --a; numbers among themselves are computed."""

    def is_constant(self, i: int, value: float) -> bool:
        return self.nodes[i].op == "constant" and self.nodes[i].parameters == (value,)

    def both_constant(self, a: int, b: int) -> bool:
        return self.nodes[a].op == self.nodes[b].op == "constant"

    def add(self, a: int, b: int) -> int:
        if self.both_constant(a, b):
            return self.constant(self.nodes[a].parameters[0] + self.nodes[b].parameters[0])
        if self.is_constant(a, 0.0):
            return b
        if self.is_constant(b, 0.0):
            return a
        if self.nodes[b].op == "neg":
            return self.node("sub", a, self.nodes[b].args[0])
        if self.nodes[a].op == "neg":
            return self.node("sub", b, self.nodes[a].args[0])
        return self.node("add", a, b)

    def mul(self, a: int, b: int) -> int:
        if self.both_constant(a, b):
            return self.constant(self.nodes[a].parameters[0] * self.nodes[b].parameters[0])
        for one, other in ((a, b), (b, a)):
            if self.is_constant(one, 0.0):
                return one
            if self.is_constant(one, 1.0):
                return other
            if self.is_constant(one, -1.0):
                return self.neg(other)
        if self.nodes[a].op == "neg":
            return self.neg(self.mul(self.nodes[a].args[0], b))
        if self.nodes[b].op == "neg":
            return self.neg(self.mul(a, self.nodes[b].args[0]))
        return self.node("mul", a, b)

    def sub(self, a: int, b: int) -> int:
        keeps = self.nodes[b].op == "constant" and self.nodes[a].op != "constant" and not self.is_constant(b, 0.0)
        return self.node("sub", a, b) if keeps else self.add(a, self.neg(b))

    def div(self, a: int, b: int) -> int:
        if self.is_constant(a, 0.0) or self.is_constant(b, 1.0):
            return a
        return self.node("div", a, b)

    def neg(self, a: int) -> int:
        if self.nodes[a].op == "constant":
            return self.constant(-self.nodes[a].parameters[0])
        return self.nodes[a].args[0] if self.nodes[a].op == "neg" else self.node("neg", a)

    def one_minus(self, a: int) -> int:
        return self.node("sub", self.constant(1.0), a)

    def square(self, a: int) -> int:
        return self.node("power", a, parameters=(2.0,))

    def mean(self, a: int) -> int:
        return a if self.nodes[a].op == "constant" else self.node("mean", a)

    def product(self, op: str, gate: str, a: int) -> int:
        return a if self.is_constant(a, 0.0) else self.node(op, a, of=gate)
