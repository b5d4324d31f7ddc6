"""A forecaster that tells how far the future lies from a simple guess, in the scale of what was just seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.errors import UserError, nearest

ANCHORS = ("none", "last", "seasonal", "mean")
"""What a forecast is told as the distance from."""

_LEAST_VARIANCE = 1e-5  # of a window that does not move; as in Kim et al. 2022


class Anchored(nn.Module):
    """Any forecasting model, whose output o is the distance from an anchor a: ŷ_h = a_h + s o_h.

    The anchor is nothing at all (``none``), the last value (``last``), the value of the same step of the last season
    (``seasonal``) or the mean of what is looked back on (``mean``); s is 1. So a model that has learned nothing yet is
    about as good as the guess, and one that meets values beyond those it has learned from can follow them.

    With ``normalise`` the model also sees the targets' past y as (y − μ) / s, with μ and s the mean and the standard
    deviation of the window (reversible instance normalisation without its affine part: Kim et al. 2022): a level that
    was never seen before is then no surprise, and a growing amplitude neither; but it no longer knows the level.

    Args:
        model: one of :data:`gatewise.layers.forecasting.FORECASTING`.
        anchor: one of :data:`ANCHORS`.
        normalise: see above.
        season: steps of a season, for ``seasonal``.
        places: where in ``past`` the targets' own columns are; none where they are not among the inputs as they are.

    Raises:
        UserError: an unknown anchor.

    Example:
        >>> class Nothing(nn.Module):
        ...     def forward(self, past, history, known, share=1.0, targets=None):
        ...         return torch.zeros(2, *history.shape[1:], 1)
        >>> y = torch.tensor([3.0, 5.0, 4.0]).reshape(3, 1, 1)
        >>> Anchored(Nothing(), "last")(y, y, torch.zeros(2, 1, 0)).flatten().tolist()
        [4.0, 4.0]
    """

    model: Any  # a ForecastingModel, or what is called as one

    def __init__(
        self, model: nn.Module, anchor: str, normalise: bool = False, season: int = 1, places: Sequence[int] = ()
    ) -> None:
        if anchor not in ANCHORS:
            raise UserError(f"anchor {anchor}: {nearest(anchor, ANCHORS)}")
        super().__init__()
        self.model, self.anchor, self.normalise = model, anchor, normalise
        self.season, self.places = season, list(places)

    def forward(
        self, past: Tensor, history: Tensor, known: Tensor, share: float = 1.0, targets: Tensor | None = None
    ) -> Tensor:
        """The forecast (H, B, k, q).

        Args:
            past: inputs (L, B, d).
            history: the targets' own past (L, B, k), without gaps.
            known: what is known of the future (H, B, m).
            share: of the training that is over.
            targets: the truth (H, B, k), for a model that is shown it while training.
        """
        anchor, scale = self._anchor(history, len(known)), torch.ones_like(history[:1])
        if self.normalise:
            scale = (history.var(0, keepdim=True, unbiased=False) + _LEAST_VARIANCE).sqrt()
            history = (history - history.mean(0, keepdim=True)) / scale
            past = past.clone()
            past[..., self.places] = history[..., : len(self.places)]
        elif self.anchor != "none":
            history = history - history[-1:]
        if targets is not None:
            targets = (targets - anchor) / scale
        output = self.model(past, history, known, share, targets)
        return anchor.unsqueeze(-1) + scale.unsqueeze(-1) * output

    def forecast_from(self, state: Tensor, history: Tensor, known: Tensor) -> Tensor:
        """The forecast (H, B, k, q) of a :class:`Direct` that is not normalised, from what it has read, (B, S)."""
        return self._anchor(history, len(known)).unsqueeze(-1) + self.model.forecast_from(state, known)

    def _anchor(self, history: Tensor, horizon: int) -> Tensor:
        """(H, B, k)."""
        if self.anchor == "seasonal":
            return history[[len(history) - self.season + step % self.season for step in range(horizon)]]
        level = {"none": torch.zeros_like(history[-1:]), "last": history[-1:], "mean": history.mean(0, keepdim=True)}
        return level[self.anchor].expand(horizon, -1, -1)
