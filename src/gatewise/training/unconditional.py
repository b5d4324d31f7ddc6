"""Training the model that a latent is to beat: as many steps, the same batches, rates and looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count, islice

from gatewise.data import Padded
from gatewise.errors import UserError
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
) -> None:
    """Train a decoder without a latent for ``steps`` steps and leave it with the best weights on the way.

    Nothing is saved on the way: after an interruption it starts anew, and comes to the same.

    Raises:
        UserError: its loss stopped being finite.
    """
    own = UnconditionalTask(task)
    learner = torch_learner(decoder, own, settings)
    schedule = Schedule(settings.lr, steps, cosine=settings.schedule == "cosine", warmup=settings.warmup)
    looks, best, kept = 0, math.inf, decoder.state_dict()
    with report.counting("training the same decoder without a latent", steps) as progress:
        for step, batch in enumerate(islice(_endless(own), steps)):
            try:
                learner.step(batch, schedule.learning_rate(Position(step=step)))
            except Diverged:
                raise UserError(
                    "the decoder without a latent, trained for comparison, diverged; lower --lr, or leave it out with "
                    "--baseline none"
                ) from None
            progress(1)
            check()
            if math.floor((step + 1) / steps * settings.evaluations) > looks:
                looks += 1
                loss = own.held_out(decoder)["loss"]
                if loss < best:
                    best, kept = loss, {name: value.clone() for name, value in decoder.state_dict().items()}
    decoder.load_state_dict(kept)


def _endless(task: UnconditionalTask) -> Iterator[Padded]:
    for epoch in count():
        yield from task.batches(epoch)
