"""Gatewise: write the equations of a gated recurrent cell; the rest follows from them."""

from gatewise.cells import CELLS, Cell, register
from gatewise.engines import which
from gatewise.errors import UserError
from gatewise.graph import explain, trace
from gatewise.layers import GRU, LSTM, RNN, LanguageModel, Recurrent

__version__ = "0.1.0"

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "LanguageModel",
    "Recurrent",
    "UserError",
    "explain",
    "register",
    "trace",
    "which",
]
