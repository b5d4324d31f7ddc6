"""Training the model that a latent is to beat: as many steps, the same batches, rates and looks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count, islice

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
    own = UnconditionalTask(task)
    learner = torch_learner(decoder, own, settings)
    schedule = Schedule(settings.lr, steps, cosine=settings.schedule == "cosine", warmup=settings.warmup)
    looks, best, kept, diverged = 0, math.inf, decoder.state_dict(), None
    report.say(f"now {name}, {steps:,} steps, to compare with")
    with report.counting(f"training {name}", steps) as progress:
        for step, batch in enumerate(islice(_endless(own), steps)):
            try:
                learner.step(batch, schedule.learning_rate(Position(step=step)))
            except Diverged:
                diverged = step + 1
                break
            progress(1)
            check()
            if math.floor((step + 1) / steps * settings.evaluations) > looks:
                looks += 1
                loss = own.held_out(decoder)["loss"]
                if loss < best:
                    best, kept = loss, {name: value.clone() for name, value in decoder.state_dict().items()}
    if diverged:
        found = best < math.inf
        left = "its best weights from before are compared" if found else "nothing is compared; lower --lr"
        report.say(f"{name}, trained for comparison, diverged at step {diverged}: {left}")
        if not found:
            return False
    if diverged or settings.keep == "best":
        decoder.load_state_dict(kept)
    return True


def _endless(task: UnconditionalTask) -> Iterator[Padded]:
    for epoch in count():
        yield from task.batches(epoch)
