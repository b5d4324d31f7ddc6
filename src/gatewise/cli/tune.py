"""The commands that look for good settings: one a task, with the options of its ``train`` command."""

from __future__ import annotations

import dataclasses
import inspect
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gatewise.cli.app import app, train_app
from gatewise.cli.options import GROUPS, Json, Quiet
from gatewise.cli.training import ENDINGS, Order, order_of, this_command
from gatewise.show.tuning import draw_search
from gatewise.training import TRAININGS, Watch, reporter
from gatewise.training.settings import NetworkSettings
from gatewise.training.tune import PARTICLES, Audience, Found, Looked, Wish, best_of, set_out, tune

_SECONDS_BETWEEN_PICTURES = 10.0
_MOST_ROWS = 10
_NOT_TAKEN = ("out", "tensorboard", "json_", "quiet")  # of a train command's options; those of this command instead
_GROUP = GROUPS["Search"]

tune_app = App(name="tune", help="Look for good settings of a training; each task is a command of its own.")
app.command(tune_app)


def tune_command(
    *,
    search: Annotated[
        str,
        Parameter(
            group=_GROUP,
            help="`pso` (particle swarm), `tpe` (tree-structured Parzen estimators) or `random`.",
        ),
    ] = "pso",
    trials: Annotated[
        int, Parameter(group=_GROUP, help="Trials that are done in the end, over all calls and processes.")
    ] = 30,
    range_: Annotated[
        tuple[str, ...],
        Parameter(
            name="--range", group=_GROUP, negative=(), show_default=False,
            help="Where to look: `lr=0.001:0.03`, with `:log` or `:linear` after it if wanted; once a setting.",
        ),
    ] = (),
    only: Annotated[
        str | None, Parameter(group=_GROUP, help="Look for these settings alone: `lr,hidden`.", show_default=False)
    ] = None,
    show_ranges: Annotated[
        bool,
        Parameter(group=_GROUP, negative=(), show_default=False, help="Say what would be looked for, and do nothing."),
    ] = False,
    particles: Annotated[int, Parameter(group=_GROUP, help="Of the swarm.")] = PARTICLES,
    prune: Annotated[
        bool | None,
        Parameter(
            group=_GROUP, show_default=False,
            help="Stop a trial that is worse than the median at the same share of its budget (default: yes; with `pso` "
            "no, where a trial that is stopped counts as what was last seen of it).",
        ),
    ] = None,
    keep_runs: Annotated[
        bool,
        Parameter(group=_GROUP, negative=(), show_default=False, help="Keep the runs of all trials, not the best's."),
    ] = False,
    storage: Annotated[
        str,
        Parameter(
            group=_GROUP, show_default=False,
            help="Where the study lies, for several machines: a database's URL, or a file that ends in .db or .journal "
            "(default: study.db in the folder).",
        ),
    ] = "",
    study: Annotated[
        str, Parameter(group=_GROUP, show_default=False, help="Its name there (default: the task and the data's name).")
    ] = "",
    out: Annotated[
        Path | None, Parameter(group=GROUPS["Output"], help="The folder of the search (default: runs/NAME-tune).")
    ] = None,
    json_: Json = False,
    quiet: Quiet = False,
    order: Callable[[], Order],
    given: Sequence[str],
    data: Sequence[str],
) -> None:  # fmt: skip
    """Look for the settings with the smallest loss on what is held out; the test part is not looked at.

    Every trial trains with the same budget, one minute if nothing else is said, and the same seed. A setting that is
    given a value keeps it; what else is looked for, and where, is said at the start. Several processes that are called
    with the same `--out`, or on several machines with the same `--storage`, share one search, and the same command
    goes on with one that was stopped. The best settings are left as `best.toml`, which `train --recipe` takes.
    """
    wanted = order()
    looked = Looked.parsed(wanted.settings, given, only, range_)
    training = TRAININGS[wanted.task]
    pictures = _Pictures()
    wish = Wish(search, trials, looked, particles, prune, keep_runs, storage, study)
    with reporter(quiet) as report:
        if show_ranges:
            print(*set_out(training, wanted.source, wanted.settings, looked, report.say).ranges, sep="\n")
            return
        watch = Watch(report, None, ENDINGS[wanted.task].draw)
        found = tune(training, wanted.source, wanted.settings, wish, out, Audience(watch, pictures.draw_now_and_then))
    pictures.draw(found)
    _tell(found, data)
    if json_:
        print(json.dumps(_to_dict(found)))


def _tuned(train: Callable[..., None], settings: type[NetworkSettings]) -> Callable[..., None]:
    """A command with the options of a ``train`` command and those of a search."""
    of_train = inspect.signature(train)
    of_search = inspect.signature(tune_command, eval_str=True)
    theirs = [_in_tune(p) for p in of_train.parameters.values() if p.name not in _NOT_TAKEN]
    own = [p for p in of_search.parameters.values() if p.name not in ("order", "given", "data")]
    names = [field.name for field in dataclasses.fields(settings)]

    def run(*arguments: Any, **options: Any) -> None:
        search = {p.name: options.pop(p.name) for p in own if p.name in options}
        given = [name for name in names if options.get(name) is not None]
        data = [str(word) for word in arguments if word is not None]
        for p in theirs:
            if p.name in options and p.name not in (*names, "recipe") and options[p.name] not in (None, p.default):
                data += [f"--{p.name.replace('_', '-')}", str(options[p.name])]
        if not options.get("recipe") and options.get("minutes") is None and options.get("epochs") is None:
            options["minutes"] = 1.0
        tune_command(**search, order=lambda: order_of(train, *arguments, **options), given=given, data=data)

    positional = [p for p in theirs if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    named = [p for p in theirs if p.kind is inspect.Parameter.KEYWORD_ONLY]
    run.__signature__ = of_train.replace(parameters=[*positional, *own, *named])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*theirs, *own]}
    run.__name__, run.__doc__ = train.__name__, tune_command.__doc__
    return run


def _in_tune(parameter: inspect.Parameter) -> inspect.Parameter:
    """An option of ``train`` as it is here: a trial is given less time."""
    if parameter.name != "minutes":
        return parameter
    help = "Wall-clock budget of a trial (default: 1)."
    option = Parameter(group=GROUPS["Training"], help=help, negative=(), show_default=False)
    return parameter.replace(annotation=Annotated[float | None, option])


def add_commands() -> None:
    """A command for every task that can be trained here."""
    for task, training in TRAININGS.items():
        train = train_app[task].default_command
        assert train is not None
        tune_app.command(_tuned(train, training.settings), name=task)


class _Pictures:
    """Draws the study, not more often than it is worth."""

    def __init__(self) -> None:
        self._drawn = time.monotonic()

    def draw_now_and_then(self, found: Found) -> None:
        if time.monotonic() - self._drawn > _SECONDS_BETWEEN_PICTURES:
            self.draw(found)

    def draw(self, found: Found) -> None:
        plan, rows = found.plan, found.rows
        settings = {r.name: [float(row.settings[r.name]) for row in rows] for r in plan.ranges}
        scales = {r.name: "log" if r.log else "linear" for r in plan.ranges}
        draw_search(
            [row.trial for row in rows], [row.value for row in rows], [row.state == "pruned" for row in rows],
            settings, scales, found.folder, f"{found.folder.name}: {plan.search}, {len(rows)} trials",
        )  # fmt: skip
        self._drawn = time.monotonic()


def _tell(found: Found, data: Sequence[str]) -> None:
    """The best trials as a table, and what to call next: the words of ``train`` that say where the data are."""
    names = [r.name for r in found.plan.ranges]
    table = [("trial", "held-out loss", "state", *(name.replace("_", " ") for name in names), "seconds")]
    rows = sorted(found.rows, key=lambda row: (row.state != "complete", row.value, row.trial))
    for row in rows[:_MOST_ROWS]:
        tried = (f"{row.settings[name]:.4g}" for name in names)
        table.append((str(row.trial), f"{row.value:.5g}", row.state, *tried, f"{row.seconds:.0f}"))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    if len(rows) > _MOST_ROWS:
        print(f"and {len(rows) - _MOST_ROWS} more")
    if found.plan.search == "pso" and len(rows) <= found.plan.particles:
        print(
            f"note: a swarm of {found.plan.particles} begins at random, and this search ends there; --trials several "
            "times as many lets it move"
        )
    print(f"folder     {found.folder} (study.csv, study.svg, study.png)")
    if found.best is None:
        print("best       none: every trial was pruned or diverged; look in other ranges")
        return
    if found.run is not None:
        print(f"best run   {found.run.folder}")
    words = shlex.join([found.plan.task, *data, "--recipe", str(found.recipe)])
    print(f"next       {this_command()} train {words}")
    spent = found.plan.settings
    budget = f"{spent['minutes']:g} minutes" if spent["minutes"] else f"{spent['epochs']} epochs"
    print(f"           for as long as a trial, {budget}; --minutes gives it longer")


def _to_dict(found: Found) -> Mapping[str, Any]:
    best = best_of(found.rows)
    return {
        "task": found.plan.task, "search": found.plan.search, "folder": str(found.folder),
        "trials": [row.to_dict() for row in found.rows], "best": None if best is None else best.to_dict(),
        "recipe": None if found.recipe is None else str(found.recipe),
        "run": None if found.run is None else str(found.run.folder),
    }  # fmt: skip
