"""What a cell remembers: the longest T at which it solves a diagnostic task, under a budget equal for all cells.

The tasks are made up (:mod:`gatewise.tasks.memory`). For each T of a ladder a network is trained anew, without a
curriculum; the ladder ends at the first T that is not solved.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise.cells import Cell, resolve
from gatewise.engines import which
from gatewise.errors import UserError
from gatewise.layers import Recurrent
from gatewise.tasks.memory import MEMORY_TASKS, Examples, MemoryTask, memory_task
from gatewise.training.gates import chrono_gates, chrono_init, openings
from gatewise.training.progress import Reporter, Silent

LADDER = (10, 20, 50, 100, 200, 400, 800)
"""The lengths T, in the order in which they are tried."""

SOLVED_ACCURACY = 0.99
SOLVED_ERROR = 0.1  # of the error of the best constant

_LOOK_EVERY = 50  # steps
_TESTED = 500  # examples of a look; a look that says "solved" is confirmed on as many others
_SHOWN = 50  # examples whose gates are averaged


@dataclass(frozen=True)
class ProbeSettings:
    """Everything that decides a probe.

    Attributes:
        cells: the cells' names.
        tasks: the tasks' names.
        steps: training steps of a network, for each learning rate; 0 leaves it to ``minutes``.
        minutes: wall-clock time of a network, for each learning rate; 0 leaves it to ``steps``.
        hidden: units.
        batch: fresh examples of a training step.
        lrs: learning rates of Adam; they are tried in turn, each on a network trained anew, until one solves the task.
        clip: largest global norm of the gradient.
        ladder: the lengths T.
        chrono: whether gates start with :func:`chrono_init`.
        seed: of weights and examples.
        threads: of PyTorch. Networks so small gain little from several, and one gives the same figures everywhere.
    """

    cells: tuple[str, ...] = ("gru", "lstm", "rnn")
    tasks: tuple[str, ...] = ("recall",)
    steps: int = 1500
    minutes: float = 0.0
    hidden: int = 64
    batch: int = 32
    lrs: tuple[float, ...] = (0.02, 0.003)
    clip: float = 1.0
    ladder: tuple[int, ...] = LADDER
    chrono: bool = False
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        for option, names in (("cell", self.cells), ("task", self.tasks), ("lr", self.lrs), ("length", self.ladder)):
            if not names:
                raise UserError(f"--{option}: empty; give at least one, several with commas between")
            if len(set(names)) != len(names):
                raise UserError(f"--{option} {','.join(map(str, names))}: names something twice; give each once")
        for cell in self.cells:
            resolve(cell)
        tasks = [memory_task(task) for task in self.tasks]
        for option, most in (("steps", 1_000_000_000), ("hidden", 8192), ("batch", 8192), ("threads", 1024)):
            value = getattr(self, option)
            if not 0 < value <= most and not (option == "steps" and value == 0 < self.minutes):
                raise UserError(f"--{option} {value}: want a whole number from 1 to {most:,}")
        for option, values in (("minutes", (self.minutes,)), ("lr", self.lrs), ("clip", (self.clip,))):
            for value in values:
                if not (math.isfinite(value) and value > 0) and (option, value) != ("minutes", 0):
                    raise UserError(f"--{option} {value}: want a number above 0")
        if self.steps and self.minutes:
            raise UserError("--steps beside --minutes: a budget is one or the other; give one of the two")
        if not 0 <= self.seed < 1 << 31:
            raise UserError(f"--seed {self.seed}: want a whole number from 0 to 2^31 - 1")
        if list(self.ladder) != sorted(self.ladder):
            raise UserError(f"--length {','.join(map(str, self.ladder))}: want rising lengths, shortest first")
        for task in tasks:
            if self.ladder[0] < task.least:
                raise UserError(f"--length {self.ladder[0]}: too short, '{task.name}' wants at least {task.least}")
        if self.ladder[-1] > 100_000:
            raise UserError(f"--length {self.ladder[-1]}: too long; give at most 100,000")


@dataclass(frozen=True)
class Rung:
    """One T of a ladder.

    Attributes:
        T: the length.
        solved: whether the task was solved, on fresh examples.
        score: accuracy, or mean squared error over that of the best constant, on fresh examples.
        steps: training steps taken, all learning rates together.
        seconds: the time they took.
        lr: the learning rate that solved it, or did best.
        diverged: whether the loss stopped being finite, with every learning rate.
    """

    T: int
    solved: bool
    score: float
    steps: int
    seconds: float
    lr: float
    diverged: bool


@dataclass(frozen=True)
class Finding:
    """How far one cell came in one task.

    Attributes:
        cell: its name.
        task: its name.
        parameters: the network's weights, the head's included.
        engine: what ran it.
        chrono: the gates whose biases :func:`chrono_init` set; None where it was not asked for, empty where it is not
            defined for the cell.
        rungs: the ladder, as far as it went.
        gates: mean opening of each named sigmoid gate at each decisive moment, of the network trained for the longest T
            that was solved; empty where the cell has none or nothing was solved.
    """

    cell: str
    task: str
    parameters: int
    engine: str
    chrono: tuple[str, ...] | None
    rungs: tuple[Rung, ...]
    gates: dict[str, dict[str, float]]

    @property
    def longest(self) -> int:
        """The longest T solved; 0 if none was."""
        return max((rung.T for rung in self.rungs if rung.solved), default=0)

    @property
    def unsolved(self) -> int | None:
        """The T at which the ladder ended; None if it was climbed to its end."""
        return None if self.rungs[-1].solved else self.rungs[-1].T

    def said(self) -> str:
        """``50``, ``< 10`` or ``>= 800``."""
        if self.unsolved is None:
            return f">= {self.longest}"
        return str(self.longest) if self.longest else f"< {self.unsolved}"

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        own = dataclasses.asdict(self)
        own["rungs"] = [r | {"score": r["score"] if math.isfinite(r["score"]) else None} for r in own["rungs"]]
        return {**own, "longest": self.longest, "unsolved": self.unsolved}


class ProbeNet(nn.Module):
    """A cell and a linear head on its output."""

    def __init__(self, cell: str | type[Cell] | Cell, task: MemoryTask, hidden: int) -> None:
        super().__init__()
        self.task = task
        self.layer = Recurrent(cell, task.input_size, hidden)
        self.head = nn.Linear(hidden, task.classes or 1)

    def forward(self, examples: Examples) -> Tensor:
        """What it says at the last A steps, (A, B, classes or 1)."""
        output, _ = self.layer(examples.inputs)
        return self.head(output[-len(examples.answers) :])

    def loss(self, examples: Examples) -> Tensor:
        """Cross-entropy in nats, or the mean squared error."""
        said = self(examples)
        if self.task.is_regression:
            return F.mse_loss(said.squeeze(-1), examples.answers)
        return F.cross_entropy(said.flatten(0, 1), examples.answers.flatten())

    def score(self, examples: Examples) -> float:
        """Accuracy, or the mean squared error over that of the best constant."""
        with torch.no_grad():
            said = self(examples)
        if self.task.is_regression:
            return F.mse_loss(said.squeeze(-1), examples.answers).item() / self.task.chance
        return (said.argmax(-1) == examples.answers).float().mean().item()


def is_solved(task: MemoryTask, score: float) -> bool:
    """Accuracy of at least 0.99, or a mean squared error below a tenth of the best constant's."""
    return score < SOLVED_ERROR if task.is_regression else score >= SOLVED_ACCURACY


def probe(
    settings: ProbeSettings,
    report: Reporter | None = None,
    on_finding: Callable[[Sequence[Finding]], None] = lambda findings: None,
) -> list[Finding]:
    """Climb the ladder with every cell in every task.

    Args:
        settings: cells, tasks, budget.
        report: shows the progress.
        on_finding: called with all findings so far, whenever there is a new one.

    Example:
        >>> found = probe(ProbeSettings(("gru",), steps=1, hidden=4, lrs=(0.01,)))
        >>> found[0].said(), found[0].rungs[0].steps
        ('< 10', 1)
    """
    report, findings, threads = report or Silent(), [], torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        for task in settings.tasks:
            for cell in settings.cells:
                findings.append(_climb(cell, MEMORY_TASKS[task], settings, report))
                on_finding(findings)
    finally:
        torch.set_num_threads(threads)
    return findings


def _climb(cell: str, task: MemoryTask, settings: ProbeSettings, report: Reporter) -> Finding:
    rungs: list[Rung] = []
    best = network(cell, task, settings, settings.ladder[0])
    for T in settings.ladder:
        net, rung = _rung(cell, task, settings, T, report)
        rungs.append(rung)
        report.say(f"{task.name}, {cell}, T {T}: {_outcome(task, rung)}, {rung.steps:,} steps, {rung.seconds:.1f} s")
        if not rung.solved:
            break
        best = net
    longest = max((rung.T for rung in rungs if rung.solved), default=0)
    return Finding(
        cell, task.name, sum(p.numel() for p in best.parameters()), which(best.layer).engine,
        chrono_gates(best.layer) if settings.chrono else None, tuple(rungs),
        openings(best.layer, task.draw(longest, _SHOWN, _generator(settings, 3))) if longest else {},
    )  # fmt: skip


def _outcome(task: MemoryTask, rung: Rung) -> str:
    if rung.diverged:
        return "not solved, diverged"
    figure = f"error {rung.score:.3f} of a constant's" if task.is_regression else f"accuracy {rung.score:.3f}"
    return f"{'solved' if rung.solved else 'not solved'}, {figure}"


def _rung(cell: str, task: MemoryTask, settings: ProbeSettings, T: int, report: Reporter) -> tuple[ProbeNet, Rung]:
    """Train anew with one learning rate after another, until one solves the task."""
    steps, seconds, tried = 0, 0.0, []
    for lr in settings.lrs:
        try:
            net = network(cell, task, settings, T)
            with report.counting(f"{task.name}, {cell}, T {T}, lr {lr:g}", 1000) as counted:
                score, taken, spent = _train(net, settings, T, lr, counted)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            raise UserError(
                f"{task.name}, {cell}, T {T}: not enough memory; lower --hidden, --batch or --length"
            ) from None
        steps, seconds = steps + taken, seconds + spent
        tried.append((score, lr, net))
        if is_solved(task, score):
            break
    finite = [attempt for attempt in tried if math.isfinite(attempt[0])]
    order = min if task.is_regression else max
    score, lr, net = order(finite, key=lambda attempt: attempt[0]) if finite else tried[-1]
    return net, Rung(T, is_solved(task, score), score, steps, round(seconds, 2), lr, not finite)


def network(cell: str | type[Cell] | Cell, task: MemoryTask, settings: ProbeSettings, T: int) -> ProbeNet:
    """The network before it is trained: the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = ProbeNet(cell, task, settings.hidden)
    if settings.chrono:
        chrono_init(net.layer, task.length(T), _generator(settings, 2))
    return net


def _generator(settings: ProbeSettings, purpose: int) -> torch.Generator:
    """Random numbers apart for each purpose: 0 training, 1 tests, 2 chrono biases, 3 gates."""
    return torch.Generator().manual_seed(settings.seed * 4 + purpose)


def _train(
    net: ProbeNet, settings: ProbeSettings, T: int, lr: float, counted: Callable[[float], None]
) -> tuple[float, int, float]:
    """Train until the task is solved or the budget spent: score (NaN if diverged), steps, seconds."""
    task, parameters = net.task, list(net.parameters())
    optimizer = torch.optim.Adam(parameters, lr)
    fresh, tests = _generator(settings, 0), _generator(settings, 1)
    test, again = (task.draw(T, _TESTED, tests) for _ in range(2))
    net.score(test)  # so that a kernel is compiled before the clock starts
    start, step, score, shown = time.perf_counter(), 0, math.nan, 0.0
    while True:
        loss = net.loss(task.draw(T, settings.batch, fresh))
        if not math.isfinite(loss.item()):
            return math.nan, step, time.perf_counter() - start
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, settings.clip)
        if math.isfinite(norm.item()):  # an update that overflowed is left out
            optimizer.step()
        step += 1
        spent = time.perf_counter() - start
        share = min(1.0, step / settings.steps if settings.steps else spent / (60 * settings.minutes))
        counted(1000 * (share - shown))
        shown = share
        if step % _LOOK_EVERY == 0 or share >= 1:
            score = net.score(test)
            if is_solved(task, score):
                score = net.score(again)  # not by luck
            if is_solved(task, score) or share >= 1:
                return score, step, time.perf_counter() - start
