"""A finished frames run, for use: predicting, showing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from gatewise.errors import UserError
from gatewise.layers import FrameForecaster
from gatewise.tasks.frames import FramesTask, predict
from gatewise.training.checkpoint import read_about
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.frames_source import FramesSource, footage, same_clips
from gatewise.training.run import Run
from gatewise.training.settings import check_task, read_settings
from gatewise.training.weights import load_model


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
            UserError: another number of channels than it learned from, or no frame.
        """
        if frames.dim() != 4 or frames.shape[1] != self.model.channels or not len(frames):
            raise UserError(
                f"{self.run.folder}: learned from frames of {self.model.channels} channel(s), got frames of the shape "
                f"{tuple(frames.shape[1:])}; give frames (T, {self.model.channels}, height, width)"
            )
        return predict(self.model, frames[-self.inputs :].unsqueeze(1), horizon or self.outputs).squeeze(1)

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
    try:
        inputs, outputs, size = (int(about[name]) for name in ("inputs", "outputs", "size"))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{run.weights_file}: does not say how many frames it is given; use another copy") from None
    return TrainedFrames(model, inputs, outputs, size, run)
