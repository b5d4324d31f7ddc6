"""``train frames`` from end to end: videos, model, held-out measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch

from gatewise.engines import which
from gatewise.layers import FrameForecaster
from gatewise.tasks.frames import FramesTask, Windows, cross_entropy
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.frames_source import FramesSource, footage, same_clips
from gatewise.training.learner import torch_learner
from gatewise.training.lifecycle import Job
from gatewise.training.memory import check_memory, kept_for_backward
from gatewise.training.progress import Reporter
from gatewise.training.run import Run
from gatewise.training.trained_frames import TrainedFrames, load_frames_run
from gatewise.training.weights import check_equations, fingerprint


class FramesTraining:
    """Forecasters of frames."""

    name = "frames"
    settings = FramesSettings

    def source(self, data: dict[str, Any]) -> FramesSource:
        return FramesSource.from_config(data)

    def prepare(
        self, source: FramesSource, settings: FramesSettings, run: Run | None, say: Callable[[str], None]
    ) -> Job:
        clips = source.read(settings) if run is None else same_clips(run, source, settings)
        found = footage(clips, settings)
        task = FramesTask(found, settings.inputs, settings.outputs)
        config = model_config(settings, task.heldout.shape[2])
        _check_memory(config, settings, task)
        torch.manual_seed(settings.seed)
        model = FrameForecaster(**config, engine=settings.engine)
        model.set_brightness(task.batches(0)[0].mean().item())
        engine = which(model)  # one that cannot run this cell is refused here, before anything is written
        if run is not None and run.last_file.exists():
            check_equations(run.last_file, model)
        about = {
            "model": config, "equations": fingerprint(model), "inputs": settings.inputs, "outputs": settings.outputs,
            "size": settings.size,
        }  # fmt: skip
        channels, height, width = task.heldout.shape[2:]
        kind = "synthetic motion of real digits" if source.path is None else f"{len(clips)} video(s)"
        coloured = "" if channels == 1 else f" in {channels} channels"
        introduction = (
            f"{source.name} ({kind}): {settings.inputs} frames given, {settings.outputs} to predict, {width} x {height}"
            f" pixels{coloured}, {task.heldout.shape[1]} sequences held out; "
            f"{settings.cell}, {settings.layers} x {settings.hidden} channels"
        )
        introductions = [introduction]
        if isinstance(found, Windows) and not found.chosen_on:
            introductions.append("few frames: weights are chosen on some of the sequences that are measured in the end")

        def measure(run: Run, report: Reporter, check: Callable[[], None]) -> Mapping[str, Any]:
            return _measure(load_frames_run(run.folder), task, report, check)

        learner = torch_learner(model, task, settings)
        name = f"{source.name}-{'-'.join(settings.cells)}"
        return Job(name, source.to_config(clips), learner, engine, about, introductions, measure)

    def load(self, run: Run) -> TrainedFrames:
        return load_frames_run(run.folder)


def _check_memory(config: Mapping[str, Any], settings: FramesSettings, task: FramesTask) -> None:
    """Refuse a model, or a training step, that this machine has no room for."""
    shape = (task.batch_size, *task.heldout.shape[2:])

    def kept(model: FrameForecaster, inputs: int, outputs: int) -> int:
        frames = torch.zeros(inputs + outputs, *shape, device="meta")
        return kept_for_backward(model, lambda: cross_entropy(model, frames, inputs, outputs))

    def of_a_step(model: FrameForecaster) -> int:
        """A layer does the same at every step: two steps tell what each further one adds."""
        first = kept(model, 1, 1)
        more = (settings.inputs - 1, kept(model, 2, 1) - first), (settings.outputs - 1, kept(model, 1, 2) - first)
        return first + sum(steps * each for steps, each in more)

    height, width = shape[-2:]
    what = f"--batch {settings.batch} --hidden {settings.hidden} --layers {settings.layers}"
    remedy = f"reduce the frames of {width} x {height} pixels with --size, or lower --batch or --hidden"
    check_memory(lambda: FrameForecaster(**config), what, (of_a_step, remedy))


def model_config(settings: FramesSettings, channels: int) -> dict[str, Any]:
    """What :class:`gatewise.layers.FrameForecaster` is made with."""
    stack = settings.stack()
    return {
        "channels": channels, "cell": stack["cell"], "hidden_channels": stack["hidden_size"],
        "num_layers": stack["num_layers"], "kernel_size": settings.kernel, "patch": settings.patch,
        "dropout": settings.dropout, **settings.noise(),
    }  # fmt: skip


def _measure(
    trained: TrainedFrames, task: FramesTask, report: Reporter, check: Callable[[], None]
) -> Mapping[str, Any]:
    """The scores on all that is held out, the baselines' beside them."""
    with report.counting("measuring what is held out", task.heldout.shape[1]) as counted:

        def progress(amount: int) -> None:
            counted(amount)
            check()

        score, baselines = task.measure(trained.model, progress)
    return {**asdict(score), "baselines": {name: asdict(one) for name, one in baselines.items()}}
