"""Anchored forecasters against the formula, and what they are for: levels and scales that were never seen."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gatewise import UserError
from gatewise.layers.forecasting.anchored import ANCHORS, Anchored

L, H, B, K, Q = 7, 5, 3, 2, 2


class Recorder(nn.Module):
    """Gives fixed numbers, and keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.output = torch.randn(H, B, K, Q, dtype=torch.float64)

    def forward(self, past, history, known, share=1.0, targets=None):
        self.seen: tuple[Any, ...] = (past, history, known, share, targets)
        return self.output


class Mixing(nn.Module):
    """Depends on every input: a linear map of all of them."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.map = nn.Linear(L * (inputs + K), H * K * Q, dtype=torch.float64)

    def forward(self, past, history, known, share=1.0, targets=None):
        flat = torch.cat([past, history], -1).transpose(0, 1).flatten(1)
        return self.map(flat).reshape(-1, H, K, Q).transpose(0, 1)


@pytest.fixture
def window():
    """A past whose channels 2 and 0 are the targets, and what is known of the future."""
    past = torch.randn(L, B, 4, dtype=torch.float64)
    return past, past[..., [2, 0]], torch.randn(H, B, 1, dtype=torch.float64)


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("normalise", [False, True])
def test_it_is_the_anchor_and_so_many_scales(window, anchor, normalise):
    past, history, known = window
    inner = Recorder()
    found = Anchored(inner, anchor, normalise, season=3, places=[2, 0])(past, history, known, 0.25).numpy()
    y, output = history.numpy(), inner.output.numpy()
    scale = np.sqrt(y.var(0) + 1e-5) if normalise else np.ones((B, K))
    for h in range(H):
        level = {"none": 0 * y[-1], "last": y[-1], "mean": y.mean(0), "seasonal": y[L - 3 + h % 3]}[anchor]
        for q in range(Q):
            np.testing.assert_allclose(found[h, :, :, q], level + scale * output[h, :, :, q], atol=1e-12)
    assert inner.seen[3] == 0.25
    assert inner.seen[4] is None
    assert torch.equal(inner.seen[2], known)
    if normalise:
        expected = (y - y.mean(0)) / scale
        np.testing.assert_allclose(inner.seen[1].numpy(), expected, atol=1e-12)
        np.testing.assert_allclose(inner.seen[0][..., [2, 0]].numpy(), expected, atol=1e-12)
        assert torch.equal(inner.seen[0][..., [1, 3]], past[..., [1, 3]])
    else:
        assert torch.equal(inner.seen[0], past)


def test_targets_are_shown_as_the_output_that_would_be_right(window):
    past, history, known = window
    inner = Recorder()
    model = Anchored(inner, "seasonal", True, season=4, places=[2, 0])
    truth = torch.randn(H, B, K, dtype=torch.float64)
    model(past, history, known, targets=truth)
    shown = inner.seen[4]
    inner.output = shown.unsqueeze(-1).expand(-1, -1, -1, Q)
    again = model(past, history, known)[..., 0]
    torch.testing.assert_close(again, truth)


def test_another_level_and_scale_of_the_targets_moves_and_stretches_the_forecast(window):
    past, history, known = window
    for anchor in ("last", "seasonal", "mean"):
        model = Anchored(Mixing(4), anchor, normalise=True, season=3, places=[2, 0])
        other = past.clone()
        other[..., [2, 0]] = 50 + 9 * past[..., [2, 0]]
        expected = 50 + 9 * model(past, history, known)
        torch.testing.assert_close(model(other, other[..., [2, 0]], known), expected, rtol=1e-4, atol=1e-4)


def test_targets_that_are_no_inputs_leave_the_inputs_alone(window):
    past, history, known = window
    inner = Recorder()
    Anchored(inner, "last", normalise=True)(past, history, known)
    assert torch.equal(inner.seen[0], past)
    assert not torch.equal(inner.seen[1], history)


def test_a_window_that_does_not_move_is_not_divided_by_nothing(window):
    past, _, known = window
    model = Anchored(Mixing(4), "mean", normalise=True, places=[2, 0])
    flat = past.clone()
    flat[..., [2, 0]] = 3.0
    assert model(flat, flat[..., [2, 0]], known).isfinite().all()


def test_an_unknown_anchor_is_refused():
    with pytest.raises(UserError, match="anchor seasnal: did you mean 'seasonal'"):
        Anchored(nn.Identity(), "seasnal")
