"""The settings of ``train autoencode``: what it has beside those of every task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatewise.data import KINDS
from gatewise.errors import UserError
from gatewise.layers import VARIANCES
from gatewise.tasks import SHAPES, Annealing, Objective
from gatewise.training.settings import HeldOutSettings, setting
from gatewise.training.text_settings import AUTO

MODELS = ("vae", "vrnn")

_WORDS = 4000


@dataclass(frozen=True)
class AutoencodeSettings(HeldOutSettings):
    """Everything that decides a run of ``gatewise train autoencode``, besides the data."""

    lr: float = setting(0.004, "Peak learning rate", positive=True)
    weight_decay: float = setting(0.01, "Of AdamW")
    minutes: float = setting(4.0, "Wall-clock budget")
    dropout: float = setting(0.0, "Dropout on what enters the decoder and before its head", "Model", share=True)
    model: str = setting(
        "vae", "`vae`: one latent a sequence (Bowman 2015), or `vrnn`: one a step (Chung 2015)", "Model", choices=MODELS
    )
    latent: int = setting(16, "Features of the latent", "Model", positive=True, most=1 << 16)
    embedding: int = setting(
        AUTO, "Features of the tokens' embedding", "Model", positive=True, most=1 << 20, apart=AUTO,
        default="64 up to 256 tokens, else 128",
    )  # fmt: skip
    encoder: str = setting(
        "both", "The encoder of a vae reads from `both` ends, or `forward` alone", "Model", choices=("both", "forward")
    )
    variance: str = setting(
        "learned", "Of the decoder's Gaussians, for series: `learned`, or `unit`", "Model", choices=VARIANCES
    )
    anneal: str = setting(
        "linear", "How the weight of the KL term rises: `linear`, `sigmoid`, `cyclic` or `none`", choices=SHAPES
    )
    anneal_share: float = setting(
        0.5, "Share of the run, of a cycle if cyclic, in which it rises", positive=True, most=1
    )
    cycles: int = setting(4, "Of `--anneal cyclic` (Fu 2019)", positive=True, most=1 << 20)
    kl_weight: float = setting(1.0, "Full weight of the KL term; 1 is the ELBO")
    free_bits: float = setting(0.8, "Nats of each latent feature that cost nothing (Kingma 2016)")
    word_dropout: float = setting(
        0.1, "Probability that the decoder does not see the word before (Bowman 2015)", most=1
    )
    tokens: str = setting("word", "Of lines: `char`, `word`, `byte` or `bpe`", "Data", choices=KINDS)
    vocabulary: int = setting(0, "Most tokens of the vocabulary", "Data", default="word: 4000; bpe: 1024; others: all")
    longest: int = setting(80, "Lines of more tokens are left out", "Data", positive=True, most=1 << 20)
    window: int = setting(64, "Steps of a window, where a file is one long series", "Data", positive=True, most=1 << 20)
    samples: int = setting(32, "Latents of the importance-weighted bound (Burda 2015)", positive=True, most=1 << 16)
    baseline: str = setting(
        "train",
        "A model without a latent, a vae's the same decoder, for comparison: `train` it for as many steps, or `none`",
        choices=("train", "none"),
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.objective()
        if self.window < 2 or self.longest < 2:
            name = "window" if self.window < 2 else "longest"
            raise UserError(f"--{name} {getattr(self, name)}: want sequences of at least 2 steps: one to be told by")

    def vocabulary_size(self) -> int | None:
        """Most tokens of the vocabulary; of words the commonest, since every one is scored at every step."""
        return self.vocabulary or (_WORDS if self.tokens == "word" else None)

    def objective(self) -> Objective:
        """What is minimised."""
        annealing = Annealing(self.anneal, self.anneal_share, self.cycles, self.kl_weight)
        return Objective(annealing, self.free_bits, self.word_dropout)


def refuse_idle(chosen: Mapping[str, Any], of_series: bool) -> None:
    """Raise if an option was given that does nothing beside the data or beside the other options.

    Args:
        chosen: what was given; None is not given.
        of_series: whether the data are series, and not lines.
    """
    own = ("tokens", "vocabulary", "longest", "embedding") if of_series else ("variance", "window")
    idle: dict[str, str] = dict.fromkeys(
        own, "is of lines, and the data are series" if of_series else "is of series in a .npy file"
    )
    if chosen.get("model") == "vrnn":
        idle["encoder"] = "is of a vae: the encoder of a vrnn reads along with it"
    anneal = chosen.get("anneal") or AutoencodeSettings.anneal
    if anneal != "cyclic":
        idle["cycles"] = f"is of --anneal cyclic, and it is {anneal}"
    if anneal == "none":
        idle["anneal_share"] = "says how long the KL's weight rises, and with --anneal none it does not"
    for name, why in idle.items():
        if chosen.get(name) is not None:
            raise UserError(f"--{name.replace('_', '-')} {why}; leave it out")
