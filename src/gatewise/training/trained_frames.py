"""A finished frames run, for use: predicting, showing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from gatewise.errors import UserError
from gatewise.layers import FrameForecaster
from gatewise.tasks.frames import FramesTask, predict
from gatewise.training.checkpoint import read_about
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.frames_source import FramesSource, footage, same_clips
from gatewise.training.run import Run
from gatewise.training.settings import about as setting_about
from gatewise.training.settings import check_task, read_settings
from gatewise.training.weights import load_model

_FIELDS = {field.name: field for field in fields(FramesSettings)}


class Examples(NamedTuple):
    """Held-out sequences, (T, N, C, height, width) each."""

    given: Tensor
    truth: Tensor
    predicted: Tensor


@dataclass(frozen=True)
class TrainedFrames:
    """A trained forecaster of frames.

    Attributes:
        model: the network.
        inputs: frames that it was given.
        outputs: frames that it learned to predict.
        size: what frames were reduced to, as :func:`gatewise.data.read_frames` takes it.
        run: the folder it came from.
    """

    model: FrameForecaster
    inputs: int
    outputs: int
    size: int
    run: Run

    def predict(self, frames: Tensor, horizon: int | None = None) -> Tensor:
        """The frames after (T, C, height, width), of which the last ``inputs`` count: (horizon, C, height, width).

        Raises:
            UserError: another number of channels than it learned from, no frame, values that are not finite or not
                from 0 to 1, a horizon that is no whole number above 0.
        """
        horizon = self.outputs if horizon is None else horizon
        if not _within(horizon, "outputs"):
            raise UserError(f"horizon {horizon!r}: want a whole number of frames above 0, at most {_most('outputs')}")
        if frames.dim() != 4 or frames.shape[1] != self.model.channels or not len(frames):
            raise UserError(
                f"{self.run.folder}: learned from frames of {self.model.channels} channel(s), got frames of the shape "
                f"{tuple(frames.shape[1:])}; give frames (T, {self.model.channels}, height, width)"
            )
        given = frames[-self.inputs :]
        if not given.is_floating_point() or not bool(((given >= 0) & (given <= 1)).all()):  # NaN is neither
            raise UserError(
                "frames to go on from: want floating-point numbers from 0 (black) to 1 (white); divide them"
            )
        return predict(self.model, given.unsqueeze(1), horizon).squeeze(1)

    def examples(self, count: int) -> Examples:
        """The first ``count`` of the run's own held-out sequences, and what the model makes of them."""
        settings, source = read_settings(self.run, "frames", FramesSettings, FramesSource.from_config)
        task = FramesTask(footage(same_clips(self.run, source, settings), settings), self.inputs, self.outputs)
        given, truth = task.heldout[: self.inputs, :count], task.heldout[self.inputs :, :count]
        return Examples(given, truth, predict(self.model, given, self.outputs))


def load_frames_run(folder: str | Path) -> TrainedFrames:
    """The trained model of a run folder.

    Everything is checked against the file's header before a weight is allocated.

    Raises:
        UserError: no such run, a newer version's, or weights that are damaged or disagree with their configuration.
    """
    run = Run.open(Path(folder))
    check_task(run, "frames")
    model = load_model(run, lambda about: FrameForecaster(**about["model"]))
    about, _ = read_about(run.weights_file)
    for name in ("inputs", "outputs", "size"):
        if not _within(about.get(name), name):
            raise UserError(
                f"{run.weights_file}: says {name} = {about.get(name)!r}, which is no whole number of its range; "
                "use another copy"
            )
    return TrainedFrames(model, about["inputs"], about["outputs"], about["size"], run)


def _within(value: Any, name: str) -> bool:
    """Whether a run could have been trained with this setting."""
    least = 1 if setting_about(_FIELDS[name]).positive else 0
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= _most(name)


def _most(name: str) -> int:
    return int(setting_about(_FIELDS[name]).most or 0)
