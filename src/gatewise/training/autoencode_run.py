"""``train autoencode`` from end to end: sequences, model, held-out measure, samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from gatewise.engines import which
from gatewise.tasks import Against, bounded, edits, examine, longest_copy, measure_unconditional, verdict
from gatewise.training.autoencode_settings import AutoencodeSettings
from gatewise.training.checkpoint import read_about, replacing, write_text
from gatewise.training.latent_model import UNCONDITIONAL, build, build_unconditional, model_config
from gatewise.training.learner import torch_learner
from gatewise.training.lifecycle import Job
from gatewise.training.memory import check_memory
from gatewise.training.progress import Reporter
from gatewise.training.run import Run
from gatewise.training.sequence_source import (
    PreparedSequences,
    SequenceSource,
    codec_config,
    codec_from,
    prepare_sequences,
    same_data,
    source_from_config,
)
from gatewise.training.trained_autoencoder import TrainedAutoencoder, load_autoencoder
from gatewise.training.unconditional import train_unconditional
from gatewise.training.weights import check_equations, fingerprint

Check = Callable[[], None]


class AutoencodeTraining:
    """Variational autoencoders of sequences."""

    name = "autoencode"
    settings = AutoencodeSettings

    def source(self, data: dict[str, Any]) -> SequenceSource:
        return source_from_config(data)

    def prepare(
        self, source: SequenceSource, settings: AutoencodeSettings, run: Run | None, say: Callable[[str], None]
    ) -> Job:
        started = run if run is not None and run.last_file.exists() else None
        codec = None if started is None else codec_from(read_about(started.last_file)[0])
        content = source.read() if run is None else same_data(source, run.read_config()["data"], run.folder)
        prepared = prepare_sequences(content, settings, codec, say)
        config = model_config(settings, prepared.codec)
        options = layer_options(settings)
        check_memory(lambda: build(config, **options), f"--hidden {settings.hidden} --layers {settings.layers}")
        torch.manual_seed(settings.seed)
        model = build(config, **options)
        choice = which(model)
        if started is not None:
            check_equations(started.last_file, model)
        task = prepared.task
        about = {
            "model": config, "equations": fingerprint(model), "longest": _longest(settings, prepared),
            **codec_config(prepared.codec),
        }  # fmt: skip
        introduction = (
            f"{source.name}: {len(task.train):,} {'series' if prepared.is_series else 'lines'} to learn, "
            f"{len(task.heldout):,} held out, {prepared.codec.size} {'features' if prepared.is_series else 'tokens'}; "
            f"{settings.model} of {settings.cell}, {settings.layers} x {settings.hidden} units, "
            f"latent {settings.latent}"
        )
        introductions = [introduction]
        if settings.baseline == "train" and len(task.heldout):
            introductions.append(
                f"after the budget, {UNCONDITIONAL[settings.model]} learns for as many steps, to compare with, and "
                "what is held out is measured; --baseline none leaves the comparison out"
            )
        return Job(
            f"{source.name}-{settings.model}-{'-'.join(settings.cells)}", source.to_config(content),  # type: ignore[arg-type]
            torch_learner(model, task, settings), (choice.engine, choice.reason), about, introductions,
            partial(_measure, settings, prepared, config),
        )  # fmt: skip

    def load(self, run: Run) -> TrainedAutoencoder:
        return load_autoencoder(run.folder)


def layer_options(settings: AutoencodeSettings) -> dict[str, Any]:
    """What the layers are told besides what the weights' file records."""
    return {"engine": settings.engine, "precision": None if settings.precision == "float32" else settings.precision}


def _longest(settings: AutoencodeSettings, prepared: PreparedSequences) -> int:
    return max(map(len, prepared.task.train)) if prepared.is_series else settings.longest


def _measure(
    settings: AutoencodeSettings, prepared: PreparedSequences, config: Mapping[str, Any], run: Run, report: Reporter,
    check: Check,
) -> Mapping[str, Any]:  # fmt: skip
    """All of what is held out: the ELBO's parts, the bound, the unconditional model; samples."""
    trained = load_autoencoder(run.folder)
    torch.manual_seed(settings.seed)  # of what follows, also after an interruption
    _write_samples(run, trained, prepared)
    summary: dict[str, Any] = {"model": settings.model}
    heldout = prepared.task.heldout
    if not len(heldout):
        return summary
    with report.counting("measuring what is held out", len(heldout) + len(bounded(heldout))) as counted:

        def progress(amount: int) -> None:
            counted(amount)
            check()

        findings = examine(trained.model, heldout, settings.samples, progress)
    summary |= findings.summary() | {"baselines": {}}
    measured, shuffled = findings.measured, findings.shuffled
    gain = None if shuffled is None else shuffled - measured.reconstruction
    against = None
    if settings.baseline == "train":
        decoder = build_unconditional(config, **layer_options(settings))
        steps = read_about(run.last_file)[0]["journal"]["position"]["step"]
        name, kind = UNCONDITIONAL[settings.model], "series" if prepared.is_series else "lines"
        summary["baselines"] |= {"unconditional": None, "unconditional_of_bounded": None}
        if train_unconditional(decoder, prepared.task, settings, steps, report, check, name):
            without, few = (measure_unconditional(decoder, some) for some in (heldout, bounded(heldout)))
            summary["baselines"] |= {"unconditional": without, "unconditional_of_bounded": few}
            against = Against(without - measured.reconstruction, few + findings.bound, name, kind)
    summary["verdict"] = verdict(summary["kl"], measured.active, settings.latent, gain, against)
    return summary


def _write_samples(run: Run, trained: TrainedAutoencoder, prepared: PreparedSequences, count: int = 10) -> None:
    """Samples and reconstructions of what is held out: ``samples.txt``, or arrays."""
    originals = list(prepared.task.heldout or prepared.task.train)
    originals = originals[:: max(1, len(originals) // count)][:count]
    rebuilt = trained.reconstruct(originals)
    if prepared.is_series:
        pairs = [np.stack([trained.decode(one) for one in both]) for both in zip(originals, rebuilt, strict=True)]
        for name, arrays in (("samples", trained.sample(count)), ("reconstructions", pairs)):
            with replacing(run.folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, np.stack(arrays))
        return
    learned = "\n".join(prepared.learned_lines())
    ways = (("the likeliest token always", 0.0, 0), ("tokens drawn at temperature 0.7", 0.7, 1))
    parts = []
    for how, temperature, seed in ways:
        parts.append(f"--- z drawn from the prior, {how}")
        for text in trained.sample(count, temperature, seed):
            copied = longest_copy(text, learned)
            parts += [text, f"    (longest verbatim copy {len(copied)} characters: {copied!r})"]
        parts.append("")
    parts.append("--- lines and their reconstructions (edits of characters)")
    for original, written in zip(originals, rebuilt, strict=True):
        texts = [trained.decode(one) for one in (original, written)]
        parts += [texts[0], f"    {texts[1]}  ({edits(*texts)} of {len(texts[0])})"]
    write_text(run.samples_file, "\n".join(parts) + "\n")
