"""``train classify`` from end to end: recordings, model, measure, baselines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from gatewise.data.recordings.examples import Examples
from gatewise.engines import which
from gatewise.errors import UserError
from gatewise.layers.classifier import SequenceClassifier
from gatewise.tasks.alarms import AlarmLimit, apart, examples_wanted
from gatewise.tasks.class_baselines import baselines
from gatewise.tasks.classify import probabilities, scores
from gatewise.tasks.diagnosis import diagnose
from gatewise.training.checkpoint import read_about, write_text
from gatewise.training.classify_settings import ClassifySettings
from gatewise.training.learner import torch_learner
from gatewise.training.lifecycle import Job
from gatewise.training.memory import check_memory
from gatewise.training.prepared_classes import PreparedClasses, prepare_classes
from gatewise.training.progress import Reporter
from gatewise.training.recordings_source import AnySource, RecordingsSource
from gatewise.training.run import Run
from gatewise.training.table_file import write_table
from gatewise.training.trained_classifier import (
    ALARMS,
    TrainedClassifier,
    classifier,
    decided,
    listed,
    load_classifier,
)
from gatewise.training.weights import check_equations, fingerprint

PREDICTIONS = "predictions.csv"
"""The file of a run with the classes and probabilities of the test part."""


class ClassifyTraining:
    """Classifiers of sequences and of windows over streams."""

    name = "classify"
    settings = ClassifySettings

    def source(self, data: dict[str, Any]) -> RecordingsSource:
        return RecordingsSource.from_config(data)

    def prepare(
        self, source: AnySource, settings: ClassifySettings, run: Run | None, say: Callable[[str], None]
    ) -> Job:
        started = run if run is not None and run.last_file.exists() else None
        about = None if started is None else read_about(started.last_file)[0]
        prepared = prepare_classes(source, settings, run, about, say)
        _check_alarms(settings, prepared, say)
        config = model_config(settings, prepared)
        check_memory(lambda: SequenceClassifier(**config), f"--hidden {settings.hidden} --layers {settings.layers}")
        torch.manual_seed(settings.seed)
        precision = None if settings.precision == "float32" else settings.precision
        model = SequenceClassifier(**config, engine=settings.engine, precision=precision)
        choice = which(model)
        if started is not None:
            check_equations(started.last_file, model)
        about = {"model": config, "equations": fingerprint(model), **prepared.about()}
        return Job(
            f"{source.name}-{'-'.join(settings.cells)}", source.to_config(prepared.parts),
            torch_learner(model, prepared.task(settings), settings), (choice.engine, choice.reason), about,
            _introduction(source, settings, prepared), partial(_measure, settings, prepared),
            {"window": prepared.window} if prepared.window else {},
        )  # fmt: skip

    def load(self, run: Run) -> TrainedClassifier:
        return load_classifier(run.folder)


def model_config(settings: ClassifySettings, prepared: PreparedClasses) -> dict[str, Any]:
    """What :class:`gatewise.layers.classifier.SequenceClassifier` is made with."""
    return {
        "input_size": prepared.preparation.input_size, "classes": len(prepared.classes), **settings.stack(),
        "bidirectional": settings.directions == "both", "pooling": settings.pooling, "dropout": settings.dropout,
        "members": settings.members, "input_noise": settings.input_noise,
        "channel_dropout": settings.channel_dropout, **settings.noise(),
    }  # fmt: skip


def _introduction(source: AnySource, settings: ClassifySettings, prepared: PreparedClasses) -> list[str]:
    train, validation, test = (len(part) for part in (prepared.train, prepared.validation, prepared.test))
    what, made = "recordings", prepared.preparation
    if prepared.window:
        what = f"windows of {prepared.window} rows, one every {settings.stride},"
    components = f", in {made.projection.size} principal components" if made.projection else ""
    given = ", ".join(made.features) + components
    lines = [
        f"{source.name}: {len(prepared.classes)} classes, {made.channels} channels, given as {given}; {train:,} {what} "
        f"to learn, {validation:,} for validation, {test:,} to measure; {settings.cell}, {settings.layers} x "
        f"{settings.hidden} units"
    ]
    if prepared.window:
        lines.append("a window has the label of its last row")
    if not validation:
        lines.append("nothing is held out: how good it is, is known of the test part alone")
    return lines


def _check_alarms(settings: ClassifySettings, prepared: PreparedClasses, say: Callable[[str], None]) -> None:
    """Raise if what is held out is too little to vouch for the share of false alarms; say if it hardly is enough."""
    if not settings.false_alarms:
        return
    normal = np.flatnonzero(prepared.validation.classes == prepared.classes.index(settings.normal))
    found, wanted = len(normal), examples_wanted(settings.false_alarms)
    distinct = apart(prepared.validation, normal)
    if found >= wanted > distinct:
        say(
            f"--false-alarms {settings.false_alarms:g}: its limit wants {wanted:,} held-out examples of "
            f"{settings.normal}; there are {found:,}, but as they overlap they are worth {distinct:,}: there may be "
            "more false alarms than that"
        )
    if found < wanted:
        raise UserError(
            f"--false-alarms {settings.false_alarms:g}: its limit is set on the held-out examples of "
            f"{settings.normal}, and wants {wanted:,} of them; there are {found:,}; give a larger share, or a larger "
            "--heldout"
        )


def _measure(
    settings: ClassifySettings, prepared: PreparedClasses, run: Run, report: Reporter, check: Callable[[], None]
) -> Mapping[str, Any]:
    """The scores on what is measured and on what was chosen with, and those of the baselines."""
    trained = classifier(run)
    judged = {"test": prepared.test, "validation": prepared.validation}
    judged = {name: part for name, part in judged.items() if len(part)}
    kind = settings.baseline_features
    if kind == "flat" and not prepared.window:
        report.say("--baseline-features flat: recordings have different lengths; the baselines are given summaries")
        kind = "summary"
    summary: dict[str, Any] = {
        "classes": list(prepared.classes), "window": prepared.window,
        "examples": {"train": len(prepared.train), **{name: len(part) for name, part in judged.items()}},
    }  # fmt: skip
    with report.counting("measuring", sum(map(len, judged.values()))) as counted:

        def progress(amount: int) -> None:
            counted(amount)
            check()

        chances = {
            name: probabilities(trained.model, part, progress=progress).numpy() for name, part in judged.items()
        }  # fmt: skip
    found, limit = _found(settings, prepared, chances)
    summary |= found
    if limit is not None:
        write_text(run.folder / ALARMS, json.dumps(limit.to_config()) + "\n")
    if "test" in chances:
        table = listed(prepared.test, prepared.parts.test, prepared.classes, chances["test"], limit)
        write_table(table, run.folder / PREDICTIONS)
    summary |= {"baseline_features": kind, "baselines": {}}
    if judged:
        main = "test" if "test" in judged else "validation"
        summary |= {name: summary[main][name] for name in ("accuracy", "macro_f1")}
        for name, found in _beside(settings, prepared, judged, kind, report, check):
            summary["baselines"][name] = {**found[main], "validation": found.get("validation")}
    return summary


def _beside(
    settings: ClassifySettings, prepared: PreparedClasses, judged: Mapping[str, Examples], kind: str, report: Reporter,
    check: Callable[[], None],
) -> Iterator[tuple[str, dict[str, Any]]]:  # fmt: skip
    """The figures of each baseline, by part."""
    learned = settings.baselines == "all"
    if learned:
        report.say("training the baselines on the same examples: logistic regression, random forest")
    count = len(prepared.classes)
    for name, chances in baselines(prepared.train, judged, count, kind, settings.seed, check, learned):
        yield name, _found(settings, prepared, chances)[0]


def _found(
    settings: ClassifySettings, prepared: PreparedClasses, chances: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], AlarmLimit | None]:
    """All figures of some probabilities, by part; and the limit of alarms that they were decided with."""
    limit = None
    if settings.false_alarms:
        normal = prepared.classes.index(settings.normal)
        limit = AlarmLimit.fitted(
            chances["validation"], prepared.validation.classes, normal, settings.false_alarms
        )  # fmt: skip
    found = {name: judge(settings, prepared, name, decided(each, limit)) for name, each in chances.items()}
    if limit is not None:
        for name, each in chances.items():
            plain = judge(settings, prepared, name, decided(each, None))
            found[name]["alarm_limit"] = limit.to_config()
            found[name]["most_probable"] = {figure: plain[figure] for figure in plain if figure not in _LONG}
    return found, limit


_LONG = ("per_class", "confusion", "normal", "in_a_row")
"""What is not said of the most probable classes too, where a limit of alarms decides."""


def judge(settings: ClassifySettings, prepared: PreparedClasses, part: str, predicted: np.ndarray) -> dict[str, Any]:
    """All figures of some predictions for a part, ``test`` or ``validation``."""
    examples, recordings = getattr(prepared, part), getattr(prepared.parts, part)
    found = scores(examples.classes, predicted, prepared.classes)
    if settings.without:
        fewer = scores(examples.classes, predicted, prepared.classes, settings.without)
        found["without"] = {"classes": list(settings.without), **{n: fewer[n] for n in ("accuracy", "macro_f1")}}
    if settings.normal:
        in_a_row = settings.alarm if prepared.window else 1  # of a whole recording there is one prediction
        found |= diagnose(examples, predicted, recordings, prepared.classes, settings.normal, in_a_row)
    return found
