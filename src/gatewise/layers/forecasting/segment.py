"""Segments of many steps in the place of steps: long windows in few runs of the cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.errors import UserError
from gatewise.layers.forecasting.model import ForecastingModel, Sizes, recurrent
from gatewise.layers.forecasting.quantiles import increasing
from gatewise.layers.options import Options


class Segment(ForecastingModel):
    """SegRNN of Lin et al. 2023 (arXiv:2308.11200), with parallel multi-step forecasting.

    Every target is a sequence of its own, and all of them share the weights. From a target's own past y_1 ... y_L

        y'_t = y_t − y_L                                          the last value is the origin
        e_i = ReLU(W y'_(segment i) + b),  i = 1 ... n            w steps a segment, n = ⌈L / w⌉
        s = encoder(e_1, ..., e_n)                                its last states
        h_j = encoder's cells, one step from s on [p_j; c]        for every segment j = 1 ... ⌈H / w⌉ by itself
        ŷ_(segment j) = V dropout(h_j) + a + y_L

    p_j is learned for the segment's place and c for the target, half of d each: all segments to come are one call of
    one step. What is known of the steps to come joins the embedding: [p_j; c] + K known_(segment j); without it there
    is no K, and the model is the paper's.

    Where w does not divide L the first segment is filled up with the oldest value, repeated; where it does not divide
    H the last segment is cut. The inputs, ``past``, are not looked at.

    Args:
        sizes: of the window.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer; or a list, one a layer. The first is the size of an embedding too, d, from 2 up.
        num_layers: recurrent layers; by default as many as are listed, or 1.
        dropout: between layers and before the head, while training.
        segment: steps of a segment, w; at most the longer of lookback and horizon is used.
        options: of the recurrent layers, as :class:`gatewise.Recurrent` has them.

    Shapes:
        as :class:`ForecastingModel` has them.

    Raises:
        UserError: ``segment`` is no whole number above 0; ``hidden_size`` below 2.

    Example:
        >>> import torch
        >>> model = Segment(Sizes(0, target_size=7, known_size=0, lookback=720, horizon=96), hidden_size=16, segment=48)
        >>> model(torch.zeros(720, 5, 0), torch.zeros(720, 5, 7), torch.zeros(96, 5, 0)).shape
        torch.Size([96, 5, 7, 1])
    """

    anchored = True

    def __init__(
        self,
        sizes: Sizes,
        cell: CellLike | Sequence[CellLike] = "gru",
        hidden_size: int | Sequence[int] = 128,
        num_layers: int | None = None,
        dropout: float = 0.0,
        segment: int = 48,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(sizes)
        if isinstance(segment, bool) or not isinstance(segment, int) or segment < 1:
            raise UserError(f"segment: want a whole number of steps above 0, got {segment!r}")
        width = hidden_size if isinstance(hidden_size, int) else hidden_size[0]
        if width < 2:
            raise UserError(f"hidden_size={width}: an embedding has one half for the place, one for the target")
        self.segment = min(segment, max(sizes.lookback, sizes.horizon))
        self.embedding = nn.Linear(self.segment, width)
        self.encoder = recurrent(cell, width, hidden_size, num_layers, dropout, **options)
        self.place = nn.Parameter(torch.randn(math.ceil(sizes.horizon / self.segment), width - width // 2))
        self.target = nn.Parameter(torch.randn(sizes.target_size, width // 2))
        self.known = nn.Linear(sizes.known_size * self.segment, width, bias=False) if sizes.known_size else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.output_size, self.segment * sizes.outputs)

    def forward(
        self, past: Tensor, history: Tensor, known: Tensor, share: float = 1.0, targets: Tensor | None = None
    ) -> Tensor:
        self.check(past, history, known, targets)
        last = history[-1]
        embedded = torch.relu(self.embedding(self._segments(history - last)))
        _, state = self.encoder(embedded)
        return self._decode(state, known, history.shape[1]) + last.unsqueeze(-1)

    def _segments(self, values: Tensor) -> Tensor:
        """(L, B, k) -> (n, B k, w)."""
        lacking = -len(values) % self.segment
        if lacking:
            values = torch.cat([values[:1].expand(lacking, -1, -1), values])
        return values.flatten(1).unflatten(0, (-1, self.segment)).transpose(1, 2)

    def _decode(self, state: Any, known: Tensor, batch: int) -> Tensor:
        """(H, B, k, q), from the encoder's states of B k rows: every segment is a row of one step."""
        steps, targets, outputs = self.sizes.forecast
        count, rows = len(self.place), batch * targets
        layout = self.encoder.layout
        states = layout.given(state)  # (layers, B k, size) each
        repeated = [part.unsqueeze(2).expand(-1, -1, count, -1).flatten(1, 2) for part in states]
        x = self._embeddings(known, batch).reshape(1, rows * count, -1)
        output, _ = self.encoder(x, layout.returned(tuple(repeated)))
        values = self.head(self.dropout(output[0]))
        values = values.view(batch, targets, count * self.segment, outputs).permute(2, 0, 1, 3)
        return increasing(values[:steps])

    def _embeddings(self, known: Tensor, batch: int) -> Tensor:
        """[p_j; c] + K known_j for every row, target and segment, (B, k, segments, d)."""
        count, targets = len(self.place), self.sizes.target_size
        place = self.place.expand(targets, -1, -1)
        target = self.target.unsqueeze(1).expand(-1, count, -1)
        x = torch.cat([place, target], -1).expand(batch, -1, -1, -1)
        if self.known is None:
            return x
        lacking = count * self.segment - len(known)
        whole = torch.cat([known, known.new_zeros(lacking, *known.shape[1:])])
        by_segment = whole.unflatten(0, (count, self.segment)).permute(2, 0, 1, 3).flatten(2)  # (B, segments, w m)
        return x + self.known(by_segment).unsqueeze(1)
