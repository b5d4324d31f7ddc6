"""``train text`` from end to end: text, model, held-out measure, samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gatewise import scratch
from gatewise.engines import which
from gatewise.layers import LanguageModel, initialise_like_the_book
from gatewise.tasks import Sampling, longest_copy, perplexity
from gatewise.training.checkpoint import write_text
from gatewise.training.learner import Learner, torch_learner
from gatewise.training.lifecycle import Job, Watch, train
from gatewise.training.memory import check_memory
from gatewise.training.numpy_learner import NumpyLearner
from gatewise.training.progress import Reporter
from gatewise.training.run import Run
from gatewise.training.text_settings import NUMPY_ENGINE, TextSettings
from gatewise.training.text_source import (
    Prepared,
    Source,
    prepare,
    read_tokenizer,
    same_text,
)
from gatewise.training.trained_text import TrainedText, load_text_run
from gatewise.training.weights import check_equations, fingerprint


class TextTraining:
    """Language models."""

    name = "text"
    settings = TextSettings

    def source(self, data: dict[str, Any]) -> Source:
        return Source.from_config(data)

    def prepare(self, source: Source, settings: TextSettings, run: Run | None, say: Callable[[str], None]) -> Job:
        started = run is not None and run.last_file.exists()
        tokenizer = read_tokenizer(run.last_file) if run is not None and started else None
        text = source.read() if run is None else same_text(run, source)
        prepared = prepare(text, settings, tokenizer, say)
        learner = _learner(settings, prepared)
        model, task = learner.model(), prepared.task
        if run is not None and started:
            check_equations(run.last_file, model)
        about = {
            "model": model_config(settings, prepared.tokenizer.size),
            "equations": fingerprint(model),
            "tokenizer": prepared.tokenizer.to_config(),
        }
        introduction = (
            f"{source.name}: {len(task.train):,} tokens to learn, {len(task.heldout):,} held out, "
            f"vocabulary {prepared.tokenizer.size}; {settings.cell}, {settings.layers} x {settings.hidden} units"
        )

        def measure(run: Run, report: Reporter, check: Callable[[], None]) -> Mapping[str, Any]:
            return _measure(run, prepared, report, check)

        name = f"{source.name}-{'-'.join(settings.cells)}"
        return Job(name, source.to_config(text), learner, _engine(learner), about, [introduction], measure)

    def load(self, run: Run) -> TrainedText:
        return load_text_run(run.folder)


def train_text(
    source: Source, settings: TextSettings, out: Path | None = None, watch: Watch | None = None
) -> tuple[Run, dict[str, Any]]:
    """Train a language model in a new run folder; see :func:`gatewise.training.lifecycle.train`."""
    return train(TextTraining(), source, settings, out, watch)


def model_config(settings: TextSettings, vocabulary_size: int) -> dict[str, Any]:
    """What :class:`gatewise.LanguageModel` is made with."""
    return {
        "vocabulary_size": vocabulary_size,
        **settings.stack(),
        "embedding_size": settings.embedding_for(vocabulary_size),
        "dropout": settings.dropout,
        **settings.noise(),
    }


def _learner(settings: TextSettings, prepared: Prepared) -> Learner:
    size = prepared.tokenizer.size
    config = model_config(settings, size)
    check_memory(lambda: LanguageModel(**config), f"--hidden {settings.hidden} --layers {settings.layers}")
    torch.manual_seed(settings.seed)
    if settings.engine == NUMPY_ENGINE:
        scale = 0.01 if settings.init == "d2l" else None
        gru = scratch.GRU(size, settings.sizes[0], size, scale, settings.seed, np.float32)
        return NumpyLearner(gru, prepared.task, settings.clip)
    precision = None if settings.precision == "float32" else settings.precision
    model = LanguageModel(**config, engine=settings.engine, precision=precision)
    if settings.init == "d2l":
        initialise_like_the_book(model)
    return torch_learner(model, prepared.task, settings)


def _engine(learner: Learner) -> tuple[str, str]:
    """An engine that cannot run this cell is refused here, before anything is written."""
    if isinstance(learner, NumpyLearner):
        return NUMPY_ENGINE, "the textbook's GRU, gradients derived by hand"
    return which(learner.model())


def _measure(run: Run, prepared: Prepared, report: Reporter, check: Callable[[], None]) -> Mapping[str, Any]:
    """The loss on all of the held-out text; three samples."""
    trained = load_text_run(run.folder)
    with report.counting("measuring the held-out text", len(prepared.task.heldout)) as counted:

        def progress(amount: int) -> None:
            counted(amount)
            check()

        heldout = prepared.task.heldout_loss(trained.model, progress)
    _write_samples(run, trained, prepared, report)
    return {"heldout_loss": heldout, "heldout_perplexity": perplexity(heldout)}


def _write_samples(run: Run, trained: TrainedText, prepared: Prepared, report: Reporter, length: int = 300) -> None:
    """Three samples from the start of the training text, each with its longest verbatim copy."""
    prompt = trained.default_prompt(prepared.train_text)
    parts = []
    settings = [Sampling(greedy=True), Sampling(temperature=0.7, seed=1), Sampling(temperature=1.0, seed=2)]
    with report.counting("writing samples", len(settings)) as progress:
        for sampling in settings:
            text = "".join(trained.generate(prompt, length, sampling))
            how = "greedy" if sampling.greedy else f"temperature {sampling.temperature}, seed {sampling.seed}"
            copied = longest_copy(text, prepared.train_text)
            parts.append(f"--- {how}; longest verbatim copy {len(copied)} characters: {copied!r}\n{prompt}{text}\n")
            progress(1)
    write_text(run.samples_file, "\n".join(parts))
