"""The outcomes in print: a table that reads in 100 columns, on a terminal and in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.case import TARGET_THREADS, Case
from benchmarks.measure import Spread
from benchmarks.peers import Peer
from benchmarks.run import MISSED, REACHED, UNJUDGED, Figure, Outcome

WIDTH = 100
UNSTEADY = 0.2
"""A spread of the yardstick, as a share of its median, beyond which something else was running."""
COLUMNS = {"": 29, "time": 12, "quartiles ": 15, "ours is": 8, "quartiles": 13, "target": 16}
STYLES = {REACHED: "green", MISSED: "red"}


def make_console() -> Console:
    console = Console(highlight=False)
    console.width = min(WIDTH, console.width) if console.is_terminal else WIDTH
    return console


def opening(machine: dict[str, Any], engine: str, compiles: bool) -> str:
    """What the figures mean, before the first of them."""
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items())
    lines = [
        f"{machine['cpu']} ({', '.join(machine['cpu_features'])}), {machine['threads']} of {machine['cores']} threads",
        f"{versions}, commit {machine['commit'] or 'unknown'}, engine asked for: {engine}",
        "Medians and quartiles of rounds in which all take their turn; ours is N x as fast: ratios within a round.",
        "GFLOP/s: needed matrix products alone; the share is of a 2048 x 2048 torch.mm in the same rounds.",
    ]
    if compiles:
        lines.append("torch.compile: 20 to 45 s of compiling a loop are in no figure.")
    return "\n".join(lines)


def table_of(outcome: Outcome, header: bool) -> Table:
    """One case; cases stand in the same columns."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=header, header_style="bold")
    for name, width in COLUMNS.items():
        left = name in ("", "target")
        table.add_column(name.strip(), width=width, no_wrap=True, justify="left" if left else "right")
    for figure in outcome.figures:
        table.add_row(*_cells(outcome, figure))
    return table


def _cells(outcome: Outcome, figure: Figure) -> list[str]:
    case = outcome.case
    name = f"  {figure.name} ({outcome.engine})" if figure.key == "ours" else f"  {figure.name}"
    time, quartiles = _amounts(case, figure.seconds)
    if figure.ratio is None:
        return [f"[bold]{escape(name)}[/]", f"[bold]{time}[/]", quartiles, "", "", ""]
    ratio = figure.ratio
    target = f">= {figure.target:g} {figure.verdict}" if figure.target else ""
    style = STYLES.get(figure.verdict, "")
    return [
        escape(name),
        time,
        quartiles,
        f"{ratio.median:.2f} x",
        f"{ratio.low:.2f} - {ratio.high:.2f}",
        f"[{style}]{target}[/]" if style else target,
    ]


def _amounts(case: Case, seconds: Spread) -> tuple[str, str]:
    """Median with its unit, and the quartiles: tokens in a second where the case counts tokens, else time."""
    if case.what.counts_tokens:
        T, B, *_ = case.sizes
        median, high, low = (T * B / part for part in seconds)
        if median >= 1e5:
            return f"{median / 1e3:.1f} ktok/s", f"{low / 1e3:.1f} - {high / 1e3:.1f}"
        return f"{median:,.0f} tok/s", f"{low:,.0f} - {high:,.0f}"
    unit, scale = ("us", 1e6) if seconds.median < 1e-3 else ("ms", 1e3)
    median, low, high = (scale * part for part in seconds)
    digits = 2 if median < 100 else 1
    return f"{median:.{digits}f} {unit}", f"{low:.{digits}f} - {high:.{digits}f}"


def print_outcome(console: Console, outcome: Outcome, header: bool) -> None:
    """The case's line, then a row a contestant; or the reason why there is none."""
    case = outcome.case
    precision = "" if case.in_float32 else f", {case.precision}"
    title = f"[bold]{escape(case.cell_name)}[/] {case.what.value}{precision}, {case.sizes}"
    if outcome.refused:
        console.print(f"{title}\n  [red]REFUSED[/] ({outcome.engine}): {escape(outcome.refused)}", soft_wrap=True)
        return
    if outcome.skipped:
        console.print(f"{title}\n  skipped: {escape(outcome.skipped)}", soft_wrap=True)
        return
    assert outcome.share is not None
    assert outcome.yardstick is not None
    mine = outcome.figures[0]
    if header:
        console.print(table_of(Outcome(case), header=True))
    console.print(
        f"{title}: {mine.gflops:.{1 if mine.gflops < 10 else 0}f} GFLOP/s, "
        f"{100 * outcome.share.median:.0f} % of {outcome.yardstick.median:.0f}, {outcome.rounds} rounds"
    )
    console.print(table_of(outcome, header=False))
    for warning in _warnings(outcome):
        console.print(f"  [yellow]warning[/]: {warning}", soft_wrap=True)


def _warnings(outcome: Outcome) -> list[str]:
    found = []
    if outcome.busy:
        found.append(f"the machine's load was {outcome.load:.1f} at this case: something else is running")
    rate = outcome.yardstick
    if rate is not None and rate.high - rate.low > UNSTEADY * rate.median:
        found.append(f"unsteady: the yardstick itself went from {rate.low:.0f} to {rate.high:.0f} GFLOP/s")
    return found


def closing(outcomes: Sequence[Outcome]) -> str:
    """Targets reached and missed, who did not take part, what is red."""
    judged = [(o.case, f) for o in outcomes for f in o.figures if f.verdict in STYLES]
    missed = [f"{case.name} beside {f.name}" for case, f in judged if f.verdict == MISSED]
    lines = [f"Targets: {len(judged) - len(missed)} of {len(judged)} reached"] if judged else []
    lines += [f"  missed: {name}" for name in missed]
    if any(f.verdict == UNJUDGED for o in outcomes for f in o.figures):
        lines.append(f"Not judged: targets are for {TARGET_THREADS} threads, those in bf16 for a CPU with AMX")
    reasons = {f"{key}: {why}" for o in outcomes for key, why in o.left_out.items()}
    lines += [f"Left out: {reason}" for reason in sorted(reasons)]
    lines += [f"RED: {o.case.name}: {o.refused}" for o in outcomes if o.refused]
    return "\n".join(lines)


def listing(cases: Sequence[Case], peers: Sequence[Peer]) -> Table:
    """The cases by name, with their peers and targets."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for heading in ("case", "target", "peers"):
        table.add_column(heading, no_wrap=heading != "peers")
    for case in cases:
        targets = ", ".join(f"{key} {ratio:g} x" for key, ratio in case.targets.items())
        table.add_row(case.name, targets, ", ".join(peer.key for peer in peers if peer.takes(case)))
    return table


class ProgressLine:
    """One line that says what is going on, on a terminal alone.

    Without a spinner: the thread that turns one takes its time from a contestant.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(f"\r\x1b[2K{text[: WIDTH - 1]}")
            sys.stderr.flush()

    def clear(self) -> None:
        self("")
