"""Forecasting models: the past in, the steps to come out, any cell in between."""

from gatewise.layers.forecasting.anchored import ANCHORS, Anchored
from gatewise.layers.forecasting.attention import AttentionSeq2Seq
from gatewise.layers.forecasting.decoding import Bridge, Forcing
from gatewise.layers.forecasting.direct import Direct
from gatewise.layers.forecasting.horizon_head import HorizonHead
from gatewise.layers.forecasting.model import ForecastingModel, Sizes
from gatewise.layers.forecasting.quantiles import increasing, middle
from gatewise.layers.forecasting.registry import FORECASTING, forecasting_model, options_of
from gatewise.layers.forecasting.segment import Segment
from gatewise.layers.forecasting.seq2seq import Seq2Seq
from gatewise.layers.forecasting.tcn import TCNRecurrent
from gatewise.layers.forecasting.tpa import TPA, TemporalPatternAttention

__all__ = [
    "ANCHORS",
    "FORECASTING",
    "TPA",
    "Anchored",
    "AttentionSeq2Seq",
    "Bridge",
    "Direct",
    "Forcing",
    "ForecastingModel",
    "HorizonHead",
    "Segment",
    "Seq2Seq",
    "Sizes",
    "TCNRecurrent",
    "TemporalPatternAttention",
    "forecasting_model",
    "increasing",
    "middle",
    "options_of",
]
