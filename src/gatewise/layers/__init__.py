"""Cells over time as ``nn.Module``s."""

from gatewise.layers.base import CellLayer
from gatewise.layers.conv import ConvGRU, ConvLSTM, ConvRecurrent
from gatewise.layers.decoder import SequenceDecoder
from gatewise.layers.emission import VARIANCES, Emission, SeriesEmission, TokenEmission
from gatewise.layers.evidence import (
    Gaussian,
    active_units,
    check_probability,
    divergence,
    free_bits,
    importance_bound,
    mutual_information,
)
from gatewise.layers.forecasting import FORECASTING, ForecastingModel, forecasting_model
from gatewise.layers.frame_forecaster import FrameForecaster
from gatewise.layers.language_model import LanguageModel, detach, initialise_like_the_book
from gatewise.layers.latent import Evidence, LatentModel
from gatewise.layers.named import GRU, LSTM, RNN
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.session import Session, stream
from gatewise.layers.variational import SequenceVAE
from gatewise.layers.vrnn import VRNN

__all__ = [
    "FORECASTING",
    "GRU",
    "LSTM",
    "RNN",
    "VARIANCES",
    "VRNN",
    "CellLayer",
    "ConvGRU",
    "ConvLSTM",
    "ConvRecurrent",
    "Emission",
    "Evidence",
    "ForecastingModel",
    "FrameForecaster",
    "Gaussian",
    "LanguageModel",
    "LatentModel",
    "Recurrent",
    "SequenceDecoder",
    "SequenceVAE",
    "SeriesEmission",
    "Session",
    "TokenEmission",
    "active_units",
    "check_probability",
    "detach",
    "divergence",
    "forecasting_model",
    "free_bits",
    "importance_bound",
    "initialise_like_the_book",
    "mutual_information",
    "stream",
]
