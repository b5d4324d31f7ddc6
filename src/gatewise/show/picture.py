"""How every picture looks, and how it is written: SVG and PNG, whole or not at all, Chinese letters too."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from gatewise.training.checkpoint import replacing

TRAIN, HELDOUT = "#4269d0", "#d1495b"
OBSERVED, FORECAST = "#3d4148", "#d1495b"
OTHERS = ("#4269d0", "#3ca951", "#efb118", "#a463f2", "#9c6b4e", "#6cc5b0", "#ff8ab7", "#9498a0")
"""Baselines, classes and whatever else stands beside the main thing."""

_FAMILIES = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Microsoft YaHei", "SimHei", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "STHeiti",
    "Arial Unicode MS", "Droid Sans Fallback", "Noto Sans CJK JP", "AR PL UMing CN",
)  # fmt: skip
"""Fonts with Chinese letters that come with systems or are often installed."""

# A font with Chinese letters often has one weight: nobody needs to read that bold letters came out regular.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


def dress(axes: Axes, title: str, grid: str = "y") -> None:
    """The title on the left, no box, a light grid."""
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)  # a folder's name may have a $
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(axis=grid, linewidth=0.5, alpha=0.4)  # type: ignore[arg-type]


def along_steps(axes: Axes, label: str = "training step") -> None:
    """Steps to the right: whole numbers."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def save(figure: Figure, *paths: Path) -> list[Path]:
    """Write a figure into files whose suffix says how, ``.svg`` or ``.png``; each is replaced whole."""
    # In an SVG text stays text: the viewer's fonts know the characters that matplotlib's own does not.
    settings: Any = {"svg.fonttype": "none", "font.family": _families()}
    for text in figure.findobj(Text):  # those of ticks are made while it is drawn
        text.set_fontfamily(_families())  # type: ignore[attr-defined]
    for path in paths:
        kind = path.suffix[1:]
        with replacing(path) as temporary, rc_context(settings), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            figure.savefig(temporary, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
        if kind == "png" and any("Glyph" in str(warning.message) for warning in caught):
            _tell_of_fonts()
    return list(paths)


def save_both(figure: Figure, folder: Path, name: str) -> list[Path]:
    """``NAME.svg`` and ``NAME.png`` in a folder."""
    return save(figure, folder / f"{name}.svg", folder / f"{name}.png")


@functools.cache
def _families() -> list[str]:
    """matplotlib's own font, then one with Chinese letters: a letter is taken from the first that has it."""
    known = set(font_manager.get_font_names())
    found = [family for family in _FAMILIES if family in known]
    return ["DejaVu Sans", *(found or _newly_installed())][:4]


def _newly_installed() -> list[str]:
    """Of fonts that were installed since matplotlib last looked."""
    seen = {font.fname for font in font_manager.fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - seen:
        with contextlib.suppress(OSError, RuntimeError):  # a file that is no font, or a damaged one
            font_manager.fontManager.addfont(path)
    known = set(font_manager.get_font_names())
    return [family for family in _FAMILIES if family in known]


@functools.cache
def _tell_of_fonts() -> None:
    print(
        "gatewise: no font here has all letters of the labels: they are boxes in .png pictures (the .svg are right); "
        "install one, such as Noto Sans CJK",
        file=sys.stderr,
    )
