"""``make bench``: median times of ours and the peer's, and their ratio, measured in turn in this one process."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import torch

from benchmarks.registry import CASES, Case, Work


def _seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(case: Case, rounds: int) -> dict[str, float | str]:
    """Alternate the two ``rounds`` times, each pair in turn, so that a slow moment meets both alike."""
    ours, peer = case.make()
    for work in (ours, peer, ours, peer):
        work()
    pairs = [(_seconds(ours), _seconds(peer)) for _ in range(rounds)]
    ratios = [p / o for o, p in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "case": case.name,
        "peer": case.peer,
        "ours_ms": 1e3 * statistics.median(o for o, _ in pairs),
        "peer_ms": 1e3 * statistics.median(p for _, p in pairs),
        "ratio": statistics.median(ratios),
        "ratio_low": low,
        "ratio_high": high,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="alternations a case (default 30)")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch (default 2)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.json:
        print(f"torch {torch.__version__}, {options.threads} threads, float32, forward + backward, medians")
        print(f"{'case':<36} {'ours':>9} {'peer':>9}   peer / ours (quartiles)   peer")
    for case in CASES:
        row = measure(case, options.rounds)
        if options.json:
            print(json.dumps(row))
        else:
            print(
                f"{row['case']:<36} {row['ours_ms']:>6.2f} ms {row['peer_ms']:>6.2f} ms   "
                f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})      {row['peer']}"
            )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
