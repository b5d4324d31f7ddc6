"""A finished text run, for use: generating, measuring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewise.data import Tokenizer, clean_like_the_book, tokenizer_from_config
from gatewise.errors import UserError
from gatewise.layers import LanguageModel
from gatewise.tasks import Sampling, generate, stream_loss
from gatewise.training.progress import Reporter, Silent
from gatewise.training.run import Run
from gatewise.training.settings import check_task
from gatewise.training.text_source import prepare, read_tokenizer, recorded, same_text, split
from gatewise.training.weights import load_model


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
        """Write on from ``prompt``, piece by piece; ``prompt + "".join(...)`` is the whole text.

        Args:
            prompt: one token at least; cleaned as the training text was.
            length: tokens to write.
            sampling: how each is chosen; by default at temperature 1 and with seed 0, so that a second call writes
                the same. (``gatewise generate`` takes temperature 0.8 and another seed each time.)

        Raises:
            UserError: an empty prompt, one with a token that the training text did not have, a length below 0.
        """
        if self._cleaned_like_the_book():
            prompt = clean_like_the_book(prompt) + (" " if prompt[-1:].isspace() else "")
        return generate(self.model, self.tokenizer, prompt, length, sampling)

    def training_text(self) -> str | None:
        """The text it learned, as it learned it; None where it is gone or changed."""
        settings, source = recorded(self.run)
        try:
            return split(same_text(self.run, source), settings)[0]
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
        settings, source = recorded(self.run)
        task = prepare(same_text(self.run, source), settings, self.tokenizer).task
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

    def _cleaned_like_the_book(self) -> bool:
        return recorded(self.run)[0].clean == "d2l"


def load_text_run(folder: str | Path) -> TrainedText:
    """The trained model of a run folder.

    Everything is checked against the file's header before a weight is allocated.

    Raises:
        UserError: no such run, a newer version's, or weights that are damaged or disagree with their configuration.
    """
    run = Run.open(Path(folder))
    check_task(run, "text")

    def build(about: dict[str, Any]) -> LanguageModel:
        size, config = tokenizer_from_config(about["tokenizer"]).size, dict(about["model"])
        if size != config["vocabulary_size"]:
            raise ValueError(f"the tokenizer has {size} tokens, the model {config['vocabulary_size']}")
        return LanguageModel(**config)

    model = load_model(run, build)
    return TrainedText(model, read_tokenizer(run.weights_file), run)
