"""Moving digits: drawn by another hand, and following the laws of their motion."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from sklearn.datasets import load_digits

from gatewise.data import moving_digits
from gatewise.data.moving_digits import SCALE, TRAIN_DIGITS
from gatewise.errors import UserError

IMAGES = load_digits(return_X_y=True)[0].reshape(-1, 8, 8) / 16


def weight(frame: np.ndarray) -> float:
    """The light of a frame in that of its digit: every pixel of a digit lights ``SCALE``² of a frame's."""
    return frame.sum() / SCALE**2


def centre(frame: np.ndarray) -> np.ndarray:
    places = np.stack(np.meshgrid(*map(np.arange, frame.shape), indexing="ij"))
    return (places * frame).sum((1, 2)) / frame.sum()


def drawn_by_scipy(image: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
    """Linear interpolation of the digit with black around it."""
    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"))
    within = (pixels - place[:, None, None] + 1) / SCALE
    return map_coordinates(np.pad(image, 1), within, order=1, mode="constant", cval=0.0)


def test_a_digit_is_a_real_one_that_moves_straight_on_between_the_walls():
    frames = moving_digits(6, 8, size=64, digits=1, part="test", seed=3).double().numpy()[:, :, 0]
    for b in range(6):
        path = np.array([centre(frame) for frame in frames[:, b]])
        steps = np.diff(path, axis=0)
        speed = np.linalg.norm(steps, axis=1)
        straight = np.abs(np.diff(steps, axis=0)).max(1) < 0.25
        assert straight.sum() >= 3  # a wall is met rarely in so large a frame
        assert 1 - 0.1 < np.median(speed) < 3 + 0.1
        light = weight(frames[0, b])
        near = [k for k in range(TRAIN_DIGITS, len(IMAGES)) if abs(IMAGES[k].sum() - light) < 0.35]
        place = path[0] - (np.array([centre(IMAGES[k]) for k in near]) + 1) * SCALE + 1
        errors = [
            np.abs(drawn_by_scipy(IMAGES[k], p, 64) - frames[0, b]).max() for k, p in zip(near, place, strict=True)
        ]
        assert min(errors) < 0.05


def test_nothing_is_lost_at_the_walls():
    """A bounced digit stays whole: its light is nearly the same at all times."""
    frames = moving_digits(20, 40, size=20, digits=1, seed=1)
    light = frames.sum((2, 3, 4))
    assert (light.amax(0) / light.amin(0) - 1).max() < 0.06  # the interpolation's own
    assert frames.amax() <= 1
    assert frames.amin() == 0


def test_more_digits_are_seen_where_they_are_brightest():
    one, two = moving_digits(4, 3, digits=1, seed=5), moving_digits(4, 3, digits=2, seed=5)
    assert one.sum() < two.sum() < 3 * one.sum()


def test_the_same_seed_gives_the_same_sequences():
    assert torch.equal(moving_digits(3, 4, seed=7), moving_digits(3, 4, seed=7))
    assert not torch.equal(moving_digits(3, 4, seed=7), moving_digits(3, 4, seed=8))
    assert not torch.equal(moving_digits(3, 4, seed=7), moving_digits(3, 4, part="test", seed=7))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 15}, "moving digits: a frame of 15 pixels is too small to move in; want 16 or more"),
        ({"part": "tests"}, "moving digits: part 'tests': did you mean 'test'?"),
        ({"digits": 0}, "moving digits: want 1 to 9 digits in 1 or more frames, got 0 in 4"),
        ({"steps": 0}, "moving digits: want 1 to 9 digits in 1 or more frames, got 2 in 0"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(UserError) as caught:
        moving_digits(**{"count": 1, "steps": 4, **changes})
    assert str(caught.value) == message


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_part_is_drawn_from_its_own_images(part):
    """The image that explains a frame best, over all places, is one of the part's."""
    frames = moving_digits(12, 1, size=24, part=part, digits=1, seed=2).double().numpy()[0, :, 0]
    for frame in frames:
        best = {}
        for k, image in enumerate(IMAGES):
            if abs(image.sum() - weight(frame)) < 0.35:
                place = centre(frame) - (centre(image) + 1) * SCALE + 1
                best[k] = np.abs(drawn_by_scipy(image, place, 24) - frame).max()
        assert (min(best, key=lambda k: best[k]) < TRAIN_DIGITS) == (part == "train")


def test_directions_are_all_around_and_speeds_from_one_to_three():
    """Of 600 digits far from the walls: each quadrant has a quarter, each half pixel of speed a quarter."""
    frames = moving_digits(600, 2, size=96, digits=1, seed=8)[:, :, 0].double()
    light = frames.sum((2, 3))
    places = torch.arange(96.0, dtype=torch.float64)
    ways = torch.stack([(frames.sum(3) @ places) / light, (frames.sum(2) @ places) / light], -1).diff(dim=0)[0]
    speeds = ways.norm(dim=-1)
    straight = speeds > 0.9  # a digit that bounced seems slower
    assert straight.sum() > 540
    down, right = ways[straight].unbind(-1)
    for share in ((a * down > 0) & (b * right > 0) for a in (1, -1) for b in (1, -1)):
        assert 0.18 < share.double().mean() < 0.32
    counts = torch.histc(speeds[straight], 4, 1, 3) / straight.sum()
    assert counts.min() > 0.17
    assert counts.max() < 0.33
    assert speeds.max() < 3.2
