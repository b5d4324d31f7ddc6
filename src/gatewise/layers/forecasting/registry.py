"""The forecasting models known by name."""

from __future__ import annotations

import inspect
from typing import Any

from gatewise.errors import UserError, nearest
from gatewise.layers.forecasting.attention import AttentionSeq2Seq
from gatewise.layers.forecasting.direct import Direct
from gatewise.layers.forecasting.model import ForecastingModel, Sizes
from gatewise.layers.forecasting.segment import Segment
from gatewise.layers.forecasting.seq2seq import Seq2Seq
from gatewise.layers.forecasting.tcn import TCNRecurrent
from gatewise.layers.forecasting.tpa import TPA
from gatewise.layers.options import Options

FORECASTING: dict[str, type[ForecastingModel]] = {
    "direct": Direct,
    "seq2seq": Seq2Seq,
    "attention": AttentionSeq2Seq,
    "tpa": TPA,
    "tcn": TCNRecurrent,
    "segment": Segment,
}
"""Name -> model, the plainest first."""


def forecasting_model(
    name: str, input_size: int, target_size: int, known_size: int, lookback: int, horizon: int, outputs: int = 1,
    feed_history: bool = True, **network: Any,
) -> ForecastingModel:  # fmt: skip
    """The model of this name.

    Args:
        name: one of :data:`FORECASTING`.
        input_size: features of the past, d_in.
        target_size: values forecast at a step, k.
        known_size: features known of the steps to come, m.
        lookback: steps of the past, L.
        horizon: steps to come, H.
        outputs: numbers for each value, q.
        feed_history: see :class:`Sizes`.
        network: what the model's class takes beside the sizes: cell, hidden_size, num_layers, dropout, its own options
            and those of :class:`gatewise.Recurrent`.

    Raises:
        UserError: an unknown name, or an option that the model does not have.

    >>> forecasting_model("direct", 3, 1, 0, lookback=24, horizon=6, cell="lstm", hidden_size=8).encoder
    Recurrent(lstm, 4, 8)
    """
    if name not in FORECASTING:
        raise UserError(f"no forecasting model '{name}': {nearest(name, FORECASTING)}")
    sizes = Sizes(input_size, target_size, known_size, lookback, horizon, outputs, feed_history)
    has = options_of(name)
    for option in network:
        if option not in has:
            raise UserError(f"forecasting model '{name}' has no option '{option}': {nearest(option, has)}")
    return FORECASTING[name](sizes, **network)


def options_of(name: str) -> tuple[str, ...]:
    """What a model of this name can be given beside its sizes.

    >>> options_of("direct")[:5]
    ('cell', 'hidden_size', 'num_layers', 'dropout', 'bidirectional')
    """
    _, _, *own, _ = inspect.signature(FORECASTING[name].__init__).parameters  # self, sizes ... options
    return (*own, *Options.__annotations__)
