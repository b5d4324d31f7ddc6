"""A case from its proof to its figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks import ours
from benchmarks.case import TARGET_THREADS, Case
from benchmarks.flops import flops
from benchmarks.machine import cpu_features, is_busy, load
from benchmarks.measure import YARDSTICK_FLOPS, Plan, Spread, Times, measure, yardstick
from benchmarks.peers import PEERS, Peer, missing
from benchmarks.proof import disagreement, objection
from benchmarks.work import Contestant, Subject, make_subject, threads
from gatewise import UserError, which

REACHED, MISSED, UNJUDGED = "reached", "missed", "unjudged"


@dataclass(frozen=True)
class Figure:
    """One contestant's.

    Attributes:
        key: "ours", or the peer's key.
        name: as it is printed.
        seconds: for one piece of work.
        calls: of a sample.
        gflops: 1e9 of the case's operations in a second.
        ratio: its time by ours, round by round; None for ours.
        target: the least wanted ratio.
        verdict: whether the ratio is at least that; unjudged where the target is meant for another machine.
    """

    key: str
    name: str
    seconds: Spread
    calls: int
    gflops: float
    ratio: Spread | None = None
    target: float | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a case: figures, or the reason for none.

    Attributes:
        engine: which of ours ran.
        figures: ours first.
        share: ours of the rate of a large matrix product in the same precision, round by round.
        yardstick: the rate of that product, GFLOP/s.
        load: the machine's before or after the case, the larger.
        refused: why no speed is printed: the engine is wrong.
        skipped: why the case cannot run.
        left_out: peers that are here and do not take part, and why.
    """

    case: Case
    engine: str = ""
    flops: int = 0
    rounds: int = 0
    figures: tuple[Figure, ...] = ()
    share: Spread | None = None
    yardstick: Spread | None = None
    load: float | None = None
    busy: bool = False
    refused: str | None = None
    skipped: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What the command line chose."""

    engine: str
    threads: int = TARGET_THREADS
    plan: Plan = field(default_factory=Plan)
    opted_in: tuple[str, ...] = ()
    peers: Sequence[Peer] = field(default_factory=lambda: PEERS)


Progress = Callable[[str], None]


def run_case(case: Case, settings: Settings, progress: Progress = lambda text: None) -> Outcome:
    """Prove, then measure, then reckon."""
    before = load()
    subject = make_subject(case, settings.threads)
    with threads(settings.threads):
        progress(f"{case.name}: proving")
        try:
            engine = which(ours.layer_of(subject, settings.engine, case.precision)).engine
        except UserError as error:
            return Outcome(case, skipped=str(error))
        refused = objection(subject, engine)
        if refused:
            return Outcome(case, engine, refused=refused)
        expected = ours.contestant(subject, "eager").answer()
        mine = ours.contestant(subject, engine, case.precision)
        refused = disagreement(mine, expected, subject, peer=False)
        if refused:
            return Outcome(case, engine, refused=refused)
        peers, left_out = _peers(subject, settings, expected, progress)
        contestants = [mine, *peers.values(), yardstick(torch.float32 if case.in_float32 else torch.bfloat16)]
        times = measure(
            contestants, settings.plan, lambda done, rounds: progress(f"{case.name}: round {done + 1} of {rounds}")
        )
    average = max((found for found in (before, load()) if found is not None), default=None)
    return _reckon(case, engine, ["ours", *peers], contestants, times, settings, average, left_out)


def _peers(
    subject: Subject, settings: Settings, expected: torch.Tensor, progress: Progress
) -> tuple[dict[str, Contestant], dict[str, str]]:
    """Those that take part, and those that might and do not, with the reason."""
    found: dict[str, Contestant] = {}
    left_out: dict[str, str] = {}
    for peer in settings.peers:
        if not peer.takes(subject.case):
            continue
        absent = missing(peer)
        if absent:
            left_out[peer.key] = f"not installed: pip install {' '.join(absent)}"
        elif peer.opt_in and peer.opt_in not in settings.opted_in:
            left_out[peer.key] = f"takes part with {peer.opt_in}"
        else:
            progress(f"{subject.case.name}: preparing {peer.key}")
            built = _built(peer, subject, expected)
            if isinstance(built, str):
                left_out[peer.key] = f"{subject.case.name}: {built}"
            else:
                found[peer.key] = built
    return found, left_out


def _built(peer: Peer, subject: Subject, expected: torch.Tensor) -> Contestant | str:
    """The peer's contestant, or why it cannot take part: others' failures do not end our run."""
    try:
        contestant = peer.build(subject)
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return disagreement(contestant, expected, subject, peer=True) or contestant


def _reckon(
    case: Case,
    engine: str,
    keys: list[str],
    contestants: list[Contestant],
    times: Times,
    settings: Settings,
    average: float | None,
    left_out: dict[str, str],
) -> Outcome:
    needed = flops(case)
    figures = []
    for i, key in enumerate(keys):
        ratio = times.ratio(i, 0) if i else None
        target = case.targets.get(key)
        verdict = _verdict(ratio, target, settings.threads, case)
        spread = times.spread(i)
        gflops = needed / spread.median / 1e9
        figures.append(Figure(key, contestants[i].name, spread, times.calls[i], gflops, ratio, target, verdict))
    last = len(keys)
    scale = needed / YARDSTICK_FLOPS
    rate = Spread.of([YARDSTICK_FLOPS / s / 1e9 for s in times.seconds[last]])
    share = Spread(*(scale * part for part in times.ratio(last, 0)))
    busy = is_busy(average, settings.threads)
    return Outcome(case, engine, needed, times.rounds, tuple(figures), share, rate, average, busy, left_out=left_out)


def _verdict(ratio: Spread | None, target: float | None, count: int, case: Case) -> str:
    if ratio is None or target is None:
        return ""
    if count != TARGET_THREADS or (not case.in_float32 and "amx_bf16" not in cpu_features()):
        return UNJUDGED
    return REACHED if ratio.median >= target else MISSED


def as_json(outcome: Outcome, machine: dict[str, Any]) -> dict[str, Any]:
    """Everything, in plain values."""
    case = outcome.case
    return {
        "case": case.name,
        "cell": case.cell_name,
        "what": case.what.value,
        **case.sizes._asdict(),
        "precision": case.precision,
        "engine": outcome.engine,
        "refused": outcome.refused,
        "skipped": outcome.skipped,
        "flops": outcome.flops,
        "rounds": outcome.rounds,
        "figures": [_figure_as_json(figure) for figure in outcome.figures],
        "share_of_large_product": outcome.share and outcome.share._asdict(),
        "large_product_gflops": outcome.yardstick and outcome.yardstick._asdict(),
        "left_out": outcome.left_out,
        "load": outcome.load,
        "busy": outcome.busy,
        "machine": machine,
    }


def _figure_as_json(figure: Figure) -> dict[str, Any]:
    return {
        "key": figure.key,
        "name": figure.name,
        "seconds": figure.seconds._asdict(),
        "calls_a_sample": figure.calls,
        "gflops": figure.gflops,
        "ratio_to_ours": figure.ratio and figure.ratio._asdict(),
        "target": figure.target,
        "verdict": figure.verdict,
    }
