"""Moving digits: real handwritten digits in made-up motion."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from gatewise.errors import UserError, nearest

TRAIN_DIGITS = 1_437
"""The first so many of scikit-learn's 1,797 digits are to learn from, the others to measure with."""

SCALE = 1.75
"""Pixels of a frame for one of a digit's 8."""

_EXTENT = 9 * SCALE - 1
"""Pixels that a digit reaches over; between them it falls to nothing."""

PARTS = ("train", "test")


def moving_digits(
    count: int, steps: int, size: int = 32, digits: int = 2, part: str = "train", seed: int = 0
) -> Tensor:
    """Sequences of frames in which handwritten digits fly straight on and bounce off the walls.

    The digits are the real ones that scikit-learn brings (8 x 8 pixels, 1,797 of them; UCI, Alpaydin and Kaynak 1998);
    the motion is made up, as in Moving MNIST (Srivastava et al. 2015, arXiv:1502.04681). A digit starts anywhere, with
    any direction and a speed uniform of [1, 3] pixels a step, and is drawn between the pixels where it stands between
    them (linear interpolation); where two digits meet, the brighter pixel is seen. Test sequences have other digit
    images than training sequences.

    Args:
        count: how many sequences, B.
        steps: frames of a sequence, T.
        size: pixels of a frame's side, S.
        digits: digits in a frame, 1 to 9.
        part: "train" or "test": which images are used.
        seed: the same seed gives the same sequences.

    Returns:
        (T, B, 1, S, S), 0 is black and 1 is white.

    Raises:
        UserError: a frame too small for a digit, an unknown part, a number out of its range.

    Example:
        >>> frames = moving_digits(count=4, steps=20)
        >>> frames.shape, frames.min().item(), frames.max().item() <= 1
        (torch.Size([20, 4, 1, 32, 32]), 0.0, True)
    """
    if part not in PARTS:
        raise UserError(f"moving digits: part '{part}': {nearest(part, PARTS)}")
    if min(count, steps) < 1 or not 1 <= digits <= 9:
        raise UserError(f"moving digits: want 1 to 9 digits in 1 or more frames, got {digits} in {steps}")
    if size < _EXTENT + 1:
        raise UserError(
            f"moving digits: a frame of {size} pixels is too small to move in; want {int(_EXTENT) + 2} or more"
        )
    generator = torch.Generator().manual_seed(seed)
    images = _images()[:TRAIN_DIGITS] if part == "train" else _images()[TRAIN_DIGITS:]
    chosen = images[torch.randint(len(images), (count, digits), generator=generator)]
    ways = _ways((count, digits), steps, size - _EXTENT, generator)
    rows, columns = (_interpolation(way, size) for way in ways)
    drawn = rows @ chosen @ columns.mT  # (T, B, digits, S, S)
    return drawn.amax(2, keepdim=True).clamp(max=1)  # rounding goes above it


@functools.cache
def _images() -> Tensor:
    """scikit-learn's digits, (1797, 8, 8) in [0, 1]."""
    from sklearn.datasets import load_digits  # half a second, for those alone who want it

    return torch.from_numpy(load_digits(return_X_y=True)[0].reshape(-1, 8, 8)).float() / 16


def _ways(digits: tuple[int, int], steps: int, room: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Where the upper edge of each digit is at every step, and where its left edge: each (T, B, digits)."""
    angle = 2 * torch.pi * torch.rand(digits, generator=generator)
    speed = 1 + 2 * torch.rand(digits, generator=generator)
    time = torch.arange(steps).reshape(-1, 1, 1)
    down = _bounced(room * torch.rand(digits, generator=generator) + time * speed * angle.sin(), room)
    across = _bounced(room * torch.rand(digits, generator=generator) + time * speed * angle.cos(), room)
    return down, across


def _bounced(way: Tensor, room: float) -> Tensor:
    """Where what went ``way`` is, between walls at 0 and ``room``."""
    return room - (way % (2 * room) - room).abs()


def _interpolation(place: Tensor, size: int) -> Tensor:
    """(..., S, 8): how much of each of a digit's pixels a frame's pixel shows, the digit's edge being at ``place``."""
    pixels, own = torch.arange(size).unsqueeze(1), torch.arange(8)
    middle = place[..., None, None] + SCALE * (own + 1) - 1
    return (1 - (pixels - middle).abs() / SCALE).clamp(min=0)
