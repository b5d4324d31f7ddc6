"""Causal convolutions in front of the cell: TCN-GRU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.layers.forecasting.horizon_head import HorizonHead
from gatewise.layers.forecasting.model import ForecastingModel, Sizes, last_state, recurrent
from gatewise.layers.options import Options
from gatewise.layers.tcn import TCN, levels_for


class TCNRecurrent(ForecastingModel):
    """A temporal convolutional network (Bai, Kolter and Koltun 2018, arXiv:1803.01271), and the cell reads its output.

        f_1 ... f_L = TCN([past_1; history_1], ..., [past_L; history_L])     causal: :class:`TCN`
        s = encoder(f_1, ..., f_L)                                           as in :class:`Direct`
        ŷ_t = A_t s + a_t + C_t ReLU(D known_t + E s + e),   t = 1 ... H

    Args:
        sizes: of the window.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer; or a list, one a layer.
        num_layers: recurrent layers; by default as many as are listed, or 1.
        dropout: in the TCN, between recurrent layers and before the head, while training.
        bidirectional: whether the cell reads from the end too.
        channels: of the TCN; None is the first layer's hidden size.
        levels: blocks of the TCN; None is as many as it takes to see the whole lookback, at most 4 (61 steps with
            kernels of 3): the cell remembers the rest.
        kernel_size: steps of a kernel.
        options: of the recurrent layers, as :class:`gatewise.Recurrent` has them.

    Shapes:
        as :class:`ForecastingModel` has them.

    Example:
        >>> import torch
        >>> model = TCNRecurrent(Sizes(input_size=3, target_size=2, known_size=1, lookback=24, horizon=6), "gru", 8)
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
        channels: int | None = None,
        levels: int | None = None,
        kernel_size: int = 3,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(sizes)
        width = channels or (hidden_size if isinstance(hidden_size, int) else hidden_size[0])
        levels = levels or min(4, levels_for(sizes.lookback, kernel_size))
        self.tcn = TCN(sizes.encoded, width, levels, kernel_size, dropout)
        self.encoder = recurrent(cell, width, hidden_size, num_layers, dropout, bidirectional, **options)
        self.dropout = nn.Dropout(dropout)
        self.head = HorizonHead(self.encoder.output_size, sizes)

    def forward(
        self, past: Tensor, history: Tensor, known: Tensor, share: float = 1.0, targets: Tensor | None = None
    ) -> Tensor:
        self.check(past, history, known, targets)
        read = self.encoder(self.tcn(self.encoder_input(past, history)))
        return self.head(self.dropout(last_state(self.encoder, *read)), known)
