"""The encoder-forecaster against the same steps written out, and what must reach what."""

from typing import Any

import pytest
import torch

from gatewise import CELLS, UserError
from gatewise.layers import FrameForecaster

T, B, HORIZON = 3, 2, 4


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_is_the_papers_encoder_and_forecaster(cell):
    """Patch by patch, step by step: states handed over, no input to the forecaster, all its layers to the head."""
    model = FrameForecaster(3, cell, 5, num_layers=2, patch=2).eval()
    frames = torch.rand(T, B, 3, 4, 6)
    patches = torch.empty(T, B, 12, 2, 3)
    for c in range(3):
        for y in range(2):
            for x in range(2):
                patches[:, :, 4 * c + 2 * y + x] = frames[:, :, c, y::2, x::2]
    states = []
    value = patches
    for layer in model.encoder:
        state = None
        steps = []
        for t in range(T):
            out, state = layer(value[t : t + 1], state)
            steps.append(out)
        value = torch.cat(steps)
        states.append(state)
    expected = torch.empty(HORIZON, B, 3, 4, 6)
    for t in range(HORIZON):
        value, outputs = torch.zeros(1, B, 1, 2, 3), []
        for k, layer in enumerate(model.forecaster):
            value, states[k] = layer(value, states[k])
            outputs.append(value[0])
        chances = torch.sigmoid(model.head(torch.cat(outputs, 1)))
        for c in range(3):
            for y in range(2):
                for x in range(2):
                    expected[t, :, c, y::2, x::2] = chances[:, 4 * c + 2 * y + x]
    torch.testing.assert_close(model(frames, HORIZON), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_every_weight_learns_whatever_the_cell(cell):
    model = FrameForecaster(1, cell, 4, num_layers=2, patch=2)
    model.logits(torch.rand(T, B, 1, 6, 6), HORIZON).square().sum().backward()
    silent = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert [name for name in silent if not name.startswith("forecaster.0.weight_ih")] == []  # which sees zeros alone


def test_frames_need_not_be_whole_patches():
    model = FrameForecaster(1, "gru", 4, patch=4).eval()
    frames = torch.rand(T, B, 1, 9, 6)
    padded = torch.zeros(T, B, 1, 12, 8)
    padded[..., :9, :6] = frames
    predicted = model(frames, HORIZON)
    assert predicted.shape == (HORIZON, B, 1, 9, 6)
    torch.testing.assert_close(predicted, model(padded, HORIZON)[..., :9, :6], rtol=0, atol=1e-6)


def test_the_first_forecast_has_the_brightness_it_is_set_to():
    model = FrameForecaster(1, "gru", 4)
    model.set_brightness(0.1)
    assert abs(model(torch.rand(T, B, 1, 8, 8), 1).mean().item() - 0.1) < 0.03
    model.set_brightness(0.0)  # frames may be all black
    assert model(torch.rand(T, B, 1, 8, 8), 1).isfinite().all()


@pytest.mark.parametrize("patch", [0, 2.0, True])
def test_a_patch_is_a_whole_number_of_pixels(patch):
    with pytest.raises(UserError, match="patch: want a whole number of pixels above 0, got"):
        FrameForecaster(1, patch=patch)


class Noted(torch.nn.Module):
    """In the place of dropout: what was given to it, and zeros instead from the call ``silent`` on."""

    def __init__(self, silent: int) -> None:
        super().__init__()
        self.silent, self.seen = silent, []

    def forward(self, value):
        self.seen.append(value)
        return torch.zeros_like(value) if len(self.seen) > self.silent else value


def test_dropout_is_between_layers_and_before_the_head():
    model: Any = FrameForecaster(1, "gru", [5, 6, 7], 3, patch=4, dropout=0.25)
    frames = torch.rand(T, B, 1, 8, 8)
    assert isinstance(model.dropout, torch.nn.Dropout)
    assert model.dropout.p == 0.25
    assert torch.equal(model.eval().logits(frames, HORIZON), model.logits(frames, HORIZON))
    assert not torch.equal(model.train().logits(frames, HORIZON), model.logits(frames, HORIZON))
    model.dropout = noted = Noted(silent=4)
    silenced = model.logits(frames, HORIZON)
    assert [tuple(value.shape[:-2]) for value in noted.seen] == [
        (T, B, 5), (T, B, 6), (HORIZON, B, 5), (HORIZON, B, 6), (HORIZON * B, 18),
    ]  # fmt: skip
    bias = torch.nn.functional.pixel_shuffle(model.head.bias.reshape(1, 16, 1, 1).expand(1, 16, 2, 2), 4)
    torch.testing.assert_close(silenced, bias.expand(HORIZON, B, 1, 8, 8))  # nothing passes by what stands before V
