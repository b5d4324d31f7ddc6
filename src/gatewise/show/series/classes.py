"""The pictures of a classifier's run."""

from __future__ import annotations

import polars as pl

from gatewise.show.curve import draw_run
from gatewise.show.series.confusion import draw_confusion
from gatewise.tasks.classify import scores
from gatewise.training import Run
from gatewise.training.checkpoint import read_about
from gatewise.training.classify_run import PREDICTIONS


def draw_classify_run(run: Run) -> None:
    """``curve.svg``, and the confusion matrix of the test part: ``confusion.svg`` and ``.png``."""
    draw_run(run, "nats")
    if not (run.folder / PREDICTIONS).exists():  # nothing was measured
        return
    classes = read_about(run.weights_file)[0]["classes"]
    table = pl.read_csv(run.folder / PREDICTIONS, infer_schema=False)
    numbers = {name: number for number, name in enumerate(classes)}
    truth, predicted = (table[column].replace_strict(numbers).to_numpy() for column in ("observed", "predicted"))
    found = scores(truth, predicted, classes)
    title = f"{run.folder.name}, test part: accuracy {found['accuracy']:.3f}, macro-F1 {found['macro_f1']:.3f}"
    draw_confusion(found["confusion"], classes, run.folder, title)
