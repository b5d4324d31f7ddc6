"""Encoder and decoder, and a decoder that looks back at every step of the past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.layers.attention import AdditiveAttention
from gatewise.layers.forecasting.decoding import Bridge, Forcing, unroll
from gatewise.layers.forecasting.model import ForecastingModel, Sizes, recurrent
from gatewise.layers.forecasting.quantiles import increasing
from gatewise.layers.options import Options


class AttentionSeq2Seq(ForecastingModel):
    """Encoder and decoder with the attention of Bahdanau, Cho and Bengio 2015 (arXiv:1409.0473).

        h_1 ... h_L = encoder([past_1; history_1], ..., [past_L; history_L])     the top layer's outputs
        c_t = Σ_j α_tj h_j,   α_t = softmax_j(w · tanh(W s_{t-1} + U h_j))       :class:`AdditiveAttention`
        s_t = decoder([v_{t-1}; known_t; c_t], s_{t-1})
        ŷ_t = V dropout([s_t; c_t; v_{t-1}]) + a,   t = 1 ... H

    where s_{t-1} is the first state of the decoder's top layer, s_0 is what :class:`Bridge` makes of the encoder's last
    states, v_0 = history_L and v_t = ŷ_t, of several outputs the middle one, or while training the truth with a
    probability that falls: :class:`Forcing`.

    Args:
        sizes: of the window.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer; or a list, one a layer.
        num_layers: layers of the encoder, and of the decoder; by default as many as are listed, or 1.
        dropout: between layers and before V, while training.
        bidirectional: whether the encoder reads the past from its end too, as the paper's does.
        forcing: share of the training after which the truth is fed no more.
        attention_size: units of the attention; None is the top layer's.
        options: of both recurrent layers, as :class:`gatewise.Recurrent` has them; ``learned_state`` is the encoder's
            alone. What a call of the layers draws (recurrent dropout, weight drop) the decoder draws a step.

    Shapes:
        as :class:`ForecastingModel` has them.

    Example:
        >>> sizes = Sizes(input_size=3, target_size=2, known_size=1, lookback=24, horizon=6)
        >>> model = AttentionSeq2Seq(sizes, "lstm", 8)
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
        bidirectional: bool = True,
        forcing: float = 0.5,
        attention_size: int | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(sizes)
        self.forcing = Forcing(forcing)
        network = (hidden_size, num_layers, dropout)
        self.encoder = recurrent(cell, sizes.encoded, *network, bidirectional, **options)
        read, fed = self.encoder.output_size, sizes.target_size + sizes.known_size
        options["learned_state"] = False  # the encoder says where the decoder starts
        self.decoder = recurrent(cell, fed + read, *network, **options)
        self.bridge = Bridge(self.encoder, self.decoder)
        asked = self.decoder.shapes[-1].state_sizes[0]
        self.attention = AdditiveAttention(asked, read, attention_size or asked, options.get("engine", "auto"))
        self.dropout = nn.Dropout(dropout)
        said = self.decoder.output_size + read + sizes.target_size
        self.head = nn.Linear(said, sizes.target_size * sizes.outputs)

    def forward(
        self, past: Tensor, history: Tensor, known: Tensor, share: float = 1.0, targets: Tensor | None = None
    ) -> Tensor:
        self.check(past, history, known, targets)
        values, state = self.encoder(self.encoder_input(past, history))
        memory = self.attention.memory(values, self.sizes.horizon)

        def step(t: int, value: Tensor, state: Any) -> tuple[Tensor, Any]:
            context, _ = self.attention(self._top(state), memory)
            output, state = self.decoder(torch.cat([value, known[t], context], -1).unsqueeze(0), state)
            forecast = self.head(self.dropout(torch.cat([output[0], context, value], -1)))
            return increasing(forecast.unflatten(-1, self.sizes.forecast[1:])), state

        forced = self.forcing.drawn(targets, share) if self.training else None
        return unroll(step, history[-1], self.bridge(state), self.sizes.horizon, forced)

    def _top(self, state: Any) -> Tensor:
        """The first state of the decoder's top layer, (B, size)."""
        layout = self.decoder.layout
        return layout.by_layer(layout.given(state))[-1][0][0]
