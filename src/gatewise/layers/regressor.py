"""Several columns over a window in, one or several others at its last step out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.errors import UserError, nearest
from gatewise.layers.attention import AdditiveAttention
from gatewise.layers.forecasting.model import last_state, recurrent
from gatewise.layers.forecasting.tpa import TemporalPatternAttention
from gatewise.layers.options import Options
from gatewise.layers.tcn import TCN, levels_for

REGRESSING = ("direct", "attention", "tpa", "tcn")
"""What is made of a window; see :class:`Regressor`."""

_FILTERS, _KERNEL, _MOST_LEVELS = 32, 3, 4  # as the forecasting models have them


class Regressor(nn.Module):
    """Recurrent layers over a window, on top of a linear regression on its last p steps: the prediction is their sum.

        h_1 ... h_L = layers(past_1, ..., past_L)            the top layer's outputs
        ŷ = V dropout(s) + a + Σ_i S_i past_{L-i},           i = 0 ... p − 1

    The sum is a linear regression on the window's last p steps, as in LSTNet (Lai et al. 2018, arXiv:1703.07015,
    section 3.6, there on the targets' own past): what is left for the network is what is not linear, or further back.
    :meth:`begin_linear` makes a regression that is known already the start of the training. s is, by ``model``,

    - ``direct``: h_L, of two directions each at its own last step;
    - ``attention``: [h_L; Σ_t α_t h_t] with the weights α of Bahdanau et al. 2015, asked for by h_L:
      :class:`gatewise.layers.attention.AdditiveAttention`;
    - ``tpa``: h_L and the patterns of the units' courses (Shih et al. 2018):
      :class:`gatewise.layers.forecasting.tpa.TemporalPatternAttention`;
    - ``tcn``: as ``direct``, the layers reading causal convolutions of the past (Bai et al. 2018):
      :class:`gatewise.layers.tcn.TCN`.

    Args:
        input_size: features of a step, d.
        target_size: values to be predicted, k.
        lookback: steps of the window, L.
        model: one of :data:`REGRESSING`.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer; or a list, one a layer.
        num_layers: recurrent layers; by default as many as are listed, or 1.
        dropout: between layers and before V, while training.
        bidirectional: whether the window is read from its end too.
        linear: steps of the linear part, p; at most the window's, 0 for none.
        options: of the recurrent layers, as :class:`gatewise.Recurrent` has them.

    Shapes:
        ``model(past)``: (L, B, d) -> (1, B, k, 1). It can be called as forecasting models are; what they are given
        beside the past is not looked at.

    Raises:
        UserError: an unknown model; ``tpa`` of one step, or from both ends; a linear part longer than the window; a
            window of another shape.

    Example:
        >>> model = Regressor(input_size=4, target_size=3, lookback=24, cell="lstm", hidden_size=8)
        >>> model(torch.zeros(24, 5, 4)).shape
        torch.Size([1, 5, 3, 1])
    """

    def __init__(
        self,
        input_size: int,
        target_size: int,
        lookback: int,
        model: str = "direct",
        cell: CellLike | Sequence[CellLike] = "gru",
        hidden_size: int | Sequence[int] = 64,
        num_layers: int | None = None,
        dropout: float = 0.0,
        bidirectional: bool = False,
        linear: int = 1,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        if model not in REGRESSING:
            raise UserError(f"no model of regression is called '{model}': {nearest(model, REGRESSING)}")
        if model == "tpa" and (bidirectional or lookback < 2):
            raise UserError(
                "tpa looks from the last step at those before: want a window of 2 steps, read in one direction"
            )
        if not 0 <= linear <= lookback:
            raise UserError(f"linear: want a number of steps from 0 to the window's {lookback}, got {linear}")
        self.kind, self.input_size, self.lookback = model, input_size, lookback
        width = input_size
        if model == "tcn":
            width = hidden_size if isinstance(hidden_size, int) else hidden_size[0]
            levels = min(_MOST_LEVELS, levels_for(lookback, _KERNEL))
            self.tcn = TCN(input_size, width, levels, _KERNEL, dropout)
        self.layers = recurrent(cell, width, hidden_size, num_layers, dropout, bidirectional, **options)
        size = self.layers.output_size
        if model == "attention":
            self.attention = AdditiveAttention(size, size, size, options.get("engine", "auto"))
        elif model == "tpa":
            self.patterns = TemporalPatternAttention(size, lookback - 1, _FILTERS)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * size if model == "attention" else size, target_size)
        self.steps = linear
        self.linear = nn.Linear(linear * input_size, target_size, bias=False) if linear else None

    @torch.no_grad()
    def begin_linear(self, coefficients: Tensor, intercepts: Tensor) -> None:
        """Begin with a linear regression that is known, to which the recurrent layers add nothing yet.

        Args:
            coefficients: (k, p · d), S_{p-1} ... S_0 side by side: the window's last steps in order of time.
            intercepts: (k,).
        """
        if self.linear is None:
            raise UserError("this regressor has no linear part to begin with; give linear=1 or more")
        self.linear.weight.copy_(coefficients)
        self.head.weight.zero_()
        self.head.bias.copy_(intercepts)

    def forward(self, past: Tensor, *beside: Any) -> Tensor:
        """The values of the window's last step."""
        if past.dim() != 3 or (len(past), past.shape[2]) != (self.lookback, self.input_size):
            wanted = f"({self.lookback}, B, {self.input_size})"
            raise UserError(f"past: want (steps, batch, features) = {wanted}, got {tuple(past.shape)}")
        read = self.layers(self.tcn(past) if self.kind == "tcn" else past)
        predicted = self.head(self.dropout(self._taken(*read)))
        if self.linear is not None:
            predicted = predicted + self.linear(past[-self.steps :].transpose(0, 1).flatten(1))
        return predicted[None, :, :, None]

    def _taken(self, outputs: Tensor, final: Any) -> Tensor:
        """s, of (L, B, size) and the last states."""
        if self.kind == "tpa":
            return self.patterns(outputs[:-1], outputs[-1])
        last = last_state(self.layers, outputs, final)
        if self.kind == "attention":
            context, _ = self.attention(last, self.attention.memory(outputs))
            return torch.cat([last, context], -1)
        return last
