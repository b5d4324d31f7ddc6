"""``make bench``: our times and the peers', taken in turn in this one process; exit code 1 where an engine is wrong."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

import torch

from benchmarks import report
from benchmarks.case import TARGET_THREADS
from benchmarks.machine import is_busy, load, machine
from benchmarks.measure import QUICK, Plan
from benchmarks.ours import default_engine
from benchmarks.peers import PEERS
from benchmarks.registry import select
from benchmarks.run import Outcome, Settings, as_json, run_case
from gatewise import UserError
from gatewise.engines import check_engine


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the cases and leave")
    parser.add_argument("--only", metavar="PATTERN", help="cases with this in their name; * and ? are wildcards")
    parser.add_argument("--engine", default=default_engine(), help="which of ours (default %(default)s)")
    parser.add_argument("--threads", type=int, default=TARGET_THREADS, help="for everyone (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=0, help="turns of each (default: what fits into 8 s, 9 to 41)")
    parser.add_argument("--compile", action="store_true", help="with torch.compile of the loops: 20 to 45 s a case")
    parser.add_argument("--quick", action="store_true", help="few and short rounds: does it work, not how fast")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, a case each")
    options = parser.parse_args(arguments)
    if options.threads < 1 or options.rounds < 0:
        parser.error("--threads wants a number of at least 1, --rounds of at least 0")
    try:
        check_engine(options.engine)
    except UserError as error:
        parser.error(str(error))
    if not select(options.only):
        parser.error(f"--only {options.only}: no case has such a name; --list shows them")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = _arguments(arguments)
    console = report.make_console()
    cases = select(options.only)
    if options.list:
        console.print(report.listing(cases, PEERS))
        return 0
    torch.set_num_threads(options.threads)
    about = machine(options.threads)
    settings = _settings(options)
    if not options.json:
        console.print(report.opening(about, options.engine, options.compile), soft_wrap=True)
        if is_busy(load(), options.threads):
            console.print(f"[yellow]warning[/]: load {load():.1f}: something else is running; expect junk")
        console.print()
    progress = report.ProgressLine()
    outcomes: list[Outcome] = []
    for case in cases:
        outcome = run_case(case, settings, progress)
        progress.clear()
        first = not any(before.figures for before in outcomes)
        outcomes.append(outcome)
        if options.json:
            print(json.dumps(as_json(outcome, about)), flush=True)
        else:
            report.print_outcome(console, outcome, header=first)
    if not options.json:
        console.print(f"\n{report.closing(outcomes)}", soft_wrap=True, markup=False)
    return 1 if any(outcome.refused for outcome in outcomes) else 0


def _settings(options: argparse.Namespace) -> Settings:
    plan = replace(QUICK if options.quick else Plan(), rounds=options.rounds)
    return Settings(options.engine, options.threads, plan, ("--compile",) if options.compile else ())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
