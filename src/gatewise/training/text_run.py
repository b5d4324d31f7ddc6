"""``train text`` from end to end: text, model, loop, held-out measure, samples; and a finished run for use."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gatewise import scratch
from gatewise.cells import CELLS
from gatewise.data import (
    Tokenizer,
    clean_like_the_book,
    fit_tokenizer,
    python_reference,
    read_text,
    tokenizer_from_config,
)
from gatewise.engines import which
from gatewise.errors import UserError
from gatewise.layers import LanguageModel, initialise_like_the_book
from gatewise.tasks import Sampling, TextTask, generate, longest_copy, stream_loss
from gatewise.training.checkpoint import read_about, read_tensors, write_text
from gatewise.training.fit import Care, Journal, fit, resume
from gatewise.training.learner import Learner, NumpyLearner, TorchLearner
from gatewise.training.metrics import finite, perplexity
from gatewise.training.progress import Reporter, Silent
from gatewise.training.run import Run
from gatewise.training.schedule import Schedule
from gatewise.training.settings import NUMPY_ENGINE, TextSettings

RowLog = Callable[[Run, dict[str, Any]], None]

PYTHON_REFERENCE = "python-reference"
"""The name of the text that every CPython carries."""


@dataclass(frozen=True)
class Source:
    """Where the text of a run comes from.

    Attributes:
        path: a text file, or None for the language reference of Python itself.
        encoding: of the file.
    """

    path: Path | None = None
    encoding: str = "utf-8"

    @property
    def name(self) -> str:
        return self.path.stem if self.path else PYTHON_REFERENCE

    def read(self) -> str:
        return read_text(self.path, self.encoding) if self.path else python_reference()

    def to_config(self, text: str) -> dict[str, Any]:
        return {
            "path": str(self.path.resolve()) if self.path else "",
            "encoding": self.encoding,
            "characters": len(text),
            "sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        }

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> Source:
        return cls(Path(data["path"]) if data.get("path") else None, data.get("encoding", "utf-8"))


@dataclass(frozen=True)
class Prepared:
    """A text made ready for training."""

    tokenizer: Tokenizer
    task: TextTask
    train_text: str


def prepare(text: str, settings: TextSettings, say: Callable[[str], None] = lambda line: None) -> Prepared:
    """Clean, split, tokenise, cut into windows.

    The vocabulary is that of the training part; the book's is that of the whole novel, so ``clean="d2l"`` takes it.
    """
    if settings.clean == "d2l":
        text = clean_like_the_book(text)
    if settings.train_tokens and settings.tokens != "char":
        raise UserError("--train-tokens counts characters: it goes with --tokens char; use --heldout instead")
    cut = settings.train_tokens or len(text) - int(len(text) * settings.heldout)
    if cut > len(text):
        raise UserError(f"--train-tokens {cut}: the text has {len(text):,} characters only; give less")
    train_text, heldout_text = text[:cut], text[cut:]
    if not train_text:
        raise UserError("the text is empty once cleaned; give another, or leave --clean out")
    tokenizer = fit_tokenizer(
        settings.tokens,
        text if settings.clean == "d2l" else train_text,
        vocabulary_size=settings.vocabulary or None,
    )
    train, heldout = tokenizer.encode(train_text), tokenizer.encode(heldout_text)
    batch = settings.batch
    # A random partition may lose a window to its offset.
    usable = len(train) - (settings.steps if settings.partition == "random" else 1)
    rows = usable // settings.steps
    if 1 <= rows < batch:
        say(f"the text has {len(train):,} tokens: {rows} rows of {settings.steps} instead of {batch}")
        batch = rows
    task = TextTask(train, heldout, batch, settings.steps, settings.partition, settings.seed)
    return Prepared(tokenizer, task, train_text)


def _model_config(settings: TextSettings, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "vocabulary_size": tokenizer.size,
        "cell": settings.cell,
        "hidden_size": settings.hidden,
        "num_layers": settings.layers,
        "embedding_size": settings.embedding,
        "dropout": settings.dropout,
    }


def _learner(settings: TextSettings, prepared: Prepared) -> Learner:
    size = prepared.tokenizer.size
    config = _model_config(settings, prepared.tokenizer)
    _check_memory(settings, config)
    torch.manual_seed(settings.seed)
    if settings.engine == NUMPY_ENGINE:
        scale = 0.01 if settings.init == "d2l" else None
        gru = scratch.GRU(size, settings.hidden, size, scale, settings.seed, np.float32)
        return NumpyLearner(gru, prepared.task, settings.clip)
    model = LanguageModel(**config, engine=settings.engine)
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
    source: Source,
    settings: TextSettings,
    out: Path | None = None,
    report: Reporter | None = None,
    on_row: RowLog | None = None,
) -> tuple[Run, dict[str, Any]]:
    """Train a language model in a new run folder; the run and its summary.

    Raises:
        UserError: the text cannot be used, the folder is taken, the loss stopped being finite.
        Interrupted: Ctrl-C or SIGTERM; the run can be resumed.
    """
    report = report or Silent()
    _use_threads(settings)
    text = source.read()
    prepared = prepare(text, settings, report.say)
    learner = _learner(settings, prepared)
    run = Run.create(out, f"{source.name}-{settings.cell}")
    with run.lock():
        run.write_config("text", asdict(settings), source.to_config(text))
        journal = Journal.for_epochs_of(len(prepared.task.batches(0)))
        return run, _train(run, source, settings, prepared, learner, journal, report, on_row)


def resume_text(
    folder: Path, report: Reporter | None = None, on_row: RowLog | None = None
) -> tuple[Run, dict[str, Any]]:
    """Go on with a run that was interrupted, exactly as it would have gone on."""
    report = report or Silent()
    run = Run.open(folder)
    with run.lock():
        settings, source = read_settings(run)
        _use_threads(settings)
        text = _same_text(run, source)
        prepared = prepare(text, settings, report.say)
        learner = _learner(settings, prepared)
        if run.last_file.exists():
            journal = resume(learner, run)
        else:
            journal = Journal.for_epochs_of(len(prepared.task.batches(0)))
        if journal.finished and run.summary_file.exists():
            raise UserError(f"{folder}: this run is finished; train a new one, or `gatewise generate {folder}`")
        report.say(f"{folder}: going on from step {journal.position.step}")
        return run, _train(run, source, settings, prepared, learner, journal, report, on_row)


def _use_threads(settings: TextSettings) -> None:
    if settings.threads:
        torch.set_num_threads(settings.threads)


def read_settings(run: Run) -> tuple[TextSettings, Source]:
    """The settings and the source that a run's ``config.toml`` records."""
    config = run.read_config()
    if config["task"] != "text":
        raise UserError(f"{run.config_file}: a run of the task '{config['task']}', not of text; give a text run")
    _check_cell(run.config_file, config.get("settings"))
    try:
        return TextSettings(**config["settings"]), Source.from_config(config["data"])
    except UserError as error:
        raise UserError(f"{run.config_file}: {error}") from None
    except (TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{run.config_file}: not this version's settings: {error}; mend or train anew") from None


def _check_cell(path: Path, model: Any) -> None:
    cell = model.get("cell") if isinstance(model, dict) else None
    if isinstance(cell, str) and cell not in CELLS:
        raise UserError(f"{path}: no cell is called '{cell}' here; give the file that registers it: --cell-file FILE")


def _same_text(run: Run, source: Source) -> str:
    text = source.read()
    recorded = run.read_config()["data"].get("sha256")
    if source.to_config(text)["sha256"] != recorded:
        raise UserError(f"{source.path or PYTHON_REFERENCE}: is not the text that {run.folder} was trained on")
    return text


def _train(
    run: Run, source: Source, settings: TextSettings, prepared: Prepared, learner: Learner, journal: Journal,
    report: Reporter, on_row: RowLog | None,
) -> dict[str, Any]:  # fmt: skip
    model = learner.model()
    parameters = sum(p.numel() for p in model.parameters())
    engine, reason = (NUMPY_ENGINE, "gradients derived by hand") if isinstance(learner, NumpyLearner) else which(model)
    report.say(
        f"{source.name}: {len(prepared.task.train):,} tokens to learn, {len(prepared.task.heldout):,} held out, "
        f"vocabulary {prepared.tokenizer.size}"
    )
    report.say(f"{settings.cell}: {parameters:,} parameters, engine {engine} ({reason})")
    about = {"task": "text", "model": _model_config(settings, prepared.tokenizer)}
    about["tokenizer"] = prepared.tokenizer.to_config()
    care = Care(settings.evaluations, settings.patience, settings.keep == "best", on_row and partial(on_row, run))
    fit(learner, run, _schedule(settings, prepared.task), care, journal, report, about)

    trained = load_text_run(run.folder)
    task = prepared.task
    with report.counting("measuring the held-out text", len(task.heldout)) as progress:
        heldout = task.heldout_loss(trained.model, progress)
    position, loss = journal.position, journal.train_loss()
    summary = {
        "task": "text", "cell": settings.cell, "engine": engine, "parameters": parameters,
        "seconds": round(position.seconds, 2), "steps": position.step,
        "tokens_per_second": round(position.tokens / max(position.seconds, 1e-9)), "train_loss": loss,
        "train_perplexity": perplexity(loss), "heldout_loss": heldout, "heldout_perplexity": perplexity(heldout),
    }  # fmt: skip
    _write_samples(run, trained, prepared, report)
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


@dataclass(frozen=True)
class TrainedText:
    """A trained language model with its tokenizer.

    Attributes:
        model: the network.
        tokenizer: text to tokens and back.
        run: the folder it came from.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    run: Run

    def generate(self, prompt: str, length: int = 300, sampling: Sampling | None = None) -> Iterator[str]:
        """Write on from ``prompt``, piece by piece; ``"".join(...)`` gives the whole."""
        if self._cleaned_like_the_book():
            prompt = clean_like_the_book(prompt) + (" " if prompt[-1:].isspace() else "")
        return generate(self.model, self.tokenizer, prompt, length, sampling)

    def training_text(self) -> str | None:
        """The text it learned, as it learned it; None where it is gone or changed."""
        try:
            return self._prepared().train_text
        except UserError:
            return None

    def default_prompt(self, source: str | None) -> str:
        """The first words of the training text, or the commonest token where the text is gone."""
        prompt = " ".join((source or "")[:200].split()[:3])
        if not prompt or self.tokenizer.unknown(prompt) is not None:
            prompt = self.tokenizer.decode([0 if self.tokenizer.unk_id is None else 1])
        return prompt

    def heldout_loss(self, report: Reporter | None = None) -> tuple[float, int]:
        """Nats per token on the run's own held-out text, and how many tokens that is."""
        task = self._prepared().task
        if not len(task.heldout):
            raise UserError(f"{self.run.folder}: held nothing out; give a text to evaluate on")
        with (report or Silent()).counting("measuring", len(task.heldout)) as progress:
            return task.heldout_loss(self.model, progress), len(task.heldout)

    def loss_on(self, text: str, report: Reporter | None = None) -> tuple[float, int]:
        """Nats per token on another text, and how many tokens that is; the first token is context only."""
        if self._cleaned_like_the_book():
            text = clean_like_the_book(text)
        ids = self.tokenizer.encode(text)
        if len(ids) < 2:
            raise UserError("the text has fewer than two tokens: nothing to predict")
        with (report or Silent()).counting("measuring", len(ids) - 1) as progress:
            return stream_loss(self.model, ids, progress), len(ids) - 1

    def _prepared(self) -> Prepared:
        settings, source = read_settings(self.run)
        return prepare(_same_text(self.run, source), settings)

    def _cleaned_like_the_book(self) -> bool:
        return read_settings(self.run)[0].clean == "d2l"


def load_text_run(folder: str | Path) -> TrainedText:
    """The trained model of a run folder.

    Everything is checked against the file's header before a weight is allocated.

    Raises:
        UserError: no such run, a newer version's, or weights that are damaged or disagree with their configuration.
    """
    run = Run.open(Path(folder))
    run.read_config()
    about, found = read_about(run.weights_file)
    _check_cell(run.weights_file, about.get("model"))
    try:
        tokenizer = tokenizer_from_config(about["tokenizer"])
        config = dict(about["model"])
        if config["num_layers"] > len(found):  # without building them
            raise ValueError("more layers than tensors")
        with torch.device("meta"):
            shapes = {n: tuple(t.shape) for n, t in LanguageModel(**config).state_dict().items()}
        if tokenizer.size != config["vocabulary_size"]:
            raise ValueError(f"the tokenizer has {tokenizer.size} tokens, the model {config['vocabulary_size']}")
    except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError, AttributeError) as error:
        raise UserError(
            f"{run.weights_file}: its configuration does not describe a model ({error}); use another copy"
        ) from None
    tensors = read_tensors(run.weights_file, shapes)
    model = LanguageModel(**config)
    model.load_state_dict(tensors)
    return TrainedText(model.eval(), tokenizer, run)
