"""The coefficients of a cell that is linear in its states, as formulas."""

from __future__ import annotations

from gatewise.graph.graph import Graph
from gatewise.graph.linear import NotLinear, linear
from gatewise.graph.show import LATEX, TEXT, Lines, Printer, forward_aliases, unlike


def linear_formulas(graph: Graph, latex: bool = False) -> str:
    """s_t = a_t ⊙ s_{t-1} + b_t for each state s that sees its past, a_t and b_t written out; "" if that cannot be.

    What else is in a step, a next state without a past of its own included, is computed for all t by its equation.

    Example:
        >>> from gatewise.graph import trace
        >>> print(linear_formulas(trace("min-gru")))
        Linear in h, so that a parallel scan can take all time steps at once
          a_t = 1 − z
          b_t = z ⊙ (W_n x_t + b_n)
          h_t = a_t ⊙ h_{t-1} + b_t
    """
    found = linear(graph)
    if isinstance(found, NotLinear):
        return ""
    printer = Printer(graph.nodes, LATEX if latex else TEXT, forward_aliases(graph), graph.biased)
    printer.name_what_is_shared(list(graph.results))  # as the forward equations do, in whose names these are written
    printed = set(printer.aliases)
    printer.nodes = found.nodes
    own = [(r.state, r.a, r.b) for r in found.recurrences if r.a is not None]
    printer.name_what_is_shared([node for _, a, b in own for node in (a, b)])
    lines, style = Lines(), printer.style
    for i in sorted(set(printer.aliases) - printed):
        lines.add(style.name(printer.aliases[i]), printer.expression(i, use_alias=False))
    taken = _taken(graph) | set(printer.aliases.values())
    for state, a, b in own:
        which = f"{state}_t" if len(own) > 1 else "t"
        names = [style.name(unlike(f"{letter}_{which}", taken)) for letter in "ab"]
        for name, node in zip(names, (a, b), strict=True):
            lines.add(name, printer.expression(node))
        past = f"{names[0]}{style.times}{style.previous(state)} + {names[1]}"
        lines.add(style.name(f"{state}_t"), past)
    if not lines.rows:
        return ""
    title = (
        f"Linear in {' and '.join(state for state, *_ in own)}, so that a parallel scan can take all time steps at once"
    )
    return f"\\[\n{lines.latex()}\n\\]" if latex else f"{title}\n{lines.text()}"


def _taken(graph: Graph) -> set[str]:
    """Weights that a coefficient could be mistaken for: the bias of a gate t is b_t."""
    used = graph.connections
    return {f"b_{gate}" for gate in used.input} | set(used.vector) | {f"{state}_t" for state in graph.states}
