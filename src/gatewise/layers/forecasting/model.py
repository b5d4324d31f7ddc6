"""What all forecasting models share: the sizes of a window, how they are called, what encodes the past."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.errors import UserError
from gatewise.layers.options import Options
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.shapes import depth


@dataclass(frozen=True)
class Sizes:
    """What a window consists of.

    Attributes:
        input_size: features of the past, d_in; 0 where there is nothing but the targets' own past.
        target_size: values forecast at a step, k.
        known_size: features that are known of the steps to come, m; 0 for none.
        lookback: steps of the past, L.
        horizon: steps to come, H.
        outputs: numbers for each value, q: 1 is a point, more are quantiles from the lowest up.
        feed_history: whether an encoder reads the targets' own past beside the inputs; False where it is among them,
            or must not be seen.

    Raises:
        UserError: a size that is no whole number, or too small; an encoder with nothing to read.
    """

    input_size: int
    target_size: int
    known_size: int
    lookback: int
    horizon: int
    outputs: int = 1
    feed_history: bool = True

    def __post_init__(self) -> None:
        least = {"input_size": 0, "target_size": 1, "known_size": 0, "lookback": 1, "horizon": 1, "outputs": 1}
        for name, smallest in least.items():
            size = getattr(self, name)
            if isinstance(size, bool) or not isinstance(size, int) or size < smallest:
                raise UserError(f"{name}: want a whole number from {smallest} up, got {size!r}")
        if self.encoded == 0:
            raise UserError("input_size=0 and feed_history=False: there is nothing to read; give one of the two")

    @property
    def encoded(self) -> int:
        """Features that an encoder reads."""
        return self.input_size + (self.target_size if self.feed_history else 0)

    @property
    def forecast(self) -> tuple[int, int, int]:
        """(H, k, q)."""
        return self.horizon, self.target_size, self.outputs


class ForecastingModel(nn.Module):
    """The past in, the steps to come out; every model of :data:`FORECASTING` is called the same way.

    Shapes:
        ``model(past, history, known, share=1.0, targets=None) -> forecast``

        - past: (L, B, d_in), the inputs;
        - history: (L, B, k), the targets' own past;
        - known: (H, B, m), what is known of the steps to come;
        - share: of the training that is done, 0 to 1, and targets: (H, B, k), the truth: for models whose decoder is
          fed with it while training (:class:`Seq2Seq`, :class:`AttentionSeq2Seq`); the others look at neither;
        - forecast: (H, B, k, q), along q from the lowest up.

    Attributes:
        anchored: whether the forecast is told from the last value already.

    Raises:
        UserError: an input of another shape.
    """

    anchored = False

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes

    @abstractmethod
    def forward(
        self, past: Tensor, history: Tensor, known: Tensor, share: float = 1.0, targets: Tensor | None = None
    ) -> Tensor:
        """The forecast; see the class for shapes."""

    def check(self, past: Tensor, history: Tensor, known: Tensor, targets: Tensor | None = None) -> None:
        """Raises UserError where a shape is not the model's."""
        sizes, batch = self.sizes, history.shape[1:2]
        wanted = {
            "past": (past, (sizes.lookback, *batch, sizes.input_size)),
            "history": (history, (sizes.lookback, *batch, sizes.target_size)),
            "known": (known, (sizes.horizon, *batch, sizes.known_size)),
        }
        if targets is not None:
            wanted["targets"] = (targets, (sizes.horizon, *batch, sizes.target_size))
        for name, (given, shape) in wanted.items():
            if given.shape != shape:
                raise UserError(f"{name}: want (steps, batch, features) = {shape}, got {tuple(given.shape)}")

    def encoder_input(self, past: Tensor, history: Tensor) -> Tensor:
        """What an encoder reads, (L, B, d_in) or (L, B, d_in + k)."""
        if not self.sizes.feed_history:
            return past
        return torch.cat([past, history], -1) if self.sizes.input_size else history


def recurrent(
    cell: CellLike | Sequence[CellLike], input_size: int, hidden_size: int | Sequence[int], num_layers: int | None,
    dropout: float, bidirectional: bool = False, **options: Unpack[Options],
) -> Recurrent:  # fmt: skip
    """Recurrent layers with dropout between them, where there is more than one."""
    layers = depth(cell, hidden_size, num_layers)
    between = dropout if layers > 1 else 0.0
    return Recurrent(cell, input_size, hidden_size, layers, dropout=between, bidirectional=bidirectional, **options)


def last_state(layer: Recurrent, output: Tensor, final: Any) -> Tensor:
    """What the top layer put out when it had read everything, (B, D H): each direction at its own last step.

    Args:
        layer: that has read, without ``lengths``.
        output, final: what it gave.
    """
    if layer.residual:
        if not layer.bidirectional:
            return output[-1]
        forward, backward = output.chunk(2, -1)
        return torch.cat([forward[-1], backward[0]], -1)
    # What a cell puts out is its first state, whose gradient needs no (L, B, H) of zeros to stand in.
    top = layer.layout.top(final)
    return torch.cat([*top], -1) if layer.bidirectional else top.squeeze(0)
