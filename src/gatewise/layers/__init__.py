"""Cells over time as ``nn.Module``s."""

from gatewise.layers.base import CellLayer
from gatewise.layers.conv import ConvGRU, ConvLSTM, ConvRecurrent
from gatewise.layers.frame_forecaster import FrameForecaster
from gatewise.layers.language_model import LanguageModel, detach, initialise_like_the_book
from gatewise.layers.named import GRU, LSTM, RNN
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.session import Session, stream

__all__ = [
    "GRU", "LSTM", "RNN", "CellLayer", "ConvGRU", "ConvLSTM", "ConvRecurrent", "FrameForecaster", "LanguageModel",
    "Recurrent", "Session", "detach", "initialise_like_the_book", "stream",
]  # fmt: skip
