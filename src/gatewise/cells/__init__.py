"""THE EQUATIONS: every cell is one small class."""

# Each import registers its cells, in this order.
from gatewise.cells import rnn, gru, lstm, hybrid, minimal, evolved  # noqa: F401, I001
from gatewise.cells.cell import Cell, Connections, Mask, Named, connections
from gatewise.cells.registry import CELLS, register, resolve
from gatewise.cells.transforms import CellLike, Transform, check_rate, layer_norm, recurrent_dropout, zoneout

__all__ = [
    "CELLS",
    "Cell",
    "CellLike",
    "Connections",
    "Mask",
    "Named",
    "Transform",
    "check_rate",
    "connections",
    "layer_norm",
    "recurrent_dropout",
    "register",
    "resolve",
    "zoneout",
]
