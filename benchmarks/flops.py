"""How many floating-point operations a case needs."""

from __future__ import annotations

from benchmarks.case import Case, What
from gatewise import trace
from gatewise.cells import resolve
from gatewise.graph import Graph


def flops(case: Case) -> int:
    """Floating-point operations that the work of a case needs: matrix products alone, a multiplication and an addition
    each counted as one.

    With G_x gates that see the input and G_h recurrent products of size H x H in a step:

    - forward: ``2 T B (G_x H I + G_h H H)``;
    - backward: ``2 T B G_x H I`` for the input weights and ``2 T B G_h H H`` for the recurrent ones; the same again
      for the operand of every recurrent product, but ``2 (T - 1) B H H`` if that is a state as it stands, since the
      initial state has no gradient here; and for the input, ``2 T B G_x H I``, where the case asks for its gradient.

    Where the input is tokens, its product is a look-up: nothing is counted for it in either direction. A language
    model has its head: ``2 T B H V`` forward, twice that backward.

    Example:
        >>> from benchmarks.case import Sizes
        >>> flops(Case("gru", What.INFER, Sizes(1, 1, 28, 256))) == 2 * 3 * 256 * (28 + 256)
        True
    """
    graph = trace(resolve(case.cell))
    T, B, I, H = case.sizes
    tokens = case.what.counts_tokens
    from_input = 0 if tokens else 2 * T * B * len(graph.connections.input) * H * I
    operands = [node.args[0] for node in graph.nodes if node.op == "dense"]
    recurrent = 2 * T * B * len(operands) * H * H
    head = 2 * T * B * H * I if tokens else 0
    total = from_input + recurrent + head
    if case.what not in (What.TRAIN, What.TRAIN_INPUT, What.TEXT):
        return total
    steps = sum(T if _learns(graph, operand) else T - 1 for operand in operands)
    total += from_input + recurrent + 2 * steps * B * H * H + 2 * head
    return total + (from_input if case.what is What.TRAIN_INPUT else 0)


def _learns(graph: Graph, node: int) -> bool:
    """Whether a value depends on a weight within its own step, so that it has a gradient at the first step too."""
    found = graph.nodes[node]
    return found.op in ("input", "vector", "dense", "diag") or any(_learns(graph, arg) for arg in found.args)
