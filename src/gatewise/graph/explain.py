"""What ``explain`` prints of a cell."""

from __future__ import annotations

import inspect
import sys
from typing import TextIO

from gatewise.cells import Cell, resolve
from gatewise.graph.show import formulas
from gatewise.graph.show_linear import linear_formulas
from gatewise.graph.trace import trace


def equations(cell: str | type[Cell] | Cell, latex: bool = False) -> str:
    """What :func:`explain` prints: the cell's :func:`formulas`, as text under its title and its source.

    >>> print(equations("rnn").splitlines()[4])
      h_t = tanh(W_h x_t + b_h + U_h h_{t-1} + b'_h)
    """
    cell = resolve(cell)
    graph = trace(cell)
    found = "\n\n".join(part for part in (formulas(graph, latex), linear_formulas(graph, latex)) if part)
    if latex:
        return found
    summary = (inspect.getdoc(type(cell.written)) or "").partition("\n")[0]
    inherited = summary == (inspect.getdoc(Cell) or "").partition("\n")[0]
    title = f"{cell.name}: {summary}" if summary and not inherited else cell.name
    return "\n".join([title, cell.paper or "(no source named: the class attribute `paper` is for it)", "", found])


def explain(cell: str | type[Cell] | Cell, latex: bool = False, file: TextIO | None = None) -> None:
    """Print a cell's equations: forward, backward, and the gradient of every weight, derived from its ``step``.

    Of a cell that is linear in its states the coefficients too: h_t = a_t ⊙ h_{t-1} + b_t.

    Args:
        cell: a name, a class or an instance.
        latex: print LaTeX (``aligned`` blocks) instead of text.
        file: where to print; standard output by default.

    Raises:
        UnsupportedOperationError: the cell does something the graph has no node for.

    Example:
        >>> explain("rnn")  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
        rnn: Simple recurrent network (Elman 1990).
        ...
          da_h     = dh_t ⊙ (1 − h_t²)
          dh_{t-1} = U_hᵀ da_h
        ...
    """
    print(equations(cell, latex), file=file or sys.stdout)
