"""A decoder that is fed with what was said of the step before, or with the truth of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.errors import UserError
from gatewise.layers.forecasting.quantiles import middle
from gatewise.layers.recurrent import Recurrent

Step = Callable[[int, Tensor, Any], tuple[Tensor, Any]]
"""(step to come, value of the step before (B, k), state) -> (its forecast (B, k, q), the next state)."""


class Forcing:
    """Scheduled sampling of Bengio et al. 2015 (arXiv:1506.03099): the truth is fed ever more seldom.

    Each value of each step but the last is fed to the next one as it truly was with the probability

        ε = max(0, 1 − share / until)

    (the paper's linear decay), where ``share`` is how much of the training is done; else, and from ``until`` on always,
    what the model said is fed. One toss counts for all targets of a row. ``until`` 0: the truth is never fed.

    Raises:
        UserError: ``until`` is not between 0 and 1, or inf, with which the truth is always fed.
    """

    def __init__(self, until: float) -> None:
        if not (0 <= until <= 1 or until == math.inf):
            raise UserError(f"forcing: want a share of the training, 0 to 1, or inf, got {until!r}")
        self.until = until

    def chance(self, share: float) -> float:
        """ε.

        >>> Forcing(0.5).chance(0.125), Forcing(0.5).chance(0.75), Forcing(0.0).chance(0.0)
        (0.75, 0.0, 0.0)
        """
        return max(0.0, 1 - share / self.until) if self.until else 0.0

    def drawn(self, targets: Tensor | None, share: float) -> Tensor | None:
        """What is fed after each step but the last, (H − 1, B, k): the truth, NaN where the model's own is; or None."""
        chance = self.chance(share)
        if targets is None or chance == 0:
            return None
        tossed = torch.rand((len(targets) - 1, targets.shape[1], 1), device=targets.device) < chance
        return torch.where(tossed, targets[:-1], math.nan)


def unroll(step: Step, first: Tensor, state: Any, horizon: int, forced: Tensor | None) -> Tensor:
    """Step by step, each fed with the last: (H, B, k, q)."""
    value, forecasts = first, []
    for t in range(horizon):
        forecast, state = step(t, value, state)
        forecasts.append(forecast)
        value = middle(forecast)
        if forced is not None and t < len(forced):
            value = torch.where(forced[t].isnan(), value, forced[t])
    return torch.stack(forecasts)


class Bridge(nn.Module):
    """From the states in which an encoder ends to those in which a decoder of the same cells and sizes begins.

    An encoder of one direction hands over its states as they are (Sutskever, Vinyals and Le 2014, arXiv:1409.3215). Of
    two directions each state of each layer becomes tanh(A [s→; s←] + a), as Bahdanau et al. 2015 (arXiv:1409.0473,
    appendix A.2.2) have it for one of them.

    Shapes:
        ``bridge(state)``: what the encoder returns -> what the decoder takes.
    """

    def __init__(self, encoder: Recurrent, decoder: Recurrent) -> None:
        super().__init__()
        self._from, self._to = encoder.layout, decoder.layout
        sizes = [shape.state_sizes for shape in encoder.shapes]
        self.maps = nn.ModuleList(
            nn.ModuleList(nn.Linear(2 * size, size) for size in of_layer)
            for of_layer in (sizes if encoder.bidirectional else ())
        )

    def forward(self, state: Any) -> Any:
        if not len(self.maps):
            return state
        mapped = []
        for maps, states in zip(self.maps, self._from.by_layer(self._from.given(state)), strict=True):
            assert isinstance(maps, nn.ModuleList)
            both = (torch.cat([*part], -1) for part in states)  # (B, 2 size)
            mapped.append(tuple(torch.tanh(map(part)).unsqueeze(0) for map, part in zip(maps, both, strict=True)))
        return self._to.returned(self._to.of_layers(mapped))
