"""THE EQUATIONS: every cell is one small class."""

from gatewise.cells import rnn, gru, lstm  # noqa: F401, I001  (each import registers its cells, in this order)
from gatewise.cells.cell import Cell, Connections, Named, connections
from gatewise.cells.registry import CELLS, register, resolve

__all__ = ["CELLS", "Cell", "Connections", "Named", "connections", "register", "resolve"]
