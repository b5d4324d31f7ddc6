"""The frames task: predict the next frames of a video, and measure that against doing nothing clever."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.data import Clip, moving_digits
from gatewise.layers import FrameForecaster
from gatewise.tasks.lazy import Lazy
from gatewise.tasks.similarity import ssim

AT_ONCE = 50
"""Sequences that are measured together, and those that a look while training is of."""

_MOST_PIXELS = AT_ONCE * 128**2
"""Pixels of such sequences' frames: larger frames are measured fewer at a time."""


class Footage(Protocol):
    """Where the sequences come from."""

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """An epoch's batches to learn from, (T, B, C, height, width) each; the same for the same epoch."""
        ...

    @property
    def look(self) -> Tensor:
        """Sequences to choose the weights with while training, (T, N, C, height, width)."""
        ...

    @property
    def held_out(self) -> Tensor:
        """Sequences to measure with, (T, N, C, height, width)."""
        ...

    @property
    def mean(self) -> Tensor:
        """The mean of the frames to learn from, (C, height, width)."""
        ...


@dataclass(frozen=True)
class Digits:
    """Moving digits, made anew for every batch; the held-out ones show other digit images.

    Weights are chosen with further sequences of the training images.

    Attributes:
        steps: frames of a sequence.
        batch_size: sequences of a batch.
        size: pixels of a frame's side.
        digits: in a frame.
        seed: fixes every batch.
        count: batches of an epoch.
        held: held-out sequences.
    """

    steps: int
    batch_size: int
    size: int = 32
    digits: int = 2
    seed: int = 0
    count: int = 100
    held: int = 200

    def batches(self, epoch: int) -> Sequence[Tensor]:
        def make(i: int) -> Tensor:
            seed = (self.seed * 1_000_003 + epoch * self.count + i + 1) % (1 << 63)
            return moving_digits(self.batch_size, self.steps, self.size, self.digits, "train", seed)

        return Lazy(self.count, make)

    @property
    def look(self) -> Tensor:
        return moving_digits(AT_ONCE, self.steps, self.size, self.digits, "train", seed=-1)  # no batch's own

    @property
    def mean(self) -> Tensor:
        """Of the first batches."""
        return torch.stack([batch.mean((0, 1)) for batch in self.batches(0)[:20]]).mean(0)

    @property
    def held_out(self) -> Tensor:
        # The same for every seed, so that runs can be compared.
        return moving_digits(self.held, self.steps, self.size, self.digits, "test", seed=0)


@dataclass(frozen=True)
class Windows:
    """All stretches of ``steps`` frames of the videos to learn from, in an order of the epoch's own.

    Attributes:
        train: videos to learn from.
        heldout: other videos, or a later part of the same; cut into stretches that do not overlap.
        steps: frames of a stretch.
        batch_size: stretches of a batch; an epoch's last batch has what is left.
        seed: fixes the orders.
        most: held-out stretches at most, evenly spread.
        chosen_on: videos to choose the weights with; without any, some of the held-out stretches, evenly spread.
    """

    train: Sequence[Clip]
    heldout: Sequence[Clip]
    steps: int
    batch_size: int
    seed: int = 0
    most: int = 200
    chosen_on: Sequence[Clip] = ()

    def batches(self, epoch: int) -> Sequence[Tensor]:
        places = [(clip, t) for clip in self.train for t in range(len(clip.frames) - self.steps + 1)]
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % (1 << 63))
        order = torch.randperm(len(places), generator=generator).tolist()
        starts = range(0, len(places), self.batch_size)
        chosen = [[places[i] for i in order[k : k + self.batch_size]] for k in starts]
        return Lazy(len(chosen), lambda i: self._cut(chosen[i]))

    @property
    def look(self) -> Tensor:
        return self._apart(self.chosen_on or self.heldout, AT_ONCE)

    @property
    def held_out(self) -> Tensor:
        return self._apart(self.heldout, self.most)

    @property
    def mean(self) -> Tensor:
        return torch.cat([clip.frames for clip in self.train]).mean(0)

    def _apart(self, clips: Sequence[Clip], most: int) -> Tensor:
        """Stretches that do not overlap."""
        places = [(c, t) for c in clips for t in range(0, len(c.frames) - self.steps + 1, self.steps)]
        spread = torch.linspace(0, len(places) - 1, min(most, len(places))).long().tolist()
        return self._cut([places[i] for i in spread])

    def _cut(self, places: Sequence[tuple[Clip, int]]) -> Tensor:
        return torch.stack([clip.frames[t : t + self.steps] for clip, t in places], dim=1)


@dataclass(frozen=True)
class Score:
    """How good predicted frames are.

    Attributes:
        mse: mean squared error of a pixel, 0 to 1 being black to white.
        ssim: structural similarity; NaN for frames of less than 11 pixels.
        mse_by_horizon: the same by how far ahead: the first is the next frame's.
        ssim_by_horizon: likewise.
    """

    mse: float
    ssim: float
    mse_by_horizon: list[float]
    ssim_by_horizon: list[float]

    @staticmethod
    def of(predicted: Tensor, truth: Tensor) -> Score:
        """Of (horizon, N, C, height, width)."""
        squared = ((predicted - truth) ** 2).mean((1, 2, 3, 4)).tolist()
        parts = zip(predicted.split(AT_ONCE, 1), truth.split(AT_ONCE, 1), strict=True)
        alike = torch.cat([ssim(one, other) for one, other in parts], 1).mean(1).tolist()
        return Score(sum(squared) / len(squared), sum(alike) / len(alike), squared, alike)


def copy_last(given: Tensor, horizon: int) -> Tensor:
    """The last given frame, again and again."""
    return given[-1:].expand(horizon, -1, -1, -1, -1)


def mean_given(given: Tensor, horizon: int) -> Tensor:
    """The mean of the given frames, again and again."""
    return given.mean(0, keepdim=True).expand(horizon, -1, -1, -1, -1)


def constant_velocity(given: Tensor, horizon: int) -> Tensor:
    """The last given frame, moved on and on by the shift of the whole picture that explains the last three best.

    The shift is of whole pixels, at most five each way, least in the squared error of the frames before moved onto
    those that follow; of equal ones the shortest. What comes in at the border repeats the border.
    """
    sides = sorted(itertools.product(range(-REACH, REACH + 1), repeat=2), key=lambda v: (v[0] ** 2 + v[1] ** 2, v))
    last, before = given[-2:], given[-3:-1]
    if not len(before):
        return copy_last(given, horizon)
    count = given.shape[1]
    shifts, least = torch.zeros(count, 2, dtype=torch.long), torch.full((count,), torch.inf)
    for shift in sides:
        moved = torch.stack([_moved(frames, torch.tensor(shift).expand(count, 2)) for frames in before])
        error = ((moved - last[-len(before) :]) ** 2).mean((0, 2, 3, 4))
        better = error < least
        least, shifts = torch.where(better, error, least), torch.where(better[:, None], torch.tensor(shift), shifts)
    return torch.stack([_moved(given[-1], shifts * t) for t in range(1, horizon + 1)])


REACH = 5
"""Pixels a step that a baseline takes for a motion at most, each way."""


def _moved(frames: Tensor, shifts: Tensor) -> Tensor:
    """(N, C, height, width) moved by (N, 2) pixels, down and to the right; the border is repeated."""
    (height, width), count = frames.shape[-2:], torch.arange(len(frames))[:, None, None]
    rows = (torch.arange(height) - shifts[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width) - shifts[:, 1:]).clamp(0, width - 1)
    return frames[count, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


BASELINES: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "copy_last": copy_last, "mean_given": mean_given, "motion": constant_velocity,
}  # fmt: skip
"""Predictions without learning, by name: (given frames, horizon) -> frames."""


class FramesTask:
    """Predict ``outputs`` frames from ``inputs`` given ones.

    The loss is the cross-entropy of a pixel with its true brightness as the probability of white, as in Shi et al.
    2015: −x log x̂ − (1 − x) log(1 − x̂), in nats. Like the squared error it is least at the mean of what may come;
    unlike the squared error it does not fade where a pixel is wrong and sure.

    Args:
        footage: where the sequences come from.
        inputs: given frames.
        outputs: frames to predict.

    Example:
        >>> task = FramesTask(Digits(steps=5, batch_size=2, held=3), inputs=3, outputs=2)
        >>> task.batches(epoch=0)[0].shape
        torch.Size([5, 2, 1, 32, 32])
    """

    unit, loss_unit = "frames", "nats per pixel"

    def __init__(self, footage: Footage, inputs: int, outputs: int) -> None:
        self.footage, self.inputs, self.outputs = footage, inputs, outputs
        self.heldout, self.look = footage.held_out, footage.look
        self.batch_size = self.batches(0)[0].shape[1]

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """The epoch's batches, (T, B, C, height, width) each."""
        return self.footage.batches(epoch)

    def size(self, batch: Tensor) -> int:
        """Frames in a batch, given and to be predicted."""
        return batch.shape[0] * batch.shape[1]

    def loss(
        self, model: FrameForecaster, batch: Tensor, state: None = None, share: float = 1.0
    ) -> tuple[Tensor, None]:
        """Mean cross-entropy of the predicted frames' pixels, in nats.

        In the first half of the budget the horizon grows from two frames to all: what comes next is learned sooner than
        what comes later, and is a part of it.
        """
        horizon = min(self.outputs, 2 + int(2 * share * max(0, self.outputs - 1)))
        return cross_entropy(model, batch, self.inputs, horizon), None

    def held_out(self, model: FrameForecaster) -> dict[str, float]:
        """Loss and mean squared error on sequences that are neither learned from nor, if there are enough, measured."""
        logits, truth = _logits(model, self.look[: self.inputs], self.outputs), self.look[self.inputs :]
        loss = F.binary_cross_entropy_with_logits(logits, truth)
        return {"loss": loss.item(), "mse": F.mse_loss(logits.sigmoid(), truth).item()}

    def figures(self, loss: float) -> Mapping[str, float]:
        return {}

    def measure(
        self, model: FrameForecaster, progress: Callable[[int], None] | None = None
    ) -> tuple[Score, dict[str, Score]]:
        """The model's score on all held-out sequences, and those of the baselines: :data:`BASELINES`, and
        ``train_mean``, the mean of the frames that were learned from, again and again."""
        given, truth = self.heldout[: self.inputs], self.heldout[self.inputs :]
        score = Score.of(predict(model, given, self.outputs, progress), truth)
        guesses = {name: guess(given, self.outputs) for name, guess in BASELINES.items()}
        guesses["train_mean"] = self.footage.mean.expand_as(truth)
        return score, {name: Score.of(guessed, truth) for name, guessed in guesses.items()}


def cross_entropy(model: FrameForecaster, frames: Tensor, inputs: int, horizon: int) -> Tensor:
    """Of the ``horizon`` frames that follow the first ``inputs``, a pixel's mean in nats."""
    logits = model.logits(frames[:inputs], horizon)
    return F.binary_cross_entropy_with_logits(logits, frames[inputs : inputs + horizon])


def predict(
    model: FrameForecaster, given: Tensor, horizon: int, progress: Callable[[int], None] | None = None
) -> Tensor:
    """The next frames of (T, N, C, height, width): (horizon, N, C, height, width)."""
    return _logits(model, given, horizon, progress).sigmoid()


@torch.inference_mode()
def _logits(
    model: FrameForecaster, given: Tensor, horizon: int, progress: Callable[[int], None] | None = None
) -> Tensor:
    """The next frames before σ."""
    training = model.training
    model.eval()
    parts = []
    together = _MOST_PIXELS // (given.shape[-2] * given.shape[-1])
    for part in given.split(min(max(together, 1), AT_ONCE), 1):
        parts.append(model.logits(part, horizon))
        if progress is not None:
            progress(part.shape[1])
    model.train(training)
    return torch.cat(parts, 1)
