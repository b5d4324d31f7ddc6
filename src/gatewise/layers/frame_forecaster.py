"""Frames in, the next frames out: an encoder and a forecaster of convolutional layers, any cell in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.errors import UserError
from gatewise.layers.conv import ConvRecurrent
from gatewise.layers.options import Options
from gatewise.layers.shapes import depth, one_a_layer


class FrameForecaster(nn.Module):
    """Encoder and forecaster of Shi et al. 2015 (arXiv:1506.04214, section 3.3).

    The given frames are cut into patches of ``patch`` x ``patch`` pixels, the pixels of a patch being its channels, and
    run through the encoder, layer over layer. Each layer's last state is the first state of the forecaster's layer of
    the same height, which runs on from it without an input (the first layer's is zero), one step a frame to come. What
    all the forecaster's layers put out stands side by side and becomes the patches' pixels by a convolution of one
    pixel: x̂ = σ(V * [h¹, ..., h^L] + a).

    Args:
        channels: of a frame, C: 1 is grey, 3 is colour.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_channels: channels of a state, H; or a list, one a layer.
        num_layers: layers of the encoder, and of the forecaster.
        kernel_size: of all the recurrent layers' convolutions, in patches; odd.
        patch: pixels of a patch's side; frames are padded with zeros to whole patches.
        dropout: on what enters every layer but the first, and on what enters V, while training.
        options: of the recurrent layers, as :class:`gatewise.ConvRecurrent` has them; no ``residual``. The forecaster's
            states are the encoder's, so that ``learned_state`` is the encoder's alone.

    Shapes:
        ``model(frames, horizon)``: (T, B, C, height, width) from 0 to 1 -> (horizon, B, C, height, width) from 0 to 1.

    Example:
        >>> import torch
        >>> model = FrameForecaster(1, "gru", hidden_channels=8, patch=4)
        >>> model(torch.zeros(10, 2, 1, 18, 20), horizon=5).shape
        torch.Size([5, 2, 1, 18, 20])
    """

    def __init__(
        self,
        channels: int,
        cell: CellLike | Sequence[CellLike] = "gru",
        hidden_channels: int | Sequence[int] = 32,
        num_layers: int | None = 2,
        kernel_size: int | Sequence[int] = 3,
        patch: int = 4,
        dropout: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        if isinstance(patch, bool) or not isinstance(patch, int) or patch < 1:
            raise UserError(f"patch: want a whole number of pixels above 0, got {patch!r}")
        self.channels, self.patch = channels, patch

        count = depth(cell, hidden_channels, num_layers)
        cells, sizes = one_a_layer(cell, count), one_a_layer(hidden_channels, count)

        def layers(first: int, **options: Unpack[Options]) -> nn.ModuleList:
            below = [first, *sizes[:-1]]
            each = zip(cells, below, sizes, strict=True)
            return nn.ModuleList(ConvRecurrent(one, n, size, kernel_size, **options) for one, n, size in each)

        pixels = channels * patch**2
        self.encoder = layers(pixels, **options)
        options.pop("learned_state", None)
        self.forecaster = layers(1, **options)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(sum(sizes), pixels, 1)

    def set_brightness(self, mean: float) -> None:
        """Begin with forecasts of this brightness: a = log(mean / (1 − mean)) for every pixel."""
        mean = min(max(mean, 0.01), 0.99)
        nn.init.constant_(self.head.bias, math.log(mean / (1 - mean)))  # type: ignore[arg-type]

    def forward(self, frames: Tensor, horizon: int) -> Tensor:
        """The frames to come."""
        return torch.sigmoid(self.logits(frames, horizon))

    def logits(self, frames: Tensor, horizon: int) -> Tensor:
        """The frames to come, before σ."""
        steps, batch, _, height, width = frames.shape
        padded = F.pad(frames.flatten(0, 1), (0, -width % self.patch, 0, -height % self.patch))
        x = F.pixel_unshuffle(padded, self.patch).unflatten(0, (steps, batch))
        states: list[Any] = []
        for layer in self.encoder:
            x, state = layer(self.dropout(x) if states else x)
            states.append(state)
        x, outputs = x.new_zeros(horizon, batch, 1, *x.shape[3:]), []
        for layer, state in zip(self.forecaster, states, strict=True):
            x, _ = layer(self.dropout(x) if outputs else x, state)
            outputs.append(x)
        patches = self.head(self.dropout(torch.cat(outputs, dim=2).flatten(0, 1)))
        pixels = F.pixel_shuffle(patches, self.patch)[..., :height, :width]
        return pixels.unflatten(0, (horizon, batch))
