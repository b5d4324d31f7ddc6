"""The cells known by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gatewise.cells.cell import Cell
from gatewise.errors import UserError, nearest

CELLS: dict[str, type[Cell]] = {}
"""Name -> cell class, in the order in which ``gatewise cells`` lists them."""

CellClass = TypeVar("CellClass", bound=type[Cell])


def register(name: str) -> Callable[[CellClass], CellClass]:
    """Make a cell known by ``name`` to the command line and to ``Recurrent("name", ...)``.

    Raises:
        UserError: another cell has that name already. Running the same definition again (a notebook) replaces it.

    Example:
        >>> import torch, gatewise
        >>> @gatewise.register("leaky-average")
        ... class LeakyAverage(gatewise.Cell):
        ...     gates = ("n",)
        ...     def step(self, x, u, h):
        ...         return 0.9 * h + 0.1 * torch.tanh(x.n + u.n(h))
        >>> gatewise.Recurrent("leaky-average", 3, 5)
        Recurrent(leaky-average, 3, 5)
    """

    def add(cell: CellClass) -> CellClass:
        if not (isinstance(cell, type) and issubclass(cell, Cell)):
            raise UserError(f"register('{name}') decorates a class derived from gatewise.Cell, not {cell!r}")
        held = CELLS.get(name)
        if held is not None and (held.__module__, held.__qualname__) != (cell.__module__, cell.__qualname__):
            raise UserError(
                f"the name '{name}' belongs to {held.__module__}.{held.__qualname__}; register under another name"
            )
        cell.name = name
        CELLS[name] = cell
        return cell

    return add


def resolve(cell: str | type[Cell] | Cell) -> Cell:
    """The cell for a name, a class or an instance.

    >>> resolve("gru").gates
    ('r', 'z', 'n')
    """
    if isinstance(cell, Cell):
        return cell
    if isinstance(cell, type) and issubclass(cell, Cell):
        return cell()
    if isinstance(cell, str):
        if cell not in CELLS:
            hint = nearest(cell, list(CELLS))
            own = "of your own: import its module, or --cell-file FILE"
            raise UserError(f"no cell is called '{cell}': {hint}{' One' if hint.endswith('?') else '; one'} {own}")
        return CELLS[cell]()
    raise UserError(f"a cell is a name, a gatewise.Cell class or an instance of one, not {cell!r}")
