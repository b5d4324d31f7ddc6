"""A finished autoencoder run, for use: sampling, reconstructing, walking from one latent to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gatewise.data import Standardiser, Tokenizer, padded
from gatewise.errors import UserError
from gatewise.layers import Gaussian, LatentModel, SequenceVAE
from gatewise.tasks import MOST_AT_ONCE, way
from gatewise.training.autoencode_settings import AutoencodeSettings
from gatewise.training.checkpoint import read_about
from gatewise.training.latent_model import build
from gatewise.training.run import Run
from gatewise.training.sequence_source import (
    Codec,
    PreparedSequences,
    SequenceSource,
    codec_from,
    prepare_sequences,
    same_data,
    source_from_config,
)
from gatewise.training.settings import check_task, read_settings
from gatewise.training.weights import load_model

_AT_ONCE = 128


@dataclass(frozen=True)
class TrainedAutoencoder:
    """A trained latent model of lines, or of series.

    Attributes:
        model: the network.
        codec: lines or series to numbers and back.
        run: the folder it came from.
        longest: the most steps that it writes.
    """

    model: LatentModel
    codec: Codec
    run: Run
    longest: int

    @property
    def is_series(self) -> bool:
        return isinstance(self.codec, Standardiser)

    def encode(self, one: Any, name: str = "the text") -> Tensor:
        """A line or a series as the model takes it; ``name`` is what a message calls it.

        Raises:
            UserError: a line without a token, a series of other features.
        """
        values = self.codec.encode(one)
        if not len(values):
            raise UserError(f"{name} is empty: give something to encode")
        return values

    def unknown(self, values: Tensor) -> int:
        """How many tokens of an encoded line the run never learned."""
        unk = self.codec.unk_id if isinstance(self.codec, Tokenizer) else None
        return 0 if unk is None else int((values == unk).sum())

    def decode(self, values: Tensor) -> Any:
        """The line, or the series in the file's units."""
        return self.codec.decode(values)

    def sample(self, count: int, temperature: float = 1.0, seed: int = 0) -> list[Any]:
        """Lines or series from the prior: z ~ N(0, I), then step by step at a temperature; 0 is the likeliest step."""
        if not 1 <= count <= MOST_AT_ONCE:
            raise UserError(f"-n {count}: want a whole number of at least 1 and at most {MOST_AT_ONCE:,}")
        if not 0 <= temperature < float("inf"):
            raise UserError(f"--temperature {temperature}: want a number of at least 0")
        drawn = self.model.sample(count, self.longest, temperature, torch.Generator().manual_seed(seed))
        return [self.decode(one) for one in drawn]

    def reconstruct(self, sequences: Sequence[Tensor]) -> list[Tensor]:
        """What the decoder writes from the mean of each q(z | x), the likeliest step always."""
        written = []
        for some in _batches(sequences):
            x, lengths = padded(some)
            most = len(x) if self.is_series else max(self.longest, len(x))
            written += self.model.reconstruct(x, lengths, most)
        return [one[: len(x)] for one, x in zip(written, sequences, strict=True)] if self.is_series else written

    def interpolate(self, start: Tensor, end: Tensor, steps: int, kind: str = "linear") -> list[Any]:
        """Lines or series on the way from the latent of one to that of another, the likeliest step always.

        Raises:
            UserError: a model with a latent at every step, which has no single one to start from.
        """
        ends = self.posterior([start, end]).mean
        latents = way(ends[0], ends[1], steps, kind)
        most = max(len(start), len(end)) if self.is_series else self.longest
        assert isinstance(self.model, SequenceVAE)
        return [self.decode(one) for one in self.model.decoder.write(latents, most)]

    def posterior(self, sequences: Sequence[Tensor]) -> Gaussian:
        """q(z | x) of some sequences, (N, Z)."""
        if not isinstance(self.model, SequenceVAE):
            raise UserError(
                f"{self.run.folder}: a vrnn has a latent at every step, and none of a whole sequence; train with "
                "--model vae to interpolate"
            )
        with torch.inference_mode():
            parts = [self.model.posterior(*padded(some)) for some in _batches(sequences)]
        return Gaussian(*(torch.cat(all_) for all_ in zip(*((q.mean, q.log_variance) for q in parts), strict=True)))

    def learned_lines(self) -> list[str] | None:
        """The lines it learned; None where the text is gone or changed."""
        try:
            return self.prepared().learned_lines()
        except UserError:
            return None

    def prepared(self) -> PreparedSequences:
        """The run's own sequences, those to learn and those held out."""
        settings, source = recorded(self.run)
        content = same_data(source, self.run.read_config()["data"], self.run.folder)
        return prepare_sequences(content, settings, self.codec)


def _batches(sequences: Sequence[Tensor]) -> Iterator[Sequence[Tensor]]:
    """As many as are taken at once, in their order: all of a long text would not fit into memory."""
    for start in range(0, len(sequences), _AT_ONCE):
        yield sequences[start : start + _AT_ONCE]


def recorded(run: Run) -> tuple[AutoencodeSettings, SequenceSource]:
    """The settings and the source of an autoencoder's run."""
    return read_settings(run, "autoencode", AutoencodeSettings, source_from_config)


def load_autoencoder(folder: str | Path) -> TrainedAutoencoder:
    """The trained model of a run folder; everything is checked against the header before a weight is allocated.

    Raises:
        UserError: no such run, a newer version's, or weights that are damaged or disagree with their configuration.
    """
    run = Run.open(Path(folder))
    check_task(run, "autoencode")

    def build_described(about: dict[str, Any]) -> LatentModel:
        config, size, _ = dict(about["model"]), codec_from(about).size, int(about["longest"])
        wanted = config["emission"].get("vocabulary_size", config["emission"].get("features"))
        if size != wanted:
            raise ValueError(f"its data have {size} tokens or features, the model {wanted}")
        return build(config)

    model = load_model(run, build_described)
    about, _ = read_about(run.weights_file)
    return TrainedAutoencoder(model, codec_from(about), run, int(about["longest"]))
