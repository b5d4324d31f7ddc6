"""A graph and its derivative as formulas: text for a terminal, LaTeX for a paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from gatewise.graph.derive import Backward, Product, derive
from gatewise.graph.graph import Graph, Node

SUM, FACTOR, POWER, ATOM = 1, 2, 3, 4  # how tightly an expression binds
DEEPEST = 50  # operations inside each other, beyond which nobody reads an expression (and Python's stack ends)


@dataclass(frozen=True)
class Style(ABC):
    """How formulas are spelled."""

    times: str
    minus: str
    infinity: str
    transposed: str
    calls: Mapping[str, str]  # operation -> template; {0}, {1} are arguments, {p0}, {p1} the operation's numbers
    parentheses: tuple[str, str]
    power: str
    fraction: str

    @abstractmethod
    def name(self, text: str) -> str:
        """A name of ours, as ``da_r``."""

    @abstractmethod
    def previous(self, state: str) -> str:
        """A state at t - 1."""

    def number(self, value: float) -> str:
        if value in (float("inf"), float("-inf")):
            return self.infinity if value > 0 else "-" + self.infinity
        return f"{value:.12g}"

    def wrap(self, text: str) -> str:
        return self.parentheses[0] + text + self.parentheses[1]


class TextStyle(Style):
    def name(self, text: str) -> str:
        return text

    def previous(self, state: str) -> str:
        return f"{state}_{{t-1}}"


class LatexStyle(Style):
    def name(self, text: str) -> str:
        """``da_r`` -> ``da_{r}``, ``c_slow_t`` -> ``c_{slow,t}``; words of several letters stand upright."""
        head, _, tail = text.partition("_")
        word = head.rstrip("'")
        primes = head[len(word) :]
        if len(word) == 2 and word[0] == "d":
            word = rf"\mathrm{{d}}{word[1]}"
        elif len(word) > 1:
            word = rf"\mathrm{{{word}}}"
        subscript = ",".join(part for part in tail.split("_") if part)
        return word + primes + (f"_{{{subscript}}}" if subscript else "")

    def previous(self, state: str) -> str:
        return self.name(f"{state}_t-1")


TEXT = TextStyle(
    times=" ⊙ ",
    minus="−",
    infinity="∞",
    transposed="{0}ᵀ",
    parentheses=("(", ")"),
    power="{0}^{1}",
    fraction="{0} / {1}",
    calls={
        "sigmoid": "σ({0})", "tanh": "tanh({0})", "relu": "max(0, {0})", "leaky_relu": "leaky_relu({0}, {p0})",
        "softplus": "softplus({0})", "exp": "exp({0})", "log": "log({0})", "sqrt": "sqrt({0})", "abs": "|{0}|",
        "clamp": "clamp({0}, {p0}, {p1})", "minimum": "min({0}, {1})", "maximum": "max({0}, {1})",
        "mean": "mean({0})",
        "positive": "[{0} > 0]", "sign": "sign({0})", "within": "[{p0} ≤ {0} ≤ {p1}]", "greater": "[{0} > {1}]",
    },
)  # fmt: skip

LATEX = LatexStyle(
    times=r" \odot ",
    minus="-",
    infinity=r"\infty",
    transposed=r"{0}^{{\top}}",
    parentheses=(r"\left(", r"\right)"),
    power="{0}^{{{1}}}",
    fraction=r"\frac{{{0}}}{{{1}}}",
    calls={
        "sigmoid": r"\sigma\left({0}\right)", "tanh": r"\tanh\left({0}\right)", "relu": r"\max\left(0, {0}\right)",
        "leaky_relu": r"\mathrm{{leaky\_relu}}_{{{p0}}}\left({0}\right)",
        "softplus": r"\mathrm{{softplus}}\left({0}\right)", "exp": r"\exp\left({0}\right)",
        "log": r"\log\left({0}\right)", "sqrt": r"\sqrt{{{0}}}", "abs": r"\left|{0}\right|",
        "clamp": r"\mathrm{{clamp}}\left({0}, {p0}, {p1}\right)", "minimum": r"\min\left({0}, {1}\right)",
        "maximum": r"\max\left({0}, {1}\right)", "positive": r"\left[{0} > 0\right]",
        "mean": r"\operatorname{{mean}}\left({0}\right)",
        "sign": r"\operatorname{{sign}}\left({0}\right)", "within": r"\left[{p0} \leq {0} \leq {p1}\right]",
        "greater": r"\left[{0} > {1}\right]",
    },
)  # fmt: skip

_SUPERSCRIPTS = {"2": "²", "3": "³"}


@dataclass
class Printer:
    """Expressions of a graph's nodes, in which nodes with an alias appear by that name."""

    nodes: tuple[Node, ...]
    style: Style
    aliases: dict[int, str] = field(default_factory=dict)
    biased: bool = True

    def expression(self, i: int, binding: int = 0, use_alias: bool = True) -> str:
        if use_alias and i in self.aliases:
            return self.style.name(self.aliases[i])
        text, own = self._spell(self.nodes[i])
        return self.style.wrap(text) if own < binding else text

    def _spell(self, n: Node) -> tuple[str, int]:
        s, e = self.style, self.expression
        match n.op:
            case "constant":
                return s.number(n.parameters[0]), SUM if n.parameters[0] < 0 else ATOM
            case "state":
                return s.previous(n.of), ATOM
            case "vector" | "mask":
                return s.name(n.of), ATOM
            case "cotangent":
                return s.name(f"d{n.of}_t"), ATOM
            case "input":
                return f"{s.name(f'W_{n.of}')} x_t" + self._bias(f"b_{n.of}"), SUM
            case "dense":
                return f"{s.name(f'U_{n.of}')} {e(n.args[0], POWER)}" + self._bias(f"b'_{n.of}"), SUM
            case "dense_transposed":
                return f"{s.transposed.format(s.name(f'U_{n.of}'))} {e(n.args[0], POWER)}", SUM
            case "diag":
                return f"{s.name('p_' + n.of)}{s.times}{e(n.args[0], FACTOR)}", FACTOR
            case "add":
                return f"{e(n.args[0], SUM)} + {e(n.args[1], SUM)}", SUM
            case "sub":
                return f"{e(n.args[0], SUM)} {s.minus} {e(n.args[1], FACTOR)}", SUM
            case "neg":
                return f"{s.minus}{e(n.args[0], FACTOR)}", SUM
            case "mul":
                a, b = sorted(n.args, key=lambda i: self.nodes[i].op != "constant")  # the number first: 2 n, not n 2
                if self.nodes[a].op == "constant":
                    return f"{e(a, FACTOR)} {e(b, POWER)}", FACTOR
                return f"{e(a, FACTOR)}{s.times}{e(b, FACTOR)}", FACTOR
            case "div":
                if s is LATEX:
                    return s.fraction.format(e(n.args[0]), e(n.args[1])), POWER
                return s.fraction.format(e(n.args[0], FACTOR), e(n.args[1], POWER)), FACTOR
            case "power":
                exponent = s.number(n.parameters[0])
                base = e(n.args[0], ATOM)
                if s is not LATEX and exponent in _SUPERSCRIPTS:
                    return base + _SUPERSCRIPTS[exponent], POWER
                return s.power.format(base, exponent), POWER
            case op:
                numbers = {f"p{k}": s.number(p) for k, p in enumerate(n.parameters)}
                return s.calls[op].format(*(e(a) for a in n.args), **numbers), ATOM

    def _bias(self, name: str) -> str:
        return f" + {self.style.name(name)}" if self.biased else ""

    def name_what_is_shared(self, needed: list[int]) -> None:
        """Give a name to what would otherwise be written out in several places at length, or nested without end."""
        alive, pending = set(), list(needed)
        while pending:
            i = pending.pop()
            if i not in alive:
                alive.add(i)
                pending.extend(self.nodes[i].args)
        uses = Counter(a for i in alive for a in self.nodes[i].args)
        depth: dict[int, int] = {}
        for i in sorted(alive):
            depth[i] = 1 + max((depth[a] for a in self.nodes[i].args), default=0)
            shared = uses[i] > 1 and self._operations(i) > 1
            if i not in self.aliases and (shared or depth[i] > DEEPEST):
                taken = set(self.aliases.values())
                self.aliases[i] = next(f"s_{k}" for k in range(1, len(self.nodes) + 2) if f"s_{k}" not in taken)
            if i in self.aliases:
                depth[i] = 0

    def _operations(self, i: int) -> int:
        inner = (a for a in self.nodes[i].args if a not in self.aliases)
        return bool(self.nodes[i].args) + sum(self._operations(a) for a in inner)


def _spoken_for(graph: Graph) -> set[str]:
    """Names with a meaning of their own in the formulas; another value of that name gets a prime."""
    names = ("x_t", *graph.connections.vector, *(f"{state}_t" for state in graph.states))
    return {d + name for name in names for d in ("", "d")}


def unlike(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    return name


def forward_aliases(graph: Graph) -> dict[int, str]:
    spoken_for = _spoken_for(graph)
    aliases = {node: unlike(name, spoken_for) for node, name in graph.names}
    for state, result in zip(graph.states, graph.results, strict=True):
        if graph.nodes[result].op != "state":
            aliases[result] = f"{state}_t"
    return aliases


@dataclass
class Lines:
    """``left = right`` rows, aligned."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, left: str, right: str, sign: str = "=") -> None:
        self.rows.append((left, sign, right))

    def text(self) -> str:
        width = max((len(left) for left, _, _ in self.rows), default=0)
        return "\n".join(f"  {left:<{width}} {sign} {right}" for left, sign, right in self.rows)

    def latex(self) -> str:
        signs = {"=": "=", "←": r"\leftarrow"}
        body = " \\\\\n".join(f"{left} &{signs[sign]} {right}" for left, sign, right in self.rows)
        return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"


def _forward_lines(graph: Graph, printer: Printer) -> Lines:
    lines = Lines()
    printer.name_what_is_shared(list(graph.results))
    for i in range(len(graph.nodes)):
        if i in printer.aliases:
            lines.add(printer.style.name(printer.aliases[i]), printer.expression(i, use_alias=False))
    for state, result in zip(graph.states, graph.results, strict=True):
        own = printer.style.name(f"{state}_t")
        if printer.expression(result) != own:
            lines.add(own, printer.expression(result))
    return lines


def _backward_aliases(backward: Backward, printer: Printer) -> dict[int, str]:
    """Names of the cotangents: dr for a named r, da_g for W_g x_t + b_g, dm_g for U_g v + b'_g."""
    nodes, names = backward.nodes, {}
    total = dict(backward.cotangents)
    taken = _spoken_for(backward.graph) | set(printer.aliases.values())

    def give(node: int, name: str) -> None:
        if node not in names and nodes[node].op not in ("cotangent", "constant"):
            names[node] = unlike(name, taken)
            taken.add(names[node])

    for state, result in zip(backward.graph.states, backward.graph.results, strict=True):
        taken.discard(f"d{state}_t")  # the state's own cotangent, updated
        give(total[result], f"d{state}_t")
    for i, name in sorted(printer.aliases.items(), reverse=True):
        give(total[i], f"d{name}")
    for gate, node in backward.inputs:
        give(node, f"da_{gate}")
    for product in backward.dense:
        give(product.cotangent, f"dm_{product.gate}")
    for product in backward.diag:
        give(product.cotangent, f"dq_{product.gate}")
    return names


def _backward_lines(backward: Backward, printer: Printer) -> Lines:
    lines, style = Lines(), printer.style
    known = set(printer.aliases)  # printed with the forward equations
    printer.nodes = backward.nodes
    ends = [*backward.states, *(n for _, n in backward.inputs), *(n for _, n in backward.vectors)]
    ends += [p.cotangent for p in (*backward.dense, *backward.diag)]
    aliases = _backward_aliases(backward, printer)
    printer.aliases |= aliases
    printer.name_what_is_shared(ends)
    updated = {f"d{s}_t" for s in backward.graph.states}
    for i in sorted(set(printer.aliases) - known):
        sign = "←" if aliases.get(i) in updated else "="
        lines.add(style.name(printer.aliases[i]), printer.expression(i, use_alias=False), sign)
    for state, node in zip(backward.graph.states, backward.states, strict=True):
        lines.add(style.previous(f"d{state}"), printer.expression(node))
    if backward.inputs:
        matrices = [(style.transposed.format(style.name(f"W_{gate}")), node) for gate, node in backward.inputs]
        terms = (f"{matrix} {printer.expression(node, POWER)}" for matrix, node in matrices)
        lines.add(style.name("dx_t"), " + ".join(terms))
    return lines


def _weight_lines(backward: Backward, printer: Printer) -> Lines:
    """The gradient of every weight, summed over time."""
    lines, s, e = Lines(), printer.style, printer.expression
    sigma = r"\sum_t " if s is LATEX else "Σ_t "

    def outer(product: Product) -> str:
        return f"{e(product.cotangent, POWER)} {s.transposed.format(e(product.operand, ATOM))}"

    def elementwise(product: Product) -> str:
        return f"{e(product.cotangent, FACTOR)}{s.times}{e(product.operand, FACTOR)}"

    def total(terms: list[str]) -> str:
        if not terms:  # the product does not reach the next state
            return "0"
        return sigma + (terms[0] if len(terms) == 1 else s.wrap(" + ".join(terms)))

    for gate, node in backward.inputs:
        lines.add(s.name(f"dW_{gate}"), f"{sigma}{e(node, POWER)} {s.transposed.format('x_t')}")
        if backward.graph.biased:
            lines.add(s.name(f"db_{gate}"), f"{sigma}{e(node, POWER)}")
    used = backward.graph.connections
    for gate in used.dense:
        products = [p for p in backward.dense if p.gate == gate]
        lines.add(s.name(f"dU_{gate}"), total([outer(p) for p in products]))
        if backward.graph.biased:
            lines.add(s.name(f"db'_{gate}"), total([e(p.cotangent, POWER) for p in products]))
    for gate in used.diag:
        lines.add(s.name(f"dp_{gate}"), total([elementwise(p) for p in backward.diag if p.gate == gate]))
    for vector, node in backward.vectors:
        lines.add(s.name(f"d{vector}"), f"{sigma}{e(node, POWER)}")
    return lines


def updates(graph: Graph) -> list[str]:
    """What becomes of the states in a step, in the names of the gates, whose own equations are left out.

    >>> from gatewise.graph import trace
    >>> updates(trace("mgu"))
    ["n = tanh(W_n x_t + b_n + U_n (f ⊙ h_{t-1}) + b'_n)", 'h_t = (1 − f) ⊙ h_{t-1} + f ⊙ n']
    """
    printer = Printer(graph.nodes, TEXT, forward_aliases(graph), graph.biased)
    gates = {TEXT.name(name) for i, name in printer.aliases.items() if graph.nodes[i].op == "sigmoid"}
    rows = _forward_lines(graph, printer).rows
    return [f"{left} = {right}" for left, _, right in rows if left not in gates]


def formulas(graph: Graph, latex: bool = False) -> str:
    """The forward and the backward equations of a traced cell, and the gradient of every weight.

    >>> from gatewise.graph import trace
    >>> print(formulas(trace("rnn")).splitlines()[1])
      h_t = tanh(W_h x_t + b_h + U_h h_{t-1} + b'_h)
    """
    backward = derive(graph)
    printer = Printer(graph.nodes, LATEX if latex else TEXT, forward_aliases(graph), graph.biased)
    forward = _forward_lines(graph, printer)
    backwards = _backward_lines(backward, printer)
    weights = _weight_lines(backward, printer)
    if latex:
        return "\n\n".join(f"\\[\n{part.latex()}\n\\]" for part in (forward, backwards, weights) if part.rows)

    given = ", ".join(f"d{s}_t" for s in graph.states)
    return "\n".join(
        [
            "Forward, t = 1 ... T",
            forward.text(),
            "",
            "Backward, t = T ... 1; dv is the derivative of the loss by v, ⊙ the product element by element",
            f"  given {given}: what reaches the state from the output at t and from step t + 1",
            backwards.text(),
            "",
            "Gradients of the weights, summed over time (and over the batch)",
            weights.text(),
        ]
    )
