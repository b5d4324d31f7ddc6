"""What a forecaster's training costs: ``python -m benchmarks.forecast`` times `direct` beside itself on torch.nn.GRU.

A whole training step: windows gathered, loss, backward, clipping, optimiser; in turns, as ``make bench`` does. The same
model on torch.nn.GRU has the same weights and is trained twice: by the same learner, and by the plainest loop that one
writes by hand.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import report
from benchmarks.case import TARGET_THREADS
from benchmarks.machine import is_busy, load, machine
from benchmarks.measure import QUICK, Plan, measure
from benchmarks.work import Contestant
from gatewise import which
from gatewise.data.table.preparation import Preparation, Roles
from gatewise.data.table.series_table import Series, SeriesTable
from gatewise.data.table.split import Split
from gatewise.data.table.windows import Batch, Windows
from gatewise.layers import Recurrent, forecasting_model
from gatewise.layers.forecasting import Direct
from gatewise.tasks.forecast import ForecastTask
from gatewise.training.learner import torch_learner
from gatewise.training.settings import TrainingSettings

BATCH, LOOKBACK, HORIZON, INPUTS, HIDDEN = 64, 24, 24, 8, 64
LEAST = 3.0
"""How many times as fast as on torch.nn.GRU it is to be with ``TARGET_THREADS`` threads."""
_TOLERANCE = 1e-4


def made_up_task() -> ForecastTask:
    """Windows of a random walk of eight columns, the first of which is the target."""
    draw = np.random.default_rng(0)
    walk = draw.normal(size=(4000, INPUTS)).cumsum(0)
    names = tuple(f"column{place}" for place in range(INPUTS))
    table = SeriesTable("a random walk", names, names, (Series("", walk, None, np.arange(2, 4002)),), None)
    preparation = Preparation.fitted(table, Roles(names[:1], names), Split.parse("0.8,0.1,0.1"))
    windows = Windows(preparation.encode(table), LOOKBACK, HORIZON)
    return ForecastTask(windows, None, BATCH)


def on_torch(model: nn.Module) -> nn.Module:
    """The same model on torch.nn.GRU, with the same weights."""
    other = copy.deepcopy(model)
    assert isinstance(other, Direct)
    encoder = TorchEncoder(other.encoder)
    encoder.load_state_dict(other.encoder.state_dict())
    other.encoder = encoder  # type: ignore[assignment]
    return other


class TorchEncoder(nn.GRU):
    """torch.nn.GRU with what the model asks its encoder for."""

    def __init__(self, ours: Recurrent) -> None:
        super().__init__(INPUTS, HIDDEN)
        self.residual, self.layout = ours.residual, ours.layout


def endless(task: ForecastTask) -> Iterator[Batch]:
    """Whole batches, gathered as training gathers them."""
    return itertools.chain.from_iterable(task.batches(epoch)[:-1] for epoch in itertools.count())


def learned(name: str, model: nn.Module, task: ForecastTask) -> Contestant:
    """Trained as ``gatewise train forecast`` does."""
    settings = TrainingSettings(lr=1e-3)
    learner = torch_learner(model, task, settings)
    batches = endless(task)

    def step() -> None:
        learner.step(next(batches), settings.lr)

    return Contestant(name, step, answer_of(model, task))


def by_hand(name: str, model: nn.Module, task: ForecastTask) -> Contestant:
    """Trained by the loop of the tutorials: no clipping, no proof that the loss is finite."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05, fused=True)
    batches = endless(task)

    def step() -> None:
        batch = next(batches)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(batch.past, batch.history, batch.known)[..., 0], batch.targets)
        loss.backward()
        optimizer.step()

    return Contestant(name, step, answer_of(model, task))


def answer_of(model: nn.Module, task: ForecastTask) -> Callable[[], Tensor]:
    batch = task.batches(0)[0]

    def answer() -> Tensor:
        with torch.no_grad():
            return model(batch.past, batch.history, batch.known)

    return answer


def contestants() -> list[Contestant]:
    """Ours first, then the peers; all begin with the same weights."""
    task = made_up_task()
    torch.manual_seed(0)
    model = forecasting_model(
        "direct", INPUTS, 1, 0, LOOKBACK, HORIZON, feed_history=False, hidden_size=HIDDEN, engine="native"
    )
    assert isinstance(model, Direct)
    if (found := which(model.encoder).engine) != "native":
        sys.exit(f"direct: runs on {found}, not on native")
    return [
        learned("direct", model, task),
        learned("on torch.nn.GRU, same learner", on_torch(model), task),
        by_hand("on torch.nn.GRU, a loop by hand", on_torch(model), task),
    ]


def require_equal(found: list[Contestant]) -> None:
    """Nothing is timed that forecasts something else."""
    wanted = found[0].answer()
    for other in found[1:]:
        difference = (other.answer() - wanted).abs().max().item()
        if not difference < _TOLERANCE:
            sys.exit(f"{other.name}: forecasts differ by {difference:.2g}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.forecast", description=__doc__)
    parser.add_argument("--threads", type=int, default=TARGET_THREADS, help="default %(default)s")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: does it work, not how fast")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    console = report.make_console()
    console.print(report.opening(machine(options.threads), "native", compiles=False), soft_wrap=True)
    if is_busy(load(), options.threads):
        console.print(f"[yellow]warning[/]: load {load():.1f}: something else is running; expect junk")
    found = contestants()
    require_equal(found)
    times = measure(found, QUICK if options.quick else Plan(sample_seconds=0.1, seconds=20), lambda done, rounds: None)
    sizes = f"batch {BATCH}, lookback {LOOKBACK}, {INPUTS} inputs, {HIDDEN} hidden, horizon {HORIZON}"
    console.print(f"\ntraining step of `direct`, {sizes}; wanted: at least {LEAST:g} x")
    for place, each in enumerate(found):
        time, ratio = times.spread(place), times.ratio(place, 0)
        console.print(
            f"{each.name:32} {time.median * 1e3:6.2f} ms  {BATCH / time.median:8,.0f} samples/s   {ratio.median:.2f} x "
            f"({ratio.low:.2f} to {ratio.high:.2f})"
        )


if __name__ == "__main__":
    main()
