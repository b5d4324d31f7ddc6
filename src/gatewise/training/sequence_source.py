"""Where the sequences of an autoencoder come from, lines of a text or series of numbers, made ready for training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gatewise.data import (
    UNKNOWN,
    Standardiser,
    Tokenizer,
    fit_tokenizer,
    part_lines,
    part_series,
    read_series,
    tokenizer_from_config,
)
from gatewise.errors import UserError
from gatewise.tasks import AutoencodeTask
from gatewise.training.autoencode_settings import AutoencodeSettings
from gatewise.training.run import recordable
from gatewise.training.text_source import Source

Codec = Tokenizer | Standardiser
"""From a line or a series to numbers a network takes (``encode``), and back (``decode``)."""


@dataclass(frozen=True)
class SeriesSource:
    """A ``.npy`` file of series; as :class:`Source` is a text.

    Attributes:
        path: the file.
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    def read(self) -> np.ndarray:
        return read_series(self.path)

    def to_config(self, values: np.ndarray) -> dict[str, Any]:
        return {
            "path": recordable(self.path),
            "shape": list(values.shape),
            "sha256": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest(),
        }


SequenceSource = Source | SeriesSource


def source_of(path: Path | None, encoding: str = "utf-8") -> SequenceSource:
    """A ``.npy`` file is of series, any other a text."""
    return SeriesSource(path) if path is not None and path.suffix == ".npy" else Source(path, encoding)


def source_from_config(data: dict[str, Any]) -> SequenceSource:
    """The source that a run's ``config.toml`` records."""
    return SeriesSource(Path(data["path"])) if "shape" in data else Source.from_config(data)


def same_data(source: SequenceSource, recorded: Mapping[str, Any], folder: Path) -> str | np.ndarray:
    """The source's text or series, if they are still those a run was trained on."""
    content = source.read()
    if source.to_config(content)["sha256"] != recorded.get("sha256"):  # type: ignore[arg-type]
        raise UserError(f"{source.path}: is not what {folder} was trained on; bring that back")
    return content


@dataclass(frozen=True)
class PreparedSequences:
    """Sequences made ready for training.

    Attributes:
        codec: to numbers and back.
        task: with the sequences to learn and those held out.
    """

    codec: Codec
    task: AutoencodeTask

    @property
    def is_series(self) -> bool:
        return isinstance(self.codec, Standardiser)

    def learned_lines(self) -> list[str]:
        """The lines to learn, as the model writes: what a sample may have copied."""
        return [self.codec.decode(line) for line in self.task.train]  # type: ignore[misc]  (no series have lines)


def prepare_sequences(
    content: str | np.ndarray,
    settings: AutoencodeSettings,
    codec: Codec | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> PreparedSequences:
    """Part, tokenise or standardise by the training part. A run that exists has its codec already, and keeps it.

    Raises:
        UserError: too few sequences, or none short enough.
    """
    if isinstance(content, str):
        codec, train, heldout = _lines(content, settings, codec, say)
        unit = "tokens"
    else:
        learned, rest = part_series(content, settings.heldout, settings.window)
        codec = codec or Standardiser.fitted(learned)
        train, heldout = [codec.encode(one) for one in learned], [codec.encode(one) for one in rest]  # type: ignore[arg-type]
        unit = "steps"
    if settings.patience and not heldout:
        raise UserError(f"--patience {settings.patience}: nothing is left to hold out; give a larger --heldout")
    task = AutoencodeTask(train, heldout, settings.batch, settings.objective(), unit, settings.seed)
    return PreparedSequences(codec, task)


def _lines(
    text: str, settings: AutoencodeSettings, codec: Codec | None, say: Callable[[str], None]
) -> tuple[Tokenizer, list[Tensor], list[Tensor]]:
    learned, rest = part_lines(text, settings.heldout, say)
    tokenizer = codec if isinstance(codec, Tokenizer) else None
    if tokenizer is None:
        whole = " ".join(learned)  # and not by line ends, which no line has
        tokenizer = fit_tokenizer(settings.tokens, whole, vocabulary_size=settings.vocabulary_size())
    lines = [tokenizer.encode(line) for line in learned]
    train = _fitting(lines, settings.longest)
    if len(train) < 2:
        raise UserError(
            f"{len(train)} of {len(lines):,} lines have 2 to {settings.longest} tokens: raise --longest, or break the "
            "lines"
        )
    if len(train) < len(lines):
        say(
            f"{len(lines) - len(train):,} of {len(lines):,} lines to learn are left out, for they have more than "
            f"{settings.longest} tokens (--longest) or fewer than 2"
        )
    heldout = _fitting([tokenizer.encode(line) for line in rest], settings.longest)
    unknown = 0 if tokenizer.unk_id is None else sum(int((line == tokenizer.unk_id).sum()) for line in heldout)
    if unknown:
        count = sum(map(len, heldout))
        say(f"{unknown:,} of {count:,} held-out tokens are unknown to the lines to learn and count as {UNKNOWN}")
    return tokenizer, train, heldout


def _fitting(lines: list[Tensor], longest: int) -> list[Tensor]:
    """A line of one token has no word before another to be dropped, and next to nothing to be told of."""
    return [line for line in lines if 2 <= len(line) <= longest]


def codec_from(about: Mapping[str, Any]) -> Codec:
    """The codec that the file of a run's weights records: fitting it anew need not give the same numbers.

    Raises:
        UserError: it is malformed.
    """
    if "scale" in about:
        return Standardiser.from_config(about["scale"])
    return tokenizer_from_config(about["tokenizer"])


def codec_config(codec: Codec) -> dict[str, Any]:
    """The inverse of :func:`codec_from`."""
    return {"scale" if isinstance(codec, Standardiser) else "tokenizer": codec.to_config()}
