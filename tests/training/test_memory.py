"""What a training needs of memory: counted without allocating, refused in one line."""

import pytest
import torch

from gatewise import UserError
from gatewise.layers import FrameForecaster
from gatewise.tasks.frames import cross_entropy
from gatewise.training import TRAININGS, memory
from gatewise.training.frames_run import model_config
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.frames_source import FramesSource
from gatewise.training.memory import kept_for_backward
from gatewise.training.settings import settings_from


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_is_kept_is_counted_once_and_without_the_weights(device):
    w = torch.nn.Parameter(torch.ones(3, 5, device=device))
    model = torch.nn.Module()
    model.w = w
    x = torch.ones(7, 3, device=device)

    def loss():
        y = torch.sigmoid(x @ w)  # keeps x and y
        return (y * y).sum()  # keeps y, twice

    assert kept_for_backward(model, loss) == 4 * (7 * 3 + 7 * 5)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_step_on_frames_is_refused_where_it_does_not_fit(cell, monkeypatch):
    """The bytes that are refused are those that a whole step keeps, counted on the CPU."""
    settings = settings_from(FramesSettings, {"cell": cell, "hidden": 6, "batch": 3, "inputs": 4, "outputs": 5})
    model = FrameForecaster(**model_config(settings, 1))
    kept = kept_for_backward(model, lambda: cross_entropy(model, torch.rand(9, 3, 1, 32, 32), 4, 5))
    needed = kept + sum(p.numel() * 4 for p in model.parameters())

    def prepare():
        return TRAININGS["frames"].prepare(FramesSource(), settings, None, lambda line: None)

    monkeypatch.setattr(memory, "_memory", lambda: needed)
    prepare()
    monkeypatch.setattr(memory, "_memory", lambda: needed - 1)
    with pytest.raises(UserError, match=r"--batch 3 .* a training step keeps .* reduce the frames of 32 x 32 pixels"):
        prepare()
