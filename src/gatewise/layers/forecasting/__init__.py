"""Forecasting models: the past in, the steps to come out, any cell in between."""

from gatewise.layers.forecasting.anchored import ANCHORS, Anchored
from gatewise.layers.forecasting.direct import Direct
from gatewise.layers.forecasting.horizon_head import HorizonHead
from gatewise.layers.forecasting.model import ForecastingModel, Sizes
from gatewise.layers.forecasting.quantiles import increasing, middle
from gatewise.layers.forecasting.registry import FORECASTING, forecasting_model, options_of
from gatewise.layers.forecasting.segment import Segment

__all__ = [
    "ANCHORS",
    "FORECASTING",
    "Anchored",
    "Direct",
    "ForecastingModel",
    "HorizonHead",
    "Segment",
    "Sizes",
    "forecasting_model",
    "increasing",
    "middle",
    "options_of",
]
