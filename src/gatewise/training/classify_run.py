"""``train classify`` from end to end: recordings, model, measure, baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from gatewise.engines import which
from gatewise.layers.classifier import SequenceClassifier
from gatewise.tasks.class_baselines import baselines
from gatewise.tasks.classify import probabilities, scores
from gatewise.tasks.diagnosis import diagnose
from gatewise.training.checkpoint import read_about
from gatewise.training.classify_settings import ClassifySettings
from gatewise.training.learner import torch_learner
from gatewise.training.lifecycle import Job
from gatewise.training.memory import check_memory
from gatewise.training.prepared_classes import PreparedClasses, prepare_classes
from gatewise.training.progress import Reporter
from gatewise.training.recordings_source import AnySource, RecordingsSource
from gatewise.training.run import Run
from gatewise.training.table_file import write_table
from gatewise.training.trained_classifier import TrainedClassifier, listed, load_classifier
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
    lines = [
        f"{source.name}: {len(prepared.classes)} classes, {made.channels} channels{components}, given as "
        f"{', '.join(made.features)}; {train:,} {what} to learn, {validation:,} for validation, {test:,} to "
        f"measure; {settings.cell}, {settings.layers} x {settings.hidden} units"
    ]
    if prepared.window:
        lines.append("a window has the label of its last row")
    if not validation:
        lines.append("nothing is held out: how good it is, is known of the test part alone")
    return lines


def _measure(
    settings: ClassifySettings, prepared: PreparedClasses, run: Run, report: Reporter, check: Callable[[], None]
) -> Mapping[str, Any]:
    """The scores on what is measured and on what was chosen with, and those of the baselines."""
    trained = load_classifier(run.folder)
    judged = {"test": prepared.test, "validation": prepared.validation}
    judged = {name: part for name, part in judged.items() if len(part)}
    recordings = {"test": prepared.parts.test, "validation": prepared.parts.validation}
    kind = settings.baseline_features
    if kind == "flat" and not prepared.window:
        report.say("--baseline-features flat: recordings have different lengths; the baselines are given summaries")
        kind = "summary"

    def tree(name: str, predicted: np.ndarray) -> dict[str, Any]:
        return judge(settings, prepared.classes, judged[name], predicted, recordings[name])

    summary: dict[str, Any] = {
        "classes": list(prepared.classes), "window": prepared.window,
        "examples": {"train": len(prepared.train), **{name: len(part) for name, part in judged.items()}},
    }  # fmt: skip
    with report.counting("measuring", sum(map(len, judged.values()))) as counted:

        def progress(amount: int) -> None:
            counted(amount)
            check()

        for name, part in judged.items():
            chances = probabilities(trained.model, part, progress=progress)
            if name == "test":
                write_table(listed(part, recordings[name], prepared.classes, chances), run.folder / PREDICTIONS)
            summary[name] = tree(name, chances.argmax(1).numpy())
    summary |= {"baseline_features": kind, "baselines": {}}
    if not judged:
        return summary
    main = "test" if "test" in judged else "validation"
    summary |= {name: summary[main][name] for name in ("accuracy", "macro_f1")}
    beside = settings.baselines == "all"
    if beside:
        report.say("training the baselines on the same examples: logistic regression, random forest")
    for name, predicted in baselines(prepared.train, judged, kind, settings.seed, check, beside):
        found = {part: tree(part, numbers) for part, numbers in predicted.items()}
        summary["baselines"][name] = {**found[main], "validation": found.get("validation")}
    return summary


def judge(
    settings: ClassifySettings, classes: tuple[str, ...], examples: Any, predicted: np.ndarray, recordings: Any
) -> dict[str, Any]:
    """All figures of some predictions."""
    found = scores(examples.classes, predicted, classes)
    if settings.without:
        fewer = scores(examples.classes, predicted, classes, settings.without)
        found["without"] = {"classes": list(settings.without), **{n: fewer[n] for n in ("accuracy", "macro_f1")}}
    if settings.normal:
        found |= diagnose(examples, predicted, recordings, classes, settings.normal, settings.alarm)
    return found
