"""Predicted frames as pictures: a strip of what was given, what came and what was predicted; the same as a film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gatewise.show.curve import draw_run
from gatewise.show.picture import HELDOUT, save
from gatewise.tasks.frames import FramesTask, copy_last
from gatewise.training import Run
from gatewise.training.checkpoint import replacing
from gatewise.training.trained_frames import Examples, load_frames_run

MOST_COLUMNS = 10
"""Frames of a strip's row at most; longer ones are thinned evenly, the first and the last among them."""

_SIDE = 160
"""Pixels of the longer side of a film's frame at most; smaller ones are enlarged by a whole number."""

_MILLISECONDS, _PAUSE = 200, 1_000


def draw_frames_run(run: Run, examples: int = 3) -> None:
    """Draw a run's ``curve`` and ``frames`` as SVG and PNG, and ``frames.gif``."""
    draw_run(run, FramesTask.loss_unit)
    found = load_frames_run(run.folder).examples(examples)
    title = f"{run.folder.name}: {run.read_config()['settings']['cell']} on sequences that it never saw"
    draw_strip(found, [run.folder / "frames.svg", run.folder / "frames.png"], title)
    film(found, run.folder / "frames.gif")


def draw_strip(examples: Examples, paths: Sequence[Path], title: str) -> None:
    """Draw four rows for every sequence: the given frames; and of those to come the truth, the forecast, and the last
    given frame again.

    Args:
        examples: the sequences.
        paths: where the picture goes, in the kinds that their suffixes name; replaced whole.
        title: what it shows.
    """
    given, truth, predicted = examples
    before, after = _thinned(len(given)), _thinned(len(truth))
    columns, count, (height, width) = max(len(before), len(after)), truth.shape[1], truth.shape[-2:]
    tall = 4 * 0.7 * height / width + 0.75
    figure = Figure(figsize=(1.2 + columns * 0.7, 0.4 + count * tall), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, parse_math=False)
    for n, axes in enumerate(figure.subplots(count, 1, squeeze=False)[:, 0]):
        rows = [
            given[before, n],
            *(frames[after, n] for frames in (truth, predicted, copy_last(given, len(truth)))),
        ]
        axes.imshow(_side_by_side(rows, columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        _label(axes, (height, width), columns, [t - len(given) + 1 for t in before], [t + 1 for t in after])
    save(figure, *paths)


def _label(axes: Axes, frame: tuple[int, int], columns: int, before: Sequence[int], after: Sequence[int]) -> None:
    (height, width), gap = frame, _gap(frame)
    middles = [gap + (row + 0.5) * (height + gap) - gap / 2 - 0.5 for row in range(4)]
    axes.set_yticks(middles, ["given", "truth", "forecast", "last frame again"], fontsize=8)
    places = [gap + (column + 0.5) * (width + gap) - gap / 2 - 0.5 for column in range(columns)]
    axes.set_xticks(places[: len(after)], [f"+{t}" for t in after], fontsize=7)
    top = axes.secondary_xaxis("top")
    top.set_xticks(places[: len(before)], [f"−{-t}" if t else "0" for t in before], fontsize=7)
    for side in (axes, top):
        side.tick_params(length=0, pad=2)
        side.spines[:].set_visible(False)
    axes.yaxis.get_ticklabels()[2].set(color=HELDOUT, fontweight="bold")


def _side_by_side(rows: Sequence[Tensor], columns: int) -> np.ndarray:
    """Rows of frames (T, C, height, width) in one picture, white between them."""
    height, width = rows[0].shape[-2:]
    gap = _gap((height, width))
    whole = np.ones((gap + len(rows) * (height + gap), gap + columns * (width + gap), 3), dtype=np.float32)
    for row, frames in enumerate(rows):
        for column, frame in enumerate(frames):
            y, x = gap + row * (height + gap), gap + column * (width + gap)
            whole[y : y + height, x : x + width] = _colours(frame)
    return whole


def _gap(frame: tuple[int, int]) -> int:
    return max(1, max(frame) // 16)


def _thinned(count: int) -> list[int]:
    return torch.linspace(0, count - 1, min(count, MOST_COLUMNS)).round().long().tolist()


def _colours(frame: Tensor) -> np.ndarray:
    """(C, height, width) as (height, width, 3): one channel is grey, a second or a fourth is not shown."""
    shown = frame[:3] if frame.shape[0] >= 3 else frame[:1].expand(3, -1, -1)
    return shown.clamp(0, 1).movedim(0, -1).numpy()


def film(examples: Examples, path: Path) -> None:
    """Write a GIF: the given frames, then on the left what came and on the right what was predicted.

    Args:
        examples: the sequences, one below the other.
        path: where the film goes; replaced whole.
    """
    given, truth, predicted = examples
    pictures = [_still((frame, frame), f"given {t - len(given) + 1}", False) for t, frame in enumerate(given)]
    pictures += [_still(pair, f"+{t + 1}", True) for t, pair in enumerate(zip(truth, predicted, strict=True))]
    write_film(pictures, path)


def film_of(frames: Tensor, path: Path) -> None:
    """Write a GIF of (T, C, height, width)."""
    write_film([_fitted(frame) for frame in frames], path)


def write_film(pictures: Sequence[Image.Image], path: Path) -> None:
    """Write pictures as a GIF that begins anew after a pause."""
    durations = [_MILLISECONDS] * (len(pictures) - 1) + [_PAUSE]
    with replacing(path) as temporary:
        pictures[0].save(temporary, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def _still(columns: tuple[Tensor, Tensor], when: str, to_come: bool) -> Image.Image:
    """Frames (N, C, height, width) beside each other, with what they are above them."""
    pairs = [[_fitted(frame) for frame in frames] for frames in columns]
    wide, high = pairs[0][0].size
    gap, head = 8, 20
    sheet = Image.new("RGB", (2 * wide + 3 * gap, head + len(pairs[0]) * (high + gap)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, (name, frames) in enumerate(zip(("truth", "forecast"), pairs, strict=True)):
        x = gap + column * (wide + gap)
        draw.text(
            (x, 2), f"{name} {when}" if to_come else when, fill=HELDOUT if to_come and column else "black", font=font
        )
        for row, frame in enumerate(frames):
            sheet.paste(frame, (x, head + row * (high + gap)))
    return sheet


def _fitted(frame: Tensor) -> Image.Image:
    picture = Image.fromarray((_colours(frame) * 255).round().astype(np.uint8))
    longer = max(picture.size)
    if longer > _SIDE:
        width, height = (max(1, round(side * _SIDE / longer)) for side in picture.size)
        return picture.resize((width, height), Image.Resampling.BOX)
    scale = _SIDE // longer
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)
