"""``train text`` from end to end: text, model, loop, held-out measure, samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gatewise import scratch
from gatewise.engines import which
from gatewise.errors import UserError
from gatewise.layers import LanguageModel, initialise_like_the_book
from gatewise.tasks import Sampling, TextTask, longest_copy
from gatewise.training.checkpoint import write_text
from gatewise.training.fit import Care, Journal, fit, resume
from gatewise.training.learner import Learner, NumpyLearner, TorchLearner
from gatewise.training.metrics import finite, perplexity
from gatewise.training.progress import Reporter, Silent
from gatewise.training.run import Run
from gatewise.training.schedule import Schedule
from gatewise.training.settings import NUMPY_ENGINE, TextSettings
from gatewise.training.signals import stop_signals
from gatewise.training.text_source import (
    Prepared,
    Source,
    check_equations,
    fingerprint,
    prepare,
    read_settings,
    read_tokenizer,
    same_text,
)
from gatewise.training.trained_text import TrainedText, load_text_run


@dataclass(frozen=True)
class Watch:
    """What is done beside training.

    Attributes:
        report: shows the progress.
        on_row: called with the run and every new row of metrics (TensorBoard).
        on_trained: called with the run before its summary, the last file, is written (pictures).
    """

    report: Reporter = field(default_factory=Silent)
    on_row: Callable[[Run, dict[str, Any]], None] | None = None
    on_trained: Callable[[Run], None] | None = None


def model_config(settings: TextSettings, vocabulary_size: int) -> dict[str, Any]:
    """What :class:`gatewise.LanguageModel` is made with."""
    return {
        "vocabulary_size": vocabulary_size,
        "cell": _one_or_all(settings.cells),
        "hidden_size": _one_or_all(settings.sizes),
        "num_layers": settings.layers,
        "embedding_size": settings.embedding_for(vocabulary_size),
        "dropout": settings.dropout,
        **{name: value for name in _NOISE if (value := getattr(settings, name)) != getattr(_PLAIN, name)},
    }


_NOISE = ("zoneout", "recurrent_dropout", "recurrent_dropout_kind", "weight_drop", "layer_norm")
_NOISE += ("residual", "learned_state")
_PLAIN = TextSettings()


def _one_or_all(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _learner(settings: TextSettings, prepared: Prepared) -> Learner:
    size = prepared.tokenizer.size
    config = model_config(settings, prepared.tokenizer.size)
    _check_memory(settings, config)
    torch.manual_seed(settings.seed)
    if settings.engine == NUMPY_ENGINE:
        scale = 0.01 if settings.init == "d2l" else None
        gru = scratch.GRU(size, settings.sizes[0], size, scale, settings.seed, np.float32)
        return NumpyLearner(gru, prepared.task, settings.clip)
    precision = None if settings.precision == "float32" else settings.precision
    model = LanguageModel(**config, engine=settings.engine, precision=precision)
    if settings.init == "d2l":
        initialise_like_the_book(model)
    which(model)  # an engine that cannot run this cell is refused before anything is written
    if settings.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), settings.lr)
    else:
        matrices = [p for p in model.parameters() if p.dim() > 1]
        others = [p for p in model.parameters() if p.dim() <= 1]
        groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(
            groups, settings.lr, betas=(0.9, 0.99), weight_decay=settings.weight_decay, fused=True
        )
    return TorchLearner(model, prepared.task, optimizer, settings.clip)


def _check_memory(settings: TextSettings, config: dict[str, Any]) -> None:
    """Refuse weights larger than this machine's memory before a byte of them is allocated."""
    with torch.device("meta"):
        needed = sum(p.numel() * p.element_size() for p in LanguageModel(**config).parameters())
    if hasattr(os, "sysconf") and needed > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise UserError(
            f"--hidden {settings.hidden} --layers {settings.layers}: {needed / 1e9:,.0f} GB of weights do not fit into "
            "memory; choose a smaller model"
        )


def _schedule(settings: TextSettings, task: TextTask) -> Schedule:
    return Schedule(
        peak=settings.lr,
        total_steps=settings.epochs * len(task.batches(0)),
        total_seconds=settings.minutes * 60,
        cosine=settings.schedule == "cosine",
        warmup=settings.warmup,
    )


def train_text(
    source: Source, settings: TextSettings, out: Path | None = None, watch: Watch | None = None
) -> tuple[Run, dict[str, Any]]:
    """Train a language model in a new run folder; the run and its summary.

    Raises:
        UserError: the text cannot be used, the folder is taken, the loss stopped being finite.
        Interrupted: Ctrl-C or SIGTERM; the run can be resumed.
    """
    watch = watch or Watch()
    if out is not None:
        Run.check_free(out)
    _use_threads(settings)
    # Recorded, so that a resumed run adds up in the same order.
    settings = replace(settings, threads=torch.get_num_threads())
    text = source.read()
    prepared = prepare(text, settings, say=watch.report.say)
    data = source.to_config(text)
    learner = _learner(settings, prepared)
    run = Run.create(out, f"{source.name}-{'-'.join(settings.cells)}")
    with run.lock():
        run.write_config("text", asdict(settings), data)
        journal = Journal.for_epochs_of(len(prepared.task.batches(0)))
        return run, _train(run, source, settings, prepared, learner, journal, watch)


def resume_text(folder: Path, watch: Watch | None = None) -> tuple[Run, dict[str, Any]]:
    """Go on with a run that was interrupted, exactly as it would have gone on."""
    watch = watch or Watch()
    run = Run.open(folder)
    with run.lock():
        settings, source = read_settings(run)
        _use_threads(settings)
        started = run.last_file.exists()
        tokenizer = read_tokenizer(run.last_file) if started else None
        prepared = prepare(same_text(run, source), settings, tokenizer, watch.report.say)
        learner = _learner(settings, prepared)
        if started:
            check_equations(run.last_file, learner.model())
        journal = resume(learner, run) if started else Journal.for_epochs_of(len(prepared.task.batches(0)))
        if journal.finished and run.summary_file.exists():
            raise UserError(f"{folder}: this run is finished; train a new one, or `gatewise generate {folder}`")
        watch.report.say(f"{folder}: going on from step {journal.position.step}")
        return run, _train(run, source, settings, prepared, learner, journal, watch)


def _use_threads(settings: TextSettings) -> None:
    if settings.threads:
        torch.set_num_threads(settings.threads)


def _train(
    run: Run, source: Source, settings: TextSettings, prepared: Prepared, learner: Learner, journal: Journal,
    watch: Watch,
) -> dict[str, Any]:  # fmt: skip
    """Fit, measure, sample; the summary, written last, says that all of it is done."""
    model, task, report = learner.model(), prepared.task, watch.report
    parameters = sum(p.numel() for p in model.parameters())
    engine, reason = (
        (NUMPY_ENGINE, "the textbook's GRU, gradients derived by hand")
        if isinstance(learner, NumpyLearner)
        else which(model)
    )
    report.say(
        f"{source.name}: {len(task.train):,} tokens to learn, {len(task.heldout):,} held out, "
        f"vocabulary {prepared.tokenizer.size}"
    )
    report.say(f"{settings.cell}: {parameters:,} parameters, engine {engine} ({reason})")
    about = {"task": "text", "model": model_config(settings, prepared.tokenizer.size), "equations": fingerprint(model)}
    about["tokenizer"] = prepared.tokenizer.to_config()
    on_row = watch.on_row and partial(watch.on_row, run)
    care = Care(settings.evaluations, settings.patience, settings.keep == "best", on_row)
    with stop_signals() as stop:
        fit(learner, run, _schedule(settings, task), care, journal, report, about, stop)
        trained = load_text_run(run.folder)
        with report.counting("measuring the held-out text", len(task.heldout)) as counted:

            def progress(amount: int) -> None:
                counted(amount)
                stop.check(run)

            heldout = task.heldout_loss(trained.model, progress)
        _write_samples(run, trained, prepared, report)
        if watch.on_trained is not None:
            watch.on_trained(run)
        stop.check(run)
    position, loss = journal.position, journal.train_loss()
    summary = {
        "task": "text", "cell": settings.cell, "engine": engine, "parameters": parameters,
        "seconds": round(position.seconds, 2), "steps": position.step,
        "tokens_per_second": round(position.tokens / max(position.seconds, 1e-9)), "train_loss": loss,
        "train_perplexity": perplexity(loss), "heldout_loss": heldout, "heldout_perplexity": perplexity(heldout),
    }  # fmt: skip
    run.write_summary(finite(summary))
    return finite(summary)


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
