"""Searches against each other: ``python -m benchmarks.tune --data FOLDER [--seeds 0,1,2] [--searches random,pso,tpe]``.

The next 24 hours of PM2.5 in Beijing, learned from a year of it: half a year, 4,380 windows, is held out to choose by,
so that the loss of a trial says something of its settings, and another half year is measured. All searches have the
same ranges, as many trials and as many passes over the data a trial; the seed is the search's and the trainings'.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

COMMAND = (
    "forecast --target pm2.5 --missing interpolate --horizon 24 --anchor last --normalise off --split 8760,4380,4380 "
    "--batch 128 --epochs 6 --evaluations 6 --patience 0 --interval 0 --range lookback=12:72 --range hidden=16:96 "
    "--range layers=1:2 --no-prune --trials 30"
)
"""Of ``gatewise tune``; no trial is stopped early, so that all cost alike."""


def searched(search: str, seed: int, data: Path, more: list[str]) -> Mapping[str, float]:
    """The smallest loss on what is held out, and the errors of its weights on what is measured."""
    task, *options = shlex.split(COMMAND)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "search"
        given = [task, str(data / "series/beijing_pm25.csv"), *options, *more, "--search", search, "--seed", str(seed)]
        command = [sys.executable, "-m", "gatewise", "tune", *given, "--quiet", "--json", "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        test = json.loads((Path(found["run"]) / "summary.json").read_text())["test"]
    return {
        "held out": found["best"]["value"], "test": test["standardised"]["mean"]["mse"],
        "all trials": statistics.mean(trial["value"] for trial in found["trials"]),
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.tune", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with series/")
    parser.add_argument("--searches", default="random,pso,tpe", help="with commas between")
    parser.add_argument("--seeds", default="0,1,2", help="with commas between")
    parser.add_argument("more", nargs="*", help="options for every search, after --, as in -- --threads 1")
    options = parser.parse_args(arguments)
    print(f"gatewise tune {COMMAND} {shlex.join(options.more)}")
    print("search  seed  best held out  its test  mean of all trials held out", flush=True)
    for search in options.searches.split(","):
        rows = []
        for seed in map(int, options.seeds.split(",")):
            rows.append(searched(search, seed, options.data, options.more))
            print(_line(search, str(seed), rows[-1]), flush=True)
        print(_line(search, "mean", {name: statistics.mean(row[name] for row in rows) for name in rows[0]}), flush=True)


def _line(search: str, seed: str, row: Mapping[str, float]) -> str:
    return f"{search:6}  {seed:>4}  {row['held out']:13.4f}  {row['test']:8.4f}  {row['all trials']:.4f}"


if __name__ == "__main__":
    main()
