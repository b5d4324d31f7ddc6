"""Cells over time as ``nn.Module``s."""

from gatewise.layers.language_model import LanguageModel, detach, initialise_like_the_book
from gatewise.layers.recurrent import GRU, LSTM, RNN, Recurrent

__all__ = ["GRU", "LSTM", "RNN", "LanguageModel", "Recurrent", "detach", "initialise_like_the_book"]
