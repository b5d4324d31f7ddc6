"""Videos from a folder: NumPy arrays or pictures in the order of their names."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.errors import UserError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
"""What counts as a picture."""

_MAGIC = b"\x93NUMPY"

_FAR = 16
"""A brightest pixel below such a part of white is one of another type's numbers, stored in too large a type."""

_GREY = ("1", "L", "I;16", "I;16B", "I;16L", "I", "F")


@dataclass(frozen=True)
class Clip:
    """One video.

    Attributes:
        name: where it came from, within what was read.
        frames: (T, C, height, width), 0 is black and 1 is white.
    """

    name: str
    frames: Tensor


def read_frames(path: Path, size: int = 0) -> list[Clip]:
    """The videos of a file or folder, in the order of their names (``2`` before ``10``).

    A ``.npy`` file is a video of shape (T, height, width) or (T, height, width, C), C from 1 to 4; a folder of them is
    one video each. A folder of pictures (PNG, JPEG, BMP, TIFF, WebP, PGM, PPM) is one video; a folder of such folders
    is one video each. Whole numbers and pictures are divided by the largest number of their type; floating-point
    numbers are taken as they are, from 0 to 1. Pictures of 32-bit whole numbers are taken as of 16 bits.

    Args:
        path: the file or folder.
        size: reduce frames so that their shorter side has so many pixels; 0 leaves them, and so does a size that is
            not smaller.

    Raises:
        UserError: nothing there, no frames in it, what cannot be read, values that are not finite or outside 0 to 1,
            frames of different sizes, whole numbers far below their type's largest (0 to 255 as int64 would all be
            black); the message names the first bad file.
    """
    if not os.path.exists(path):
        raise UserError(f"{path}: does not exist (looked for in {Path.cwd()}); give a folder of .npy files or pictures")
    if not os.path.isdir(path):
        if path.suffix.lower() != ".npy":
            raise UserError(f"{path}: want a .npy file, or a folder of .npy files or pictures")
        return [Clip(path.stem, _reduced(_read_array(path), size))]
    found = _clips_in(path, size)
    first_path, first = found[0]
    for source, clip in found:
        if clip.frames.shape[1:] != first.frames.shape[1:]:
            raise UserError(f"{source}: {_said(clip.frames)}, but {first_path} {_said(first.frames)}; give one size")
    return [clip for _, clip in found]


def _clips_in(path: Path, size: int) -> list[tuple[Path, Clip]]:
    """The videos of a folder, and where each lies."""
    files = _listed(path)
    arrays = [file for file in files if file.suffix.lower() == ".npy"]
    pictures = [file for file in files if file.suffix.lower() in PICTURES]
    if arrays and pictures:
        raise UserError(
            f"{path}: has both .npy files and pictures ({arrays[0].name}, {pictures[0].name}); give one kind"
        )
    if arrays:
        return [(file, Clip(file.stem, _reduced(_read_array(file), size))) for file in arrays]
    if pictures:
        return [(path, Clip(path.name, _read_pictures(pictures, size)))]
    folders = [(folder, _pictures_in(folder)) for folder in files if folder.is_dir()]
    folders = [(folder, inside) for folder, inside in folders if inside]
    if not folders:
        raise UserError(
            f"{path}: no frames in it; want .npy files, pictures ({', '.join(PICTURES)}) or folders of pictures"
        )
    return [(folder, Clip(folder.name, _read_pictures(inside, size))) for folder, inside in folders]


def split_clips(clips: Sequence[Clip], share: float, least: int) -> tuple[list[Clip], list[Clip]]:
    """What is learned from, and what is held out: the last videos, or the end of the only one.

    Args:
        clips: the videos.
        share: of the videos, or of the only one's frames, that is held out; at least one video.
        least: frames that every part must have.

    Raises:
        UserError: a video that is too short; the message names it.
    """
    for clip in clips:
        if len(clip.frames) < least:
            raise UserError(
                f"the video '{clip.name}' has {len(clip.frames)} frames, but {least} are needed (those given and "
                "those to predict); give longer videos, or lower --inputs or --outputs"
            )
    if len(clips) > 1:
        count = min(len(clips) - 1, max(1, round(share * len(clips))))
        return list(clips[:-count]), list(clips[-count:])
    (clip,) = clips
    cut = len(clip.frames) - max(least, round(share * len(clip.frames)))
    if cut < least:
        raise UserError(
            f"the video '{clip.name}' has {len(clip.frames)} frames, but {2 * least} are needed, {least} to learn "
            f"from and {least} to measure on; give more, or lower --inputs or --outputs"
        )
    return [Clip(f"{clip.name}, start", clip.frames[:cut])], [Clip(f"{clip.name}, end", clip.frames[cut:])]


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, ``2`` before ``10``."""
    try:
        names = [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from None
    parts = {name: [int(p) if p.isdecimal() else p.casefold() for p in re.split(r"(\d+)", name)] for name in names}
    return [folder / name for name in sorted(names, key=lambda name: (parts[name], name))]


def _pictures_in(folder: Path) -> list[Path]:
    return [file for file in _listed(folder) if file.suffix.lower() in PICTURES]


def _read_array(path: Path) -> Tensor:
    try:
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise UserError(f"{path}: not a .npy file; write it with numpy.save")
            file.seek(0)
            values = np.load(file, allow_pickle=False)
    except UserError:
        raise
    except Exception as error:  # NumPy parses a header as Python text: a damaged one raises almost anything
        raise UserError(
            f"{path}: cannot be read as a .npy file ({_in_a_line(error)}); write it with numpy.save"
        ) from None
    if not isinstance(values, np.ndarray) or values.ndim not in (3, 4) or 0 in values.shape:
        shape = getattr(values, "shape", "none")
        raise UserError(
            f"{path}: has the shape {shape}; want (frames, height, width) or (frames, height, width, channels)"
        )
    if values.ndim == 4 and values.shape[-1] > 4:
        raise UserError(f"{path}: {values.shape[-1]} channels on the last axis; want (frames, height, width, 1 to 4)")
    frames = torch.from_numpy(_scaled(values, path))
    return frames.unsqueeze(1) if frames.dim() == 3 else frames.movedim(-1, 1).contiguous()


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _scaled(values: np.ndarray, path: Path) -> np.ndarray:
    """The same as float32 from 0 to 1."""
    if values.dtype == np.bool_:
        return values.astype(np.float32)
    if np.issubdtype(values.dtype, np.integer):
        if values.min() < 0:
            raise UserError(f"{path}: a value of {values.min()}; whole numbers start at 0, which is black")
        white, largest = np.iinfo(values.dtype).max, values.max()
        if values.dtype not in (np.uint8, np.uint16) and 0 < largest < white // _FAR:
            fitting = np.min_scalar_type(largest)
            advice = f"save it as {fitting}" if fitting.itemsize <= 2 else "divide it and save floating-point numbers"
            raise UserError(
                f"{path}: values up to {largest} in an {values.dtype} array, whose white is {white}: {advice}"
            )
        return (values / np.float64(white)).astype(np.float32)
    if not np.issubdtype(values.dtype, np.floating):
        raise UserError(f"{path}: values of the type {values.dtype}; want whole or floating-point numbers")
    if not np.isfinite(values).all():
        frame = int(np.argwhere(~np.isfinite(values))[0][0])
        raise UserError(
            f"{path}: frame {frame + 1} has a value that is not finite (NaN or infinity); mend or leave it out"
        )
    if values.min() < 0 or values.max() > 1:
        raise UserError(
            f"{path}: floating-point values from {values.min():g} to {values.max():g}; want 0 (black) to 1 (white): "
            "divide them, or save whole numbers"
        )
    return values.astype(np.float32)


def _read_pictures(files: Sequence[Path], size: int) -> Tensor:
    frames: list[Tensor] = []
    first = _read_picture(files[0])
    for file in files:
        frame = _read_picture(file)
        if frame.shape != first.shape:
            raise UserError(f"{file}: {_said(frame)}, but {files[0].name} {_said(first)}; all frames must be alike")
        frames.append(_reduced(frame.unsqueeze(0), size))
    return torch.cat(frames)


def _read_picture(path: Path) -> Tensor:
    from PIL import Image  # for those alone who have pictures

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                count = getattr(picture, "n_frames", 1)
                if count > 1:
                    raise UserError(f"{path}: {count} pictures in one file; give one file a frame")
                if picture.mode in _GREY:
                    values = np.asarray(picture if picture.mode != "1" else picture.convert("L"))
                else:
                    values = np.asarray(picture.convert("RGB"))
    except UserError:
        raise
    except Exception as error:  # Pillow's readers of damaged files raise almost anything
        raise UserError(f"{path}: cannot be read as a picture ({_in_a_line(error)}); mend it or take it out") from None
    if values.dtype == np.int32:  # what Pillow makes of 16 bits
        if values.min() < 0 or values.max() >= 1 << 16:
            raise UserError(
                f"{path}: values from {values.min()} to {values.max()}; want 0 (black) to 65535 (white): "
                "save the picture with 16 bits"
            )
        values = values.astype(np.uint16)
    frame = torch.from_numpy(_scaled(values, path))
    return frame.unsqueeze(0) if frame.dim() == 2 else frame.movedim(-1, 0).contiguous()


def _reduced(frames: Tensor, size: int) -> Tensor:
    """(T, C, height, width) with a shorter side of ``size`` pixels, if it is longer."""
    shorter = min(frames.shape[-2:])
    if not 0 < size < shorter:
        return frames
    sides = [max(size, round(side * size / shorter)) for side in frames.shape[-2:]]
    return F.interpolate(frames, sides, mode="bilinear", antialias=True).clamp(0, 1)


def _said(frames: Tensor) -> str:
    channels, height, width = frames.shape[-3:]
    return f"has frames of {width} x {height} pixels" + ("" if channels == 1 else f" and {channels} channels")
