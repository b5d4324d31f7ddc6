"""From one vector to all steps to come at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewise.layers.forecasting.model import Sizes
from gatewise.layers.forecasting.quantiles import increasing


class HorizonHead(nn.Module):
    """All steps from what was read of the past, s: ŷ_t = A_t s + a_t, one linear map.

    With known covariates x_t of a step: ŷ_t = A_t s + a_t + C_t ReLU(D x_t + E s + e), where D, E and e are shared by
    all steps. C_t is a step's own: told from the last value, what comes next has hardly had time to be moved by
    anything, and one C for all steps would move it as far as the last of them. Several outputs are put in order by
    :func:`gatewise.layers.forecasting.quantiles.increasing`.

    Args:
        state_size: of s, and units of the shared part, S.
        sizes: of the window.

    Shapes:
        ``head(s, known)``: (B, S), (H, B, m) -> (H, B, k, q).
    """

    def __init__(self, state_size: int, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        steps, targets, outputs = sizes.forecast
        self.steps = nn.Linear(state_size, steps * targets * outputs)
        if sizes.known_size:
            self.known = nn.Linear(sizes.known_size, state_size, bias=False)
            self.state = nn.Linear(state_size, state_size)
            self.effect = nn.Linear(state_size, steps * targets * outputs, bias=False)

    def forward(self, state: Tensor, known: Tensor) -> Tensor:
        forecast = self.steps(state).view(len(state), *self.sizes.forecast).transpose(0, 1)
        if self.sizes.known_size:
            hidden = torch.relu(self.known(known) + self.state(state))
            effect = self.effect.weight.unflatten(0, (len(known), -1))
            forecast = forecast + torch.bmm(hidden, effect.mT).unflatten(-1, self.sizes.forecast[1:])
        return increasing(forecast)
