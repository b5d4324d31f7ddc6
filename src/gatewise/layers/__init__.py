"""Cells over time as ``nn.Module``s."""

from gatewise.layers.recurrent import GRU, LSTM, RNN, Recurrent

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]
