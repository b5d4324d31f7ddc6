"""Where the videos of a run come from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewise.data import Clip, read_frames, split_clips
from gatewise.errors import UserError
from gatewise.tasks.frames import Digits, Footage, Windows
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.run import Run, recordable

MOVING_DIGITS = "moving-digits"
"""The name of the videos that are made up."""

_DIGITS_SIZE, _SHARE_TO_CHOOSE = 32, 0.1


@dataclass(frozen=True)
class FramesSource:
    """A file or folder of videos.

    Attributes:
        path: as :func:`gatewise.data.read_frames` takes it; None for moving digits, which are made up.
    """

    path: Path | None = None

    @property
    def name(self) -> str:
        return (self.path.stem or "frames") if self.path else MOVING_DIGITS

    def read(self, settings: FramesSettings) -> list[Clip]:
        """The videos; none where they are made up."""
        return [] if self.path is None else read_frames(self.path, settings.size)

    def to_config(self, clips: Sequence[Clip]) -> dict[str, Any]:
        """What ``config.toml`` records: enough to see that the videos are the same."""
        if self.path is None:
            return {"path": ""}
        path, mark = recordable(self.path), hashlib.sha256()
        for clip in clips:
            mark.update(repr(tuple(clip.frames.shape)).encode())
            mark.update(clip.frames.numpy().tobytes())
        frames = sum(len(clip.frames) for clip in clips)
        return {"path": path, "videos": len(clips), "frames": frames, "sha256": mark.hexdigest()}

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> FramesSource:
        return cls(Path(data["path"]) if data.get("path") else None)


def footage(clips: Sequence[Clip], settings: FramesSettings) -> Footage:
    """The sequences to learn from and to measure with."""
    steps = settings.inputs + settings.outputs
    if not clips:
        return Digits(steps, settings.batch, settings.size or _DIGITS_SIZE, settings.digits, settings.seed)
    train, heldout = split_clips(clips, settings.heldout, steps)
    train, chosen_on = _chosen_on(train, steps)
    return Windows(train, heldout, steps, settings.batch, settings.seed, chosen_on=chosen_on)


def _chosen_on(train: Sequence[Clip], least: int) -> tuple[Sequence[Clip], Sequence[Clip]]:
    """What is learned from, and what the weights are chosen with: the last tenth, if that is long enough."""
    if len(train) > 1:
        count = round(_SHARE_TO_CHOOSE * len(train))
        return (train[:-count], train[-count:]) if count else (train, ())
    (clip,) = train
    cut = len(clip.frames) - round(_SHARE_TO_CHOOSE * len(clip.frames))
    if len(clip.frames) - cut < least or cut < least:
        return train, ()
    return [Clip(clip.name, clip.frames[:cut])], [Clip(f"{clip.name}, to choose", clip.frames[cut:])]


def same_clips(run: Run, source: FramesSource, settings: FramesSettings) -> list[Clip]:
    """The source's videos, if they are still those the run was trained on."""
    clips = source.read(settings)
    recorded = run.read_config()["data"].get("sha256")
    if source.to_config(clips).get("sha256") != recorded:
        raise UserError(f"{source.path}: are not the frames that {run.folder} was trained on; bring those back")
    return clips
