"""``train regress`` from end to end: table, model, what it is worth beside predictions without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from gatewise.data.table.preparation import Preparation
from gatewise.data.table.windows import Windows
from gatewise.engines import which
from gatewise.layers.regressor import Regressor
from gatewise.tasks.regress import Linear, Predictions, RegressTask, baselines, predict_all
from gatewise.tasks.scores import scored
from gatewise.training.learner import torch_learner
from gatewise.training.lifecycle import Job
from gatewise.training.memory import check_memory
from gatewise.training.prepared_table import PreparedTable, few_to_choose, prepare_or_recall
from gatewise.training.progress import Reporter
from gatewise.training.regress_settings import RegressSettings
from gatewise.training.residuals import write_residuals
from gatewise.training.run import Run
from gatewise.training.table_file import write_table
from gatewise.training.table_source import TableSource, same_table
from gatewise.training.trained_regressor import TrainedRegressor, load_regress_run, predictions_frame
from gatewise.training.weights import check_equations, fingerprint

PREDICTIONS = "predictions.csv"
"""The file in a run's folder with what was predicted of the test part."""


class RegressTraining:
    """Regressors of tables."""

    name = "regress"
    settings = RegressSettings

    def source(self, data: dict[str, Any]) -> TableSource:
        return TableSource.from_config(data)

    def prepare(
        self, source: TableSource, settings: RegressSettings, run: Run | None, say: Callable[[str], None]
    ) -> Job:
        table = source.read(say) if run is None else same_table(run, source, say)
        prepared = prepare_or_recall(
            run, table, settings, settings.roles, settings.columns(), settings.calendar, say
        )  # fmt: skip
        train, look, test = (_windows(prepared, settings, part) for part in ("train", "validation", "test"))
        for windows, share in zip((train, look, test), settings.parts().parts, strict=True):
            if share:
                windows.require()
        task = RegressTask(train, look, settings.batch, settings.loss, seed=settings.seed)
        config = model_config(settings, prepared)
        check_memory(lambda: Regressor(**config), f"--hidden {settings.hidden} --layers {settings.layers}")
        torch.manual_seed(settings.seed)
        precision = None if settings.precision == "float32" else settings.precision
        model = Regressor(**config, engine=settings.engine, precision=precision)
        engine = which(model)  # one that cannot run this cell is refused here, before anything is written
        if run is not None and run.last_file.exists():
            check_equations(run.last_file, model)
        elif model.steps:
            linear = Linear.fitted(train, model.steps)
            model.begin_linear(torch.from_numpy(linear.coefficients), torch.from_numpy(linear.intercepts))
        about = {"model": config, "equations": fingerprint(model), **prepared.recorded.to_config()}

        def measure(run: Run, report: Reporter, check: Callable[[], None]) -> Mapping[str, Any]:
            return _measure(load_regress_run(run.folder), prepared, (train, look, test), report, check)

        learner = torch_learner(model, task, settings)
        name = f"{source.name}-{settings.model}-{'-'.join(settings.cells)}"
        lines = [_introduction(settings, prepared, (train, look, test), model.steps)]
        lines += few_to_choose(len(look), settings)
        return Job(name, source.to_config(table), learner, engine, about, lines, measure)

    def load(self, run: Run) -> TrainedRegressor:
        return load_regress_run(run.folder)


def model_config(settings: RegressSettings, prepared: PreparedTable) -> dict[str, Any]:
    """What :class:`gatewise.layers.regressor.Regressor` is made with."""
    made = prepared.preparation
    return {
        "input_size": made.input_size, "target_size": len(made.target_names), "lookback": settings.window,
        **settings.model_options(made.input_size), **settings.stack(), "dropout": settings.dropout, **settings.noise(),
    }  # fmt: skip


def _windows(prepared: PreparedTable, settings: RegressSettings, part: str) -> Windows:
    return Windows(prepared.encoded, settings.window, part=part, same_step=True)


def _introduction(
    settings: RegressSettings, prepared: PreparedTable, parts: tuple[Windows, Windows, Windows], steps: int
) -> str:
    made, count = prepared.preparation, len(prepared.series.series)
    names = made.target_names
    targets = ", ".join(names) if len(names) <= 5 else f"{len(names)} targets"
    several = "" if count == 1 else f" of {count} series"
    train, look, test = map(len, parts)
    last = "step" if steps == 1 else f"{steps} steps"
    on_top = f", on top of a linear regression of the last {last}" if steps else ""
    return (
        f"predicting {targets}{several} from {settings.window} steps of {made.input_size} features; windows: {train:,} "
        f"to learn, {look:,} to choose, {test:,} to measure; {settings.model}, {settings.cell}, "
        f"{settings.layers} x {settings.hidden}{on_top}"
    )


def _measure(
    trained: TrainedRegressor, prepared: PreparedTable, parts: tuple[Windows, Windows, Windows], report: Reporter,
    check: Callable[[], None],
) -> Mapping[str, Any]:  # fmt: skip
    """On the validation and the test part, the baselines on the last there is; the test part is written into a file."""
    (train, look, test), made = parts, prepared.preparation
    with report.counting("measuring what was not learned from", len(look) + len(test)) as counted:

        def progress(amount: int) -> None:
            counted(amount)
            check()

        beside = baselines(train) if len(look) + len(test) else {}
        check()
        chosen = predict_all(trained.model, look, {} if len(test) else beside, progress) if len(look) else None
        found = predict_all(trained.model, test, beside, progress) if len(test) else None
    if found is not None:
        write_table(predictions_frame(found, prepared), trained.run.folder / PREDICTIONS)
        write_residuals(trained.run, prepared, found.origins, found.truth, found.predicted)
    last = found or chosen
    return {
        "model": trained.model.kind, "linear": trained.model.steps, "window": train.lookback,
        "inputs": list(made.roles.inputs),
        "targets": list(made.target_names),
        "windows": {"train": len(train), "validation": len(look), "test": len(test)},
        "test": _tree(found, found.predicted, made) if found else None,
        "validation": _tree(chosen, chosen.predicted, made) if chosen else None,
        "baselines": {name: _tree(last, predicted, made) for name, predicted in last.baselines.items()} if last else {},
    }  # fmt: skip


def _tree(part: Predictions, predicted: np.ndarray, preparation: Preparation) -> dict[str, Any]:
    return scored(part.truth, predicted, preparation.target_names, preparation.decode_targets)
