"""Where the text of a run comes from, and how it is made ready for training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewise.data import (
    UNKNOWN,
    Tokenizer,
    clean_like_the_book,
    fit_tokenizer,
    python_reference,
    read_text,
    tokenizer_from_config,
)
from gatewise.errors import UserError
from gatewise.tasks import TextTask
from gatewise.training.checkpoint import read_about
from gatewise.training.run import Run, recordable
from gatewise.training.settings import read_settings
from gatewise.training.text_settings import TextSettings

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
            "path": recordable(self.path) if self.path else "",
            "encoding": self.encoding,
            "characters": len(text),
            "sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        }

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> Source:
        return cls(Path(data["path"]) if data.get("path") else None, data.get("encoding", "utf-8"))


def split(text: str, settings: TextSettings) -> tuple[str, str]:
    """The text, cleaned, as what is learned and what is held out: its end."""
    if settings.clean == "d2l":
        text = clean_like_the_book(text)
    if settings.train_tokens and settings.tokens != "char":
        raise UserError("--train-tokens counts characters: it goes with --tokens char; use --heldout instead")
    cut = settings.train_tokens or len(text) - int(len(text) * settings.heldout)
    if cut > len(text):
        raise UserError(f"--train-tokens {cut}: the text has {len(text):,} characters only; give less")
    if not cut:
        raise UserError("the text is empty once cleaned; give another, or leave --clean out")
    return text[:cut], text[cut:]


@dataclass(frozen=True)
class Prepared:
    """A text made ready for training."""

    tokenizer: Tokenizer
    task: TextTask
    train_text: str


def prepare(
    text: str,
    settings: TextSettings,
    tokenizer: Tokenizer | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Prepared:
    """Clean, split, tokenise, cut into windows.

    The vocabulary is that of the training part; the book's is that of the whole novel, so ``clean="d2l"`` takes it.
    A run that exists has its tokenizer already, and keeps it.
    """
    train_text, heldout_text = split(text, settings)
    if tokenizer is None:
        whole = train_text + heldout_text if settings.clean == "d2l" else train_text
        tokenizer = fit_tokenizer(settings.tokens, whole, vocabulary_size=settings.vocabulary or None)
    train, heldout = tokenizer.encode(train_text), tokenizer.encode(heldout_text)
    batch = settings.batch
    # A random partition may lose a window to its offset.
    usable = len(train) - (settings.steps if settings.partition == "random" else 1)
    rows = usable // settings.steps
    if 1 <= rows < batch:
        say(f"the text has {len(train):,} tokens: {rows} rows of {settings.steps} instead of {batch}")
        batch = rows
    task = TextTask(train, heldout, batch, settings.steps, settings.partition, settings.seed)
    unknown = 0 if tokenizer.unk_id is None else int((heldout == tokenizer.unk_id).sum())
    if unknown:
        say(f"{unknown:,} of {len(heldout):,} held-out tokens are unknown to the training text and count as {UNKNOWN}")
    return Prepared(tokenizer, task, train_text)


def recorded(run: Run) -> tuple[TextSettings, Source]:
    """The settings and the source of a text run."""
    return read_settings(run, "text", TextSettings, Source.from_config)


def same_text(run: Run, source: Source) -> str:
    """The source's text, if it is still the one the run was trained on."""
    text = source.read()
    recorded = run.read_config()["data"].get("sha256")
    if source.to_config(text)["sha256"] != recorded:
        raise UserError(
            f"{source.path or PYTHON_REFERENCE}: is not the text that {run.folder} was trained on; bring that back"
        )
    return text


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer that a run's file records: fitting it anew need not number the tokens alike."""
    about, _ = read_about(path)
    try:
        return tokenizer_from_config(about["tokenizer"])
    except (KeyError, UserError) as error:
        raise UserError(f"{path}: records no tokenizer ({error}); use another copy, or train anew") from None
