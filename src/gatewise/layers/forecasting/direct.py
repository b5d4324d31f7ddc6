"""The plain way: read the past, and say all steps to come at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.layers.forecasting.horizon_head import HorizonHead
from gatewise.layers.forecasting.model import ForecastingModel, Sizes, last_state, recurrent
from gatewise.layers.options import Options


class Direct(ForecastingModel):
    """Encoder and one linear map to all steps: the direct strategy of Ben Taieb et al. 2012 (arXiv:1108.3259).

    s is what the top layer puts out after it has read the whole past (of two directions each at its own last step,
    side by side; lower layers and further states, an LSTM's c, are not looked at), and

        s = encoder([past_1; history_1], ..., [past_L; history_L])
        ŷ_t = A_t s + a_t + C_t ReLU(D known_t + E s + e),   t = 1 ... H

    without its last term where nothing is known of the steps to come: see :class:`HorizonHead`.

    Args:
        sizes: of the window.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer; or a list, one a layer.
        num_layers: recurrent layers; by default as many as are listed, or 1.
        dropout: between layers and before the head, while training.
        bidirectional: whether the past is read from its end too.
        options: of the recurrent layers, as :class:`gatewise.Recurrent` has them.

    Shapes:
        as :class:`ForecastingModel` has them.

    Example:
        >>> import torch
        >>> model = Direct(Sizes(input_size=3, target_size=2, known_size=1, lookback=24, horizon=6), "lstm", 8)
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
        **options: Unpack[Options],
    ) -> None:
        super().__init__(sizes)
        self.encoder = recurrent(cell, sizes.encoded, hidden_size, num_layers, dropout, bidirectional, **options)
        self.dropout = nn.Dropout(dropout)
        self.head = HorizonHead(self.encoder.output_size, sizes)

    def forward(
        self, past: Tensor, history: Tensor, known: Tensor, share: float = 1.0, targets: Tensor | None = None
    ) -> Tensor:
        self.check(past, history, known, targets)
        read = self.encoder(self.encoder_input(past, history))
        return self.forecast_from(last_state(self.encoder, *read), known)

    def forecast_from(self, state: Tensor, known: Tensor) -> Tensor:
        """The forecast (H, B, k, q) from what was read of the past, (B, S), and what is known of the steps to come."""
        return self.head(self.dropout(state), known)
