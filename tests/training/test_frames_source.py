"""Which frames are learned from, which choose the weights and which are measured: none are two of these."""

import pytest
import torch

from gatewise.data import Clip
from gatewise.tasks.frames import Windows
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.frames_source import footage

SETTINGS = FramesSettings(inputs=3, outputs=2, heldout=0.2, cell="gru", epochs=1)


def clip(name: str, first: int, count: int) -> Clip:
    return Clip(name, torch.arange(first, first + count).float().reshape(-1, 1, 1, 1))


@pytest.mark.parametrize(
    "clips",
    [[clip("a", 0, 100)], [clip(str(n), 20 * n, 20) for n in range(10)]],
    ids=["one video", "ten videos"],
)
def test_three_parts_have_no_frame_in_common(clips):
    found = footage(clips, SETTINGS)
    assert isinstance(found, Windows)
    learned = {n for batch in found.batches(0) for n in batch.flatten().tolist()}
    chosen, measured = set(found.look.flatten().tolist()), set(found.held_out.flatten().tolist())
    assert chosen
    assert not learned & chosen
    assert not learned & measured
    assert not chosen & measured
    assert max(learned) < min(chosen) <= max(chosen) < min(measured)


@pytest.mark.parametrize("clips", [[clip("a", 0, 30)], [clip(str(n), 20 * n, 20) for n in range(4)]], ids=len)
def test_too_few_frames_are_not_divided_further(clips):
    found = footage(clips, SETTINGS)
    assert isinstance(found, Windows)
    assert not found.chosen_on
    assert torch.equal(found.look, found.held_out)
