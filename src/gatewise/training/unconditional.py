"""Training the model that a latent is to beat: as many steps, the same batches, rates and looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count, islice

from torch import Tensor

from gatewise.data import Padded
from gatewise.layers import SequenceDecoder
from gatewise.tasks import AutoencodeTask, UnconditionalTask
from gatewise.training.learner import Diverged, torch_learner
from gatewise.training.progress import Reporter
from gatewise.training.schedule import Position, Schedule
from gatewise.training.settings import TrainingSettings


def train_unconditional(
    decoder: SequenceDecoder,
    task: AutoencodeTask,
    settings: TrainingSettings,
    steps: int,
    report: Reporter,
    check: Callable[[], None],
    name: str = "the same decoder without a latent",
) -> bool:
    """Train a decoder without a latent for ``steps`` steps; whether there is something to compare with.

    It is left with the best weights on the way, or with ``keep`` "last" with the last ones. Where its loss stops being
    finite it is left with the best from before; if nobody looked before, there is nothing to compare with.

    Nothing is saved on the way: after an interruption it starts anew, and comes to the same.

    Args:
        decoder: what is trained.
        task: gives the sequences.
        settings: of the model that it is compared with.
        steps: as many as that one took.
        report: shows the progress.
        check: called after every step; raises to stop.
        name: what the person is told it is.
    """
    report.say(f"now {name}, {steps:,} steps, to compare with")
    with report.counting(f"training {name}", steps) as progress:

        def stepped() -> None:
            progress(1)
            check()

        kept, diverged = _learned(decoder, UnconditionalTask(task), settings, steps, stepped)
    if diverged:
        left = "its best weights from before are compared" if kept else "nothing is compared; lower --lr"
        report.say(f"{name}, trained for comparison, diverged at step {diverged}: {left}")
        if not kept:
            return False
    if kept and (diverged or settings.keep == "best"):
        decoder.load_state_dict(kept)
    return True


def _learned(
    decoder: SequenceDecoder, own: UnconditionalTask, settings: TrainingSettings, steps: int,
    stepped: Callable[[], None],
) -> tuple[dict[str, Tensor], int]:  # fmt: skip
    """Train; the best weights that were looked at, and the step at which it diverged, 0 for none."""
    learner = torch_learner(decoder, own, settings)
    schedule = Schedule(settings.lr, steps, cosine=settings.schedule == "cosine", warmup=settings.warmup)
    looks, best, kept = 0, math.inf, {}
    for step, batch in enumerate(islice(_endless(own), steps), 1):
        try:
            learner.step(batch, schedule.learning_rate(Position(step=step - 1)))
        except Diverged:
            return kept, step
        stepped()
        if math.floor(step / steps * settings.evaluations) > looks:
            looks += 1
            loss = own.held_out(decoder)["loss"]
            if loss < best:
                best, kept = loss, {name: value.clone() for name, value in decoder.state_dict().items()}
    return kept, 0


def _endless(task: UnconditionalTask) -> Iterator[Padded]:
    for epoch in count():
        yield from task.batches(epoch)
