"""Gatewise: write the equations of a gated recurrent cell; the rest follows from them."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gatewise.cells import CELLS, Cell, layer_norm, register, zoneout
from gatewise.engines import which
from gatewise.errors import UserError
from gatewise.graph import explain, recurrent_dropout, trace
from gatewise.layers import GRU, LSTM, RNN, ConvGRU, ConvLSTM, ConvRecurrent, LanguageModel, Recurrent, stream
from gatewise.training import load

if TYPE_CHECKING:
    from gatewise.estimators import Classifier, Forecaster, Regressor

__version__ = version("gatewise")

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "Classifier",
    "ConvGRU",
    "ConvLSTM",
    "ConvRecurrent",
    "Forecaster",
    "LanguageModel",
    "Recurrent",
    "Regressor",
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


def __getattr__(name: str) -> Any:
    """The estimators are fetched when they are asked for: scikit-learn takes a second to start."""
    if name in ("Classifier", "Forecaster", "Regressor"):
        import gatewise.estimators

        return getattr(gatewise.estimators, name)
    raise AttributeError(f"module 'gatewise' has no attribute '{name}'")
