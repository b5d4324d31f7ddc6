"""The command that finds out what a cell remembers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from gatewise.cli.app import CellFile, app, load_cell_file
from gatewise.errors import UserError
from gatewise.show.probe import draw_probe
from gatewise.tasks.memory import MEMORY_TASKS
from gatewise.training import Run, reporter
from gatewise.training.gates import roles
from gatewise.training.probe import Finding, ProbeSettings, probe

WHAT = Group("What", sort_key=1)
BUDGET = Group("Budget, the same for all cells", sort_key=2)
OUTPUT = Group("Output", sort_key=3)

_DEFAULT = ProbeSettings()
NOTE = "The tasks are synthetic: every example is made up, so this is about cells, not about data of the world."


@app.command(name="probe")
def probe_command(
    *,
    cell: Annotated[
        str, Parameter(group=WHAT, help="Cells, with commas between; `gatewise cells` lists them.")
    ] = ",".join(_DEFAULT.cells),
    task: Annotated[
        str, Parameter(group=WHAT, help=f"Tasks, with commas between: {', '.join(MEMORY_TASKS)}, or `all`.")
    ] = ",".join(_DEFAULT.tasks),
    length: Annotated[
        str, Parameter(group=WHAT, help="The lengths T, with commas between, in the order in which they are tried.")
    ] = ",".join(map(str, _DEFAULT.ladder)),
    chrono: Annotated[
        bool,
        Parameter(
            group=WHAT,
            negative=(),
            show_default=False,
            help="Start the gates with memories of 1 to T steps (Tallec and Ollivier 2018), where a cell has any.",
        ),
    ] = False,
    cell_file: CellFile = None,
    steps: Annotated[
        int | None, Parameter(group=BUDGET, help=f"Training steps of a network (default {_DEFAULT.steps}).")
    ] = None,
    minutes: Annotated[
        float | None, Parameter(group=BUDGET, help="Wall-clock time of a network, instead of steps.")
    ] = None,
    hidden: Annotated[int, Parameter(group=BUDGET, help="Units.")] = _DEFAULT.hidden,
    batch: Annotated[int, Parameter(group=BUDGET, help="Fresh examples of a training step.")] = _DEFAULT.batch,
    lr: Annotated[
        str,
        Parameter(group=BUDGET, help="Learning rates of Adam, tried in turn, each with the budget, until one does it."),
    ] = ",".join(f"{lr:g}" for lr in _DEFAULT.lrs),
    clip: Annotated[float, Parameter(group=BUDGET, help="Largest norm of the gradient.")] = _DEFAULT.clip,
    seed: Annotated[int, Parameter(group=BUDGET, help="Of weights and examples.")] = _DEFAULT.seed,
    threads: Annotated[int, Parameter(group=BUDGET, help="Threads of PyTorch.")] = _DEFAULT.threads,
    out: Annotated[Path | None, Parameter(group=OUTPUT, help="The folder (default: runs/probe-N).")] = None,
    json_: Annotated[
        bool,
        Parameter(
            name="--json",
            group=OUTPUT,
            negative=(),
            show_default=False,
            help="Print the summary as the last line, as JSON.",
        ),
    ] = False,
    quiet: Annotated[
        bool, Parameter(group=OUTPUT, negative=(), show_default=False, help="Print the result alone.")
    ] = False,
) -> None:
    """Find the longest T at which cells solve synthetic memory tasks, and what their gates do.

    A network is trained anew for each T, on examples that are made up as it goes, until the task is solved (accuracy
    0.99; `add`: a tenth of the error of the best constant) or the budget is spent. A ladder ends at the first T that
    is not solved.
    """
    load_cell_file(cell_file)
    settings = ProbeSettings(
        cells=_listed(cell), tasks=tuple(MEMORY_TASKS) if task.strip() == "all" else _listed(task),
        steps=_DEFAULT.steps if steps is None and minutes is None else steps or 0, minutes=_given(minutes, steps),
        hidden=hidden, batch=batch, lrs=_numbers("lr", lr, float), clip=clip,
        ladder=_numbers("length", length, int), chrono=chrono, seed=seed, threads=threads,
    )  # fmt: skip
    run = Run.create(out, "probe")
    with run.lock():

        def keep(findings: Sequence[Finding]) -> None:
            run.write_summary(_summary(settings, findings))

        with reporter(quiet) as report:
            findings = probe(settings, report, keep)
        pictures = draw_probe(findings, run.folder)
    _tell(settings, findings, pictures, run)
    if json_:
        print(json.dumps(_summary(settings, findings)))


def _tell(settings: ProbeSettings, findings: Sequence[Finding], pictures: Sequence[Path], run: Run) -> None:
    print(table(findings))
    print()
    print("\n".join(notes(settings, findings)))
    print(f"pictures   {', '.join(map(str, pictures))}")
    print(f"summary    {run.summary_file}")


def _given(minutes: float | None, steps: int | None) -> float:
    if minutes is not None and not minutes > 0:
        raise UserError(f"--minutes {minutes:g}: want a number above 0")
    if steps is not None and steps < 1:
        raise UserError(f"--steps {steps}: want a whole number of at least 1")
    return minutes or 0.0


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(option: str, text: str, kind: type[Any]) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in _listed(text))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise UserError(f"--{option} {text}: want {what} with commas between") from None


def _summary(settings: ProbeSettings, findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "task": "probe", "synthetic": True, "settings": dataclasses.asdict(settings),
        "findings": [finding.to_dict() for finding in findings],
    }  # fmt: skip


def table(findings: Sequence[Finding]) -> str:
    """Cells down, tasks across: the longest T solved."""
    tasks, cells = (list(dict.fromkeys(getattr(f, what) for f in findings)) for what in ("task", "cell"))
    said = {(f.cell, f.task): f.said() for f in findings}
    count = {f.cell: f"{f.parameters:,}" for f in reversed(findings)}
    rows = [["cell", "parameters", *tasks]]
    rows += [[cell, count[cell], *(said[cell, task] for task in tasks)] for cell in cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            part.ljust(w) if i == 0 else part.rjust(w) for i, (part, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def notes(settings: ProbeSettings, findings: Sequence[Finding]) -> list[str]:
    """What the table means, and the gates."""
    budget = f"{settings.steps:,} steps" if settings.steps else f"{settings.minutes:g} minutes"
    rates = ", ".join(f"{lr:g}" for lr in settings.lrs)
    lines = [
        f"The longest T solved; a ladder ({', '.join(map(str, settings.ladder))}) ends at the first T unsolved.",
        f"Budget of each T: {budget} of Adam for each learning rate ({rates}), batch {settings.batch}, "
        f"{settings.hidden} units, seed {settings.seed}.",
        NOTE,
    ]
    lines += [f"{name}: {MEMORY_TASKS[name].about}" for name in settings.tasks]
    for cell in settings.cells if settings.chrono else ():
        gates = next(f.chrono for f in findings if f.cell == cell)
        lines.append(
            f"chrono: {cell}: biases of {', '.join(gates)}" if gates else
            f"chrono: not defined for {cell}, which has no gate that is known to keep its state; it began as always"
        )  # fmt: skip
    if not any(finding.longest for finding in findings):
        return lines
    lines += ["", "Mean gate openings at the decisive moments, at the longest T solved:"]
    for finding in findings:
        known = roles(finding.cell)
        place = f"{finding.task}, {finding.cell}, T {finding.longest}"
        if not finding.gates:
            lines.append(
                f"  {place}: no named gate" if finding.longest else f"  {finding.task}, {finding.cell}: unsolved"
            )
            continue
        for gate, means in finding.gates.items():
            meaning = {1: " (1 keeps)", -1: " (1 takes in)"}[known[gate].sign] if gate in known else ""
            lines.append(f"  {place}: {gate}{meaning}  " + "  ".join(f"{k} {v:.2f}" for k, v in means.items()))
    return lines
