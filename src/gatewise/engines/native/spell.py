"""C++ for a graph's values: names, expressions, and the function around them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from gatewise.graph import Node

_CALLS = {"minimum", "maximum", "sigmoid", "tanh", "relu", "leaky_relu", "softplus", "exp", "log", "sqrt", "abs",
          "clamp", "positive", "sign", "within", "greater"}  # fmt: skip
_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_POWERS = {2.0: "square({})", 3.0: "cube({})", 0.5: "sqrt({})", 1.0: "{}", -1.0: "(real(1) / {})"}

# Names that the emitted functions use themselves, and words of C++ that a cell's author might take for a value.
_TAKEN = frozenset(
    """f b x at block row last stage means panel p o i start units ragged out index tile real vec W load store splat
    abs exp log sqrt tanh sigmoid relu leaky_relu softplus clamp minimum maximum positive sign within greater square
    cube power std assert errno stdin stdout stderr alignas alignof and and_eq asm auto bitand bitor bool break
    case catch char class compl concept const const_cast constexpr continue decltype default delete do double
    dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable
    namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
    reinterpret_cast requires return short signed sizeof static static_assert static_cast struct switch
    template this thread_local throw true try typedef typeid typename union unsigned using virtual void
    volatile while xor xor_eq""".split()  # noqa: SIM905
)
# Our own numbered names; macros.
_RESERVED = re.compile(r"(v|u|back|sum_|previous_|next_|kept_|gradients_|temporaries_|carried_)\d+|_.*|[A-Z0-9_]{2,}")


class Names:
    """Names for nodes that C++ takes, each given once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.of: dict[int, str] = {}
        self._taken = {*_TAKEN, *taken}

    def give(self, node: int, name: str) -> None:
        if node in self.of:
            return
        if not name.isascii() or _RESERVED.fullmatch(name):
            name = f"v{node}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        self.of[node] = name

    def get(self, node: int) -> str:
        return self.of.get(node, f"v{node}")


def number(value: float) -> str:
    """A number of the kernel's precision."""
    if math.isinf(value):
        return ("-" if value < 0 else "") + "std::numeric_limits<real>::infinity()"
    if math.isnan(value):
        return "std::numeric_limits<real>::quiet_NaN()"
    return f"real({value!r})"


def indent(lines: Iterable[str], by: int) -> list[str]:
    return [" " * by + line if line else "" for line in lines]


def bare(text: str) -> str:
    """The expression without parentheses around the whole of it."""
    if not text.startswith("("):
        return text
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if i == len(text) - 1 else text
    return text


class Body:
    """The lines of one stage's pointwise work: values are defined as they are asked for, each once.

    Args:
        nodes: of the plan.
        given: how a node that is not computed here is had: its C++ expression, or None if it is to be computed.
        names: of nodes.
        roots: the nodes that are asked for.
        inverses: of nodes of which one over the value is at hand, how it is had: a division becomes a product.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        given: Callable[[int], str | None],
        names: Names,
        roots: Sequence[int],
        inverses: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self.nodes, self.given, self.names, self.inverses = nodes, given, names, inverses
        self.needed: set[int] = set()
        pending = list(roots)
        while pending:
            i = pending.pop()
            if i not in self.needed:
                self.needed.add(i)
                pending.extend(() if given(i) is not None else self._args(i))
        computed = [i for i in self.needed if given(i) is None]
        self._uses = Counter(a for i in computed for a in self._args(i)) + Counter(roots)
        self._known: dict[int, str] = {}
        self.lines: list[str] = []

    def _args(self, i: int) -> tuple[int, ...]:
        """What a node is computed from."""
        args = self.nodes[i].args
        return args[:1] if self.nodes[i].op == "div" and args[1] in self.inverses else args

    def define_all(self, first: int = 0) -> None:
        """Define what is needed in the graph's order, from node ``first`` on."""
        for i in sorted(self.needed):
            if i >= first:
                self.value(i)

    def value(self, i: int) -> str:
        """A vector: a name, or an expression that may stand anywhere."""
        text = self._operand(i)
        return f"splat({text})" if self.nodes[i].op == "constant" else text

    def _operand(self, i: int) -> str:
        if i in self._known:
            return self._known[i]
        node = self.nodes[i]
        if node.op == "constant":
            return number(node.parameters[0])
        given = self.given(i)
        if given is not None and given.isidentifier():  # it has a name already
            self._known[i] = given
            return given
        text = given if given is not None else self._spell(node)
        if given is None and self._uses[i] <= 1 and i not in self.names.of:
            self._known[i] = f"({text})" if node.op in _OPERATORS or node.op in ("neg", "diag") else text
            return self._known[i]
        name = self._known[i] = self.names.get(i)
        self.lines.append(f"const vec {name} = {bare(text)};")
        return name

    def _spell(self, n: Node) -> str:
        if n.op == "div" and n.args[1] in self.inverses:
            return f"{self._operand(n.args[0])} * {self.inverses[n.args[1]]}"
        if n.op in _OPERATORS:
            numbers = all(self.nodes[a].op == "constant" for a in n.args)  # their result has to be a vector too
            first = self.value(n.args[0]) if numbers else self._operand(n.args[0])
            return f"{first} {_OPERATORS[n.op]} {self._operand(n.args[1])}"
        args = [self.value(a) for a in n.args]
        if n.op == "neg":
            return f"-{args[0]}"
        if n.op == "diag":
            return f"diag_{n.of} * {args[0]}"
        if n.op == "power":
            exponent = n.parameters[0]
            if exponent == 0.0:
                return "splat(1)"
            if exponent in _POWERS:
                return _POWERS[exponent].format(args[0])
            return f"power({bare(args[0])}, {number(exponent)})"
        assert n.op in _CALLS, n.op
        return f"{n.op}({', '.join([*map(bare, args), *map(number, n.parameters)])})"


class StageFunction:
    """One emitted function: products for a block, then pointwise work panel by panel and row by row.

    Args:
        context: the name of its first argument, ``f`` or ``b``.
        width: panels of a block.
    """

    def __init__(self, context: str, width: int) -> None:
        self.context, self.width = context, width
        self.head: list[str] = []
        self.per_panel: list[str] = []
        self.idle: list[str] = []
        self.per_row: list[str] = []
        self.after: list[str] = []
        self._planes: dict[str, str] = {}

    def column(self, gate: int, gates: int) -> str:
        """The tile's column of a gate in the panel at hand."""
        return str(gate) if self.width == 1 else f"p * {gates} + {gate}" if gates > 1 else "p"

    def plane(self, kind: str, index: int) -> str:
        """The address of the block's first number in a plane."""
        c = self.context
        self._planes[f"{kind}_{index}"] = f"auto *const {kind}_{index} = {c}.{kind} + {index} * {c}.at.plane + start;"
        return f"{kind}_{index}"

    def load(self, kind: str, index: int) -> str:
        return f"load({self.plane(kind, index)} + o)"

    def store(self, kind: str, index: int, value: str) -> str:
        return f"store({self.plane(kind, index)} + o, {bare(value)});"

    def lines(self, name: str, argument: str) -> list[str]:
        c = self.context
        inner = [
            f"const int64_t panel = {'at.panel' if self.width == 1 else 'at.panel + p'};",
            *([f"if (panel >= {c}.at.panels) break;"] if self.width > 1 else []),
            f"const int64_t start = {c}.at.offset(panel, at.row);",
            *self._planes.values(),
            *self.per_panel,
            "for (int64_t i = 0, o = 0; i < at.rows; ++i, o += W) {",
            f"  if (ragged && {c}.idle(at.row + i)) {{",
            *indent([*self.idle, "continue;"], 4),
            "  }",
            *indent(self.per_row, 2),
            "}",
            *self.after,
        ]
        if self.width > 1:
            inner = [f"for (int p = 0; p < {self.width}; ++p) {{", *indent(inner, 2), "}"]
        head = [*self.head, f"const bool ragged = {c}.c.lengths;"]
        return [f"static void {name}(const {argument} &{c}, const Block &at) {{", *indent([*head, *inner], 2), "}", ""]
