"""Training the model that a latent is to beat: as many steps, the same batches, rates and looks."""

from __future__ import annotations

import math
from collections.abc import Callable

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
    position, looks = Position(), 0
    best, kept = math.inf, {name: value.clone() for name, value in decoder.state_dict().items()}
    with report.counting("training the same decoder without a latent", steps) as progress:
        while position.step < steps:
            for batch in own.batches(position.epoch)[: steps - position.step]:
                share = schedule.progress(position)
                try:
                    learner.step(batch, schedule.learning_rate(position), share)
                except Diverged:
                    raise UserError(
                        "the decoder without a latent, trained for comparison, diverged; lower --lr, or leave it out "
                        "with --baseline none"
                    ) from None
                position.step += 1
                progress(1)
                check()
                if math.floor(schedule.progress(position) * settings.evaluations) > looks:
                    looks += 1
                    loss = own.held_out(decoder)["loss"]
                    if loss < best:
                        best, kept = loss, {name: value.clone() for name, value in decoder.state_dict().items()}
            position.epoch += 1
    decoder.load_state_dict(kept)
