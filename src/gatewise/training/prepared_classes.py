"""Recordings made ready for a classifier: parts, scale, examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewise.data.recordings.examples import Examples, SequencePreparation
from gatewise.data.recordings.parts import Parts
from gatewise.data.table.schema import Schema
from gatewise.errors import UserError, nearest
from gatewise.tasks.classify import ClassifyTask, balanced_weights
from gatewise.training.classify_settings import ClassifySettings
from gatewise.training.recordings_source import AnySource, RecordingsSource, same_data
from gatewise.training.run import Run


@dataclass(frozen=True)
class PreparedClasses:
    """Everything that training and measuring want of the data.

    Attributes:
        parts: the recordings.
        window: rows of a window; 0: whole recordings.
        classes: labels, in the order of their numbers.
        columns: the channels' names.
        schema: of the table they stand in; None where they stand elsewhere.
        preparation: from values to what a network is given.
        train: examples to learn.
        validation: examples to choose the weights with; may be empty.
        test: examples to measure.
    """

    parts: Parts
    window: int
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    schema: Schema | None
    preparation: SequencePreparation
    train: Examples
    validation: Examples
    test: Examples

    def task(self, settings: ClassifySettings) -> ClassifyTask:
        """What trains."""
        weights = None
        if settings.class_weights == "balanced":
            weights = balanced_weights(self.train.classes, len(self.classes))
        return ClassifyTask(
            self.train, self.validation, settings.batch, weights, settings.smoothing, settings.seed
        )  # fmt: skip

    def about(self) -> dict[str, Any]:
        """What the file of the weights says besides the model."""
        return {
            "classes": list(self.classes), "window": self.window, "columns": list(self.columns),
            "schema": self.schema.to_config() if self.schema else {}, "preparation": self.preparation.to_config(),
        }  # fmt: skip


def prepare_classes(
    source: AnySource, settings: ClassifySettings, run: Run | None, about: Mapping[str, Any] | None,
    say: Callable[[str], None],
) -> PreparedClasses:  # fmt: skip
    """Read, part, fit to the training part, cut.

    Args:
        source: where the data lie.
        settings: how they are read and cut.
        run: one to go on with, whose data must be the same.
        about: what its weights say of the preparation, which is kept; None to fit anew.
        say: told of what was done to the data.

    Raises:
        UserError: data that cannot be read, parted or learned from.
    """
    if run is not None and isinstance(source, RecordingsSource):
        found = same_data(run, source, settings, say)
    else:
        found = source.found(settings, say)
    parts, window = found.parts, found.window
    classes = parts.classes()
    _check_names(settings, classes)
    if settings.stride > 1 and not window:
        raise UserError(f"--stride {settings.stride}: whole recordings are classified; give --window too")
    if about is None:
        kinds = settings.kinds(window > 0)
        preparation = SequencePreparation.fitted(
            parts.train, settings.missing, settings.scale, kinds, settings.components()
        )  # fmt: skip
    else:
        preparation = SequencePreparation.from_config(about["preparation"])
    cut = (Examples.over(part, preparation, classes, window, settings.stride) for part in vars(parts).values())
    return PreparedClasses(parts, window, tuple(classes), found.columns, found.schema, preparation, *cut)


def _check_names(settings: ClassifySettings, classes: list[str]) -> None:
    """Raise if a setting names a class that is not there, or leaves too few."""
    named = {"--normal": (settings.normal,) if settings.normal else (), "--report-without": settings.without}
    for option, names in named.items():
        for name in names:
            if name not in classes:
                raise UserError(f"{option} {name}: no such class; {nearest(name, classes)}")
    if len(classes) - len(set(settings.without)) < 2:
        raise UserError(f"--report-without {settings.report_without}: leaves fewer than two classes; name fewer")
