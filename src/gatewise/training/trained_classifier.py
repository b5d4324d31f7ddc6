"""A finished classifier run, for use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gatewise.data.recordings.examples import Examples, SequencePreparation
from gatewise.data.recordings.folders import read_recordings
from gatewise.data.recordings.labelled_table import recordings_of
from gatewise.data.recordings.sequences import Recording, Sequences
from gatewise.data.recordings.ts_file import read_ts
from gatewise.data.table.schema import Schema
from gatewise.data.table.tables import read_table
from gatewise.errors import UserError
from gatewise.layers.classifier import SequenceClassifier
from gatewise.tasks.alarms import AlarmLimit
from gatewise.tasks.classify import probabilities
from gatewise.training.checkpoint import read_about
from gatewise.training.classify_settings import ClassifySettings
from gatewise.training.recordings_source import RecordingsSource
from gatewise.training.run import Run
from gatewise.training.settings import check_task, read_settings
from gatewise.training.weights import load_model

ALARMS = "alarms.json"
"""The file of a run with the limit above which it raises an alarm, where one was asked for."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A trained classifier of recordings, or of windows over them.

    Attributes:
        model: the network.
        classes: labels, in the order of their numbers.
        columns: the channels' names.
        schema: of the table they stood in; None where they stood elsewhere.
        preparation: from values to what the network is given.
        window: rows of a window; 0: whole recordings.
        run: the folder it came from.
        limit: above which an example is taken for a fault; None where the most probable class is taken.
    """

    model: SequenceClassifier
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    schema: Schema | None
    preparation: SequencePreparation
    window: int
    run: Run
    limit: AlarmLimit | None = None

    def read(self, path: Path, sheet: str | None = None, say: Callable[[str], None] = lambda line: None) -> Sequences:
        """New recordings as the run's own were read; their labels may be unknown.

        Raises:
            UserError: what cannot be read, columns that are not there.
        """
        settings, _ = read_settings(self.run, "classify", ClassifySettings, RecordingsSource.from_config)
        if path.suffix.lower() == ".ts":
            found = read_ts(path, labelled=False)
        elif self.schema and not path.is_dir():
            table = read_table(path, settings.sheet if sheet is None else sheet, say)
            label = settings.label if settings.label in table.frame.columns else ""
            found = recordings_of(table, label, self.schema, self.preparation.missing == "error", say)
        else:
            found = read_recordings(path, "", len(self.columns), say)
        found.check_values(infinite_only=self.preparation.missing != "error")
        return found

    def predict(self, recordings: Sequence[Recording] | Sequence[np.ndarray], stride: int = 1) -> pl.DataFrame:
        """The class of each recording, or of each window, and how probable every class is.

        Args:
            recordings: or arrays (T, channels), in the units of those that were learned.
            stride: rows from one window to the next.

        Returns:
            columns ``recording``, ``step`` (of windows: the row of the recording that the window ends with, from 1),
            ``predicted``, ``p(<class>)`` for each class, and before them ``observed``, where labels are known.

        Raises:
            UserError: other channels, a recording shorter than a window, values that cannot be used.
        """
        given = [
            one if isinstance(one, Recording) else _recording(number, one) for number, one in enumerate(recordings, 1)
        ]
        for one in given:
            if one.values.ndim != 2 or one.values.shape[1] != self.preparation.channels or not len(one):
                raise UserError(
                    f"{one.place}: the classifier learned from recordings of {self.preparation.channels} channels, "
                    f"and this has the shape {one.values.shape}; give (steps, {self.preparation.channels})"
                )
        if not given:
            raise UserError("no recordings to classify; give at least one")
        examples = Examples.over(given, self.preparation, self.classes, self.window, stride)
        return listed(examples, given, self.classes, probabilities(self.model, examples).numpy(), self.limit)


def decided(chances: np.ndarray, limit: AlarmLimit | None) -> np.ndarray:
    """(n, C) probabilities to (n,) numbers of classes: the most probable, or what a limit of alarms says."""
    return chances.argmax(1) if limit is None else limit.classes(chances)


def listed(
    examples: Examples, recordings: Sequence[Recording], classes: Sequence[str], chances: np.ndarray,
    limit: AlarmLimit | None,
) -> pl.DataFrame:  # fmt: skip
    """Predictions as a table, see :meth:`TrainedClassifier.predict`."""
    columns: dict[str, Any] = {"recording": [recordings[number].name for number in examples.recordings]}
    if examples.windows:
        columns["step"] = examples.last + 1
    places = zip(examples.recordings, examples.last, strict=True)
    observed = [str(recordings[number].labels[step]) for number, step in places]
    if any(observed):
        columns["observed"] = observed
    columns["predicted"] = [classes[number] for number in decided(chances, limit).tolist()]
    rounded = chances.astype(np.float64).round(6)
    return pl.DataFrame(columns | {f"p({name})": rounded[:, n] for n, name in enumerate(classes)})


def _recording(number: int, values: np.ndarray) -> Recording:
    values = np.asarray(values, dtype=np.float64)
    return Recording(f"recording {number}", values, np.full(len(values), ""))


def load_classifier(folder: str | Path) -> TrainedClassifier:
    """The trained model of a run folder; everything is checked against the header before a weight is allocated.

    Raises:
        UserError: no such run, a newer version's, or weights that are damaged or disagree with their configuration.
    """
    run = Run.open(Path(folder))
    trained = classifier(run)
    return replace(trained, limit=_read_limit(run, len(trained.classes)))


def classifier(run: Run) -> TrainedClassifier:
    """The same, before there is a limit of alarms."""
    check_task(run, "classify")

    def build(about: dict[str, Any]) -> SequenceClassifier:
        config, preparation = dict(about["model"]), SequencePreparation.from_config(about["preparation"])
        classes = about["classes"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise ValueError("its classes are not a list of names")
        if len(classes) != config["classes"] or len(set(classes)) < len(classes):
            raise ValueError(f"it names {len(set(classes))} classes and its model has {config['classes']}")
        if len(about["columns"]) != preparation.channels:
            raise ValueError(f"it names {len(about['columns'])} channels of {preparation.channels}")
        if preparation.input_size != config["input_size"]:
            raise ValueError(f"its data have {preparation.input_size} features, the model {config['input_size']}")
        if not isinstance(about["window"], int) or isinstance(about["window"], bool) or about["window"] < 0:
            raise ValueError(f"its window is {about['window']!r}")
        return SequenceClassifier(**config)

    model = load_model(run, build)
    about, _ = read_about(run.weights_file)
    preparation = SequencePreparation.from_config(about["preparation"])
    schema = Schema.from_config(about["schema"]) if about.get("schema") else None
    classes, columns = tuple(about["classes"]), tuple(about["columns"])
    return TrainedClassifier(model, classes, columns, schema, preparation, about["window"], run)


def _read_limit(run: Run, classes: int) -> AlarmLimit | None:
    """What was set on the validation part; None where no share of false alarms was asked for."""
    settings, _ = read_settings(run, "classify", ClassifySettings, dict)
    if not settings.false_alarms:
        return None
    return run.read_fitted(ALARMS, lambda config: AlarmLimit.from_config(config, classes))
