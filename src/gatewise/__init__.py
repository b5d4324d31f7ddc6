"""Gatewise: write the equations of a gated recurrent cell; the rest follows from them."""

from importlib.metadata import version

from gatewise.cells import CELLS, Cell, layer_norm, register, zoneout
from gatewise.engines import which
from gatewise.errors import UserError
from gatewise.graph import explain, recurrent_dropout, trace
from gatewise.layers import GRU, LSTM, RNN, ConvGRU, ConvLSTM, ConvRecurrent, LanguageModel, Recurrent, stream
from gatewise.training import load

__version__ = version("gatewise")

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "ConvGRU",
    "ConvLSTM",
    "ConvRecurrent",
    "LanguageModel",
    "Recurrent",
    "UserError",
    "explain",
    "layer_norm",
    "load",
    "recurrent_dropout",
    "register",
    "stream",
    "trace",
    "which",
    "zoneout",
]
