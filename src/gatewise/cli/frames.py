"""Commands of the frames task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from gatewise.cli.options import GROUPS
from gatewise.cli.predict import PREDICTORS, Wanted
from gatewise.cli.training import ENDINGS, Asked, Ending, train_command
from gatewise.data import read_frames
from gatewise.errors import UserError
from gatewise.show.frames import draw_frames_run, film_of
from gatewise.training import Run
from gatewise.training.checkpoint import replacing
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.frames_source import FramesSource
from gatewise.training.settings import settings_from
from gatewise.training.trained_frames import load_frames_run


@train_command("frames", FramesSettings)
def train_frames(
    folder: Annotated[
        Path | None,
        Parameter(
            group=GROUPS["Data"],
            help="A .npy file (frames, height, width[, channels]), a folder of them, or a folder of pictures or of "
            "such folders; without one, moving digits: real ones in synthetic motion.",
        ),
    ] = None,
    /,
    *,
    chosen: dict[str, Any],
) -> Asked:
    """Train a forecaster of a video's next frames, measure it on held-out sequences beside copying the last frame.

    The cell's products are convolutions. Without `--minutes` or `--epochs` it trains for three minutes. Ctrl-C saves;
    `gatewise resume RUN` goes on. The run's folder gets a strip of pictures and a film.
    """
    if folder is None and chosen.get("heldout") is not None:
        raise UserError("--heldout is of videos that are given, and none are: leave it out, or name a folder")
    if folder is not None and chosen.get("digits") is not None:
        raise UserError("--digits is of moving digits, and videos are given: leave it out, or name no folder")
    return FramesSource(folder), settings_from(FramesSettings, chosen)


def _predict(run: Run, wanted: Wanted, say: Callable[[str], None]) -> str:
    """The frames that come after those of a video; of several videos, the first."""
    wanted.refuse_others("frames")
    folder, out, frames = wanted.data, wanted.out, wanted.frames
    if folder is None:
        raise UserError(f"predict {run.folder}: name the frames to go on from, as `train frames` takes them")
    if out.suffix.lower() not in (".gif", ".npy"):
        raise UserError(f"--out {out}: want a name that ends in .gif or .npy")
    if frames is not None and frames < 1:
        raise UserError(f"--frames {frames}: want a number above 0")
    trained = load_frames_run(run.folder)
    clip = read_frames(folder, trained.size)[0]
    given, learned = clip.frames.shape[1], trained.model.channels
    if given != learned:
        shape = "(frames, height, width)" if learned == 1 else f"(frames, height, width, {learned})"
        raise UserError(
            f"{folder}: {_kind(given)} frames, and {run.folder} learned from {_kind(learned)} ones; give "
            f"{_kind(learned)} frames, {shape}"
        )
    predicted = trained.predict(clip.frames, frames)
    if out.suffix.lower() == ".gif":
        film_of(predicted, out)
    else:
        values = predicted.movedim(1, -1).numpy()
        with replacing(out) as temporary, temporary.open("wb") as file:
            np.save(file, values[..., 0] if values.shape[-1] == 1 else values)
    return f"{len(predicted)} frames after the {len(clip.frames)} of {clip.name}: {out}"


def _kind(channels: int) -> str:
    return {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")


_NAMED = {
    "copy_last": "the last frame again", "mean_given": "the mean of the given frames",
    "motion": "the last frame moved on", "train_mean": "the mean training picture",
}  # fmt: skip
"""What is predicted without learning, in words."""


def _tell(run: Run, summary: dict[str, Any]) -> None:
    scores = {"forecast": summary, **{_NAMED[name]: score for name, score in summary["baselines"].items()}}
    width = max(map(len, scores))
    for name, score in scores.items():
        alike = "" if score["ssim"] is None else f"  SSIM {score['ssim']:.3f}"
        print(f"{name:{width}}  MSE {score['mse']:.5f}{alike}")
    baselines = {name: score["mse"] for name, score in summary["baselines"].items()}
    best = min(baselines, key=lambda name: baselines[name])
    print(_beside(summary, summary["baselines"]["copy_last"], _NAMED["copy_last"]))
    print(_beside(summary, summary["baselines"][best], f"the best without learning, {_NAMED[best]}"))
    print(f"pictures   {run.folder / 'frames.png'}, {run.folder / 'frames.gif'}")


def _beside(forecast: Mapping[str, Any], other: Mapping[str, Any], name: str) -> str:
    """How a forecast compares with another prediction."""
    ratio = forecast["mse"] / other["mse"] if other["mse"] else float("inf")
    alike = "" if None in (forecast["ssim"], other["ssim"]) else f", SSIM {forecast['ssim'] - other['ssim']:+.3f}"
    return f"beside {name}: {ratio:.2f} times the squared error{alike}"


ENDINGS["frames"] = Ending(draw_frames_run, _tell, lambda _: ("predict {run} FOLDER --out next.gif", "explain {cell}"))
PREDICTORS["frames"] = _predict
