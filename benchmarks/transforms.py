"""What a transform costs: ``python -m benchmarks.transforms`` times `gru` with each beside plain `gru`.

Forward and backward, in turns, as ``make bench`` does.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch

from benchmarks import report
from benchmarks.case import TARGET_THREADS, Case, What
from benchmarks.machine import is_busy, load, machine
from benchmarks.measure import QUICK, Plan, measure
from benchmarks.registry import BOOK
from benchmarks.work import Contestant, Subject, layer_contestant, make_subject
from gatewise import Recurrent, which

TRANSFORMS: dict[str, dict[str, Any]] = {
    "gru": {},
    "layer_norm": {"layer_norm": True},
    "zoneout 0.1": {"zoneout": 0.1},
    "recurrent_dropout 0.1": {"recurrent_dropout": 0.1},
    "weight_drop 0.3": {"weight_drop": 0.3},
}
MOST = 1.4
"""How many times plain `gru` a transform may take with ``TARGET_THREADS`` threads."""


def contestant(name: str, options: dict[str, Any], subject: Subject, engine: str) -> Contestant:
    """A GRU with a transform, in training, at the sizes of the case."""
    sizes = subject.case.sizes
    layer = Recurrent(subject.case.cell, sizes.I, sizes.H, engine=engine, **options)
    if (found := which(layer).engine) != engine:
        sys.exit(f"{name}: runs on {found}, not on {engine}")
    return layer_contestant(name, layer, subject)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.transforms", description=__doc__)
    parser.add_argument("--threads", type=int, default=TARGET_THREADS, help="default %(default)s")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: does it work, not how fast")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    subject = make_subject(Case("gru", What.TRAIN, BOOK), options.threads)
    console = report.make_console()
    console.print(report.opening(machine(options.threads), "native", compiles=False), soft_wrap=True)
    if is_busy(load(), options.threads):
        console.print(f"[yellow]warning[/]: load {load():.1f}: something else is running; expect junk")
    contestants = [contestant(name, more, subject, "native") for name, more in TRANSFORMS.items()]
    times = measure(contestants, QUICK if options.quick else Plan(seconds=20), lambda done, rounds: None)
    console.print(f"\n{subject.case.what.value}, {BOOK}; wanted: at most {MOST} times plain gru")
    for place, each in enumerate(contestants):
        time, ratio = times.spread(place), times.ratio(place, 0)
        console.print(
            f"{each.name:22} {time.median * 1e3:6.2f} ms   {ratio.median:.2f} x ({ratio.low:.2f} to {ratio.high:.2f})"
        )


if __name__ == "__main__":
    main()
