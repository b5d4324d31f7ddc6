"""Encoder and decoder: each step to come is said after the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.layers.forecasting.decoding import Bridge, Forcing, unroll
from gatewise.layers.forecasting.model import ForecastingModel, Sizes, recurrent
from gatewise.layers.forecasting.quantiles import increasing
from gatewise.layers.options import Options


class Seq2Seq(ForecastingModel):
    """Encoder and decoder of Sutskever, Vinyals and Le 2014 (arXiv:1409.3215), for numbers in the place of words.

        s_0 = encoder([past_1; history_1], ..., [past_L; history_L])     its last states, all layers
        s_t = decoder([v_{t-1}; known_t], s_{t-1}),   ŷ_t = V dropout(s_t) + a,   t = 1 ... H

    with v_0 = history_L and v_t = ŷ_t, of several outputs the middle one. While training v_t is the truth with a
    probability that falls: :class:`Forcing`. Where all of it is the truth, the decoder's steps are one call of its
    layers; else each is a call of its own, and what a call draws (recurrent dropout, weight drop) is drawn a step.

    Args:
        sizes: of the window.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer; or a list, one a layer.
        num_layers: layers of the encoder, and of the decoder; by default as many as are listed, or 1.
        dropout: between layers and before V, while training.
        bidirectional: whether the encoder reads the past from its end too; see :class:`Bridge`.
        forcing: share of the training after which the truth is fed no more.
        options: of both recurrent layers, as :class:`gatewise.Recurrent` has them; ``learned_state`` is the encoder's
            alone.

    Shapes:
        as :class:`ForecastingModel` has them.

    Example:
        >>> model = Seq2Seq(Sizes(input_size=3, target_size=2, known_size=1, lookback=24, horizon=6), "lstm", 8)
        >>> model(torch.zeros(24, 5, 3), torch.zeros(24, 5, 2), torch.zeros(6, 5, 1)).shape
        torch.Size([6, 5, 2, 1])
    """

    def __init__(
        self,
        sizes: Sizes,
        cell: CellLike | Sequence[CellLike] = "gru",
        hidden_size: int | Sequence[int] = 64,
        num_layers: int | None = None,
        dropout: float = 0.0,
        bidirectional: bool = False,
        forcing: float = 0.5,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(sizes)
        self.forcing = Forcing(forcing)
        network = (hidden_size, num_layers, dropout)
        self.encoder = recurrent(cell, sizes.encoded, *network, bidirectional, **options)
        options["learned_state"] = False  # the encoder says where the decoder starts
        self.decoder = recurrent(cell, sizes.target_size + sizes.known_size, *network, **options)
        self.bridge = Bridge(self.encoder, self.decoder)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.decoder.output_size, sizes.target_size * sizes.outputs)

    def forward(
        self, past: Tensor, history: Tensor, known: Tensor, share: float = 1.0, targets: Tensor | None = None
    ) -> Tensor:
        self.check(past, history, known, targets)
        _, state = self.encoder(self.encoder_input(past, history))
        state = self.bridge(state)
        forced = self.forcing.drawn(targets, share) if self.training else None
        if forced is not None and not forced.isnan().any():
            fed = torch.cat([history[-1:], forced])
            return self._said(torch.cat([fed, known], -1), state)[0]

        def step(t: int, value: Tensor, state: Any) -> tuple[Tensor, Any]:
            forecast, state = self._said(torch.cat([value, known[t]], -1).unsqueeze(0), state)
            return forecast[0], state

        return unroll(step, history[-1], state, self.sizes.horizon, forced)

    def _said(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Of the decoder's inputs (T, B, k + m), T steps from a state: (T, B, k, q) and the state after them."""
        output, state = self.decoder(x, state)
        return increasing(self.head(self.dropout(output)).unflatten(-1, self.sizes.forecast[1:])), state
