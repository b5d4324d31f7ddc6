"""Temporal pattern attention: not which step of the past matters, but which unit's course over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.errors import UserError
from gatewise.layers.forecasting.horizon_head import HorizonHead
from gatewise.layers.forecasting.model import ForecastingModel, Sizes, recurrent
from gatewise.layers.options import Options


class TemporalPatternAttention(nn.Module):
    """The attention of Shih, Sun and Lee 2018 (arXiv:1809.04206, section 4).

    H is the matrix of the w states before the present one, h: a row for each of the m units, a column for each step.
    With k filters C_j of w numbers, as long as the window,

        H^C_ij = Σ_l H_il C_jl                     the course of unit i, seen through filter j
        α_i = σ((H^C_i)ᵀ W_a h)                    σ and not softmax: several units may matter
        v = Σ_i α_i H^C_i,   h' = W_h h + W_v v

    Args:
        state_size: units, m.
        window: steps before the present one, w.
        filters: k.

    Shapes:
        ``attention(states, present)``: (w, B, m), (B, m) -> (B, m).

    Example:
        >>> attention = TemporalPatternAttention(state_size=6, window=23, filters=4)
        >>> attention(torch.zeros(23, 5, 6), torch.zeros(5, 6)).shape
        torch.Size([5, 6])
    """

    def __init__(self, state_size: int, window: int, filters: int) -> None:
        super().__init__()
        self.filters = nn.Linear(window, filters, bias=False)  # C
        self.score = nn.Linear(state_size, filters, bias=False)  # W_a
        self.present = nn.Linear(state_size, state_size, bias=False)  # W_h
        self.pattern = nn.Linear(filters, state_size, bias=False)  # W_v

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        seen = torch.tensordot(self.filters.weight, states, 1)  # H^C, (k, B, m)
        weights = torch.sigmoid(torch.einsum("kbm,bk->bm", seen, self.score(present)))
        pattern = torch.einsum("bm,kbm->bk", weights, seen)
        return self.present(present) + self.pattern(pattern)


class TPA(ForecastingModel):
    """TPA-LSTM of Shih, Sun and Lee 2018 (arXiv:1809.04206) with any cell, for all steps to come at once.

        h_1 ... h_L = encoder([past_1; history_1], ..., [past_L; history_L])     the top layer's outputs
        h' = W_h h_L + W_v v,  v from h_1 ... h_{L-1}                            :class:`TemporalPatternAttention`
        ŷ_t = A_t h' + a_t + Σ_i B_ti history_{L-i} + b_t,   i = 0 ... p − 1,  t = 1 ... H

    A_t is the paper's W_h', here of every step, with a bias and with the covariates known of the steps to come:
    :class:`HorizonHead`. The rest is the linear autoregression that the paper takes over from LSTNet (Lai et al. 2018,
    arXiv:1703.07015, section 3.6): a target's own last p values, with the same weights B for all targets.

    Args:
        sizes: of the window; a lookback of 2 at least.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer; or a list, one a layer.
        num_layers: recurrent layers; by default as many as are listed, or 1.
        dropout: between layers and before A, while training.
        filters: k.
        autoregressive: steps of the linear autoregression, p, at most the lookback; 0 leaves it out.
        options: of the recurrent layers, as :class:`gatewise.Recurrent` has them.

    Shapes:
        as :class:`ForecastingModel` has them.

    Raises:
        UserError: a lookback of 1, after which no state is left to attend to; filters below 1, autoregressive below 0.

    Example:
        >>> model = TPA(Sizes(input_size=3, target_size=2, known_size=1, lookback=24, horizon=6), "gru", 8)
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
        filters: int = 32,
        autoregressive: int = 24,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(sizes)
        if sizes.lookback < 2:
            raise UserError("lookback=1: temporal pattern attention looks at states before the last; give 2 or more")
        for name, number, least in (("filters", filters, 1), ("autoregressive", autoregressive, 0)):
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise UserError(f"{name}: want a whole number from {least} up, got {number!r}")
        self.encoder = recurrent(cell, sizes.encoded, hidden_size, num_layers, dropout, **options)
        self.attention = TemporalPatternAttention(self.encoder.output_size, sizes.lookback - 1, filters)
        self.dropout = nn.Dropout(dropout)
        self.head = HorizonHead(self.encoder.output_size, sizes)
        self.autoregressive = min(autoregressive, sizes.lookback)
        self.linear = nn.Linear(self.autoregressive, sizes.horizon) if autoregressive else None

    def forward(
        self, past: Tensor, history: Tensor, known: Tensor, share: float = 1.0, targets: Tensor | None = None
    ) -> Tensor:
        self.check(past, history, known, targets)
        output, _ = self.encoder(self.encoder_input(past, history))
        attended = self.attention(output[:-1], output[-1])
        forecast = self.head(self.dropout(attended), known)
        if self.linear is None:
            return forecast
        own = self.linear(history[-self.autoregressive :].movedim(0, -1))  # (B, k, H)
        return forecast + own.movedim(-1, 0).unsqueeze(-1)
