"""THE EQUATIONS: every cell is one small class."""

# Each import registers its cells, in this order.
from gatewise.cells import rnn, gru, lstm, hybrid, minimal, evolved  # noqa: F401, I001
from gatewise.cells.cell import Cell, Connections, Mask, Named, connections
from gatewise.cells.registry import CELLS, register, resolve
from gatewise.cells.transforms import CellLike, Mapped, Transform, check_rate, layer_norm, zoneout

__all__ = [
    "CELLS",
    "Cell",
    "CellLike",
    "Connections",
    "Mapped",
    "Mask",
    "Named",
    "Transform",
    "check_rate",
    "connections",
    "layer_norm",
    "register",
    "resolve",
    "zoneout",
]
