"""What a latent carries, in figures and in words, and ways from one latent to another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatewise.errors import UserError, nearest
from gatewise.layers import Gaussian, LatentModel, SequenceVAE, importance_bound, mutual_information
from gatewise.layers.evidence import MOST_INFORMED
from gatewise.layers.stepping import evaluating
from gatewise.tasks.autoencode import Measured, in_batches, measure

WAYS = ("linear", "spherical")

MOST_AT_ONCE = 100_000
"""The most sequences that are written in one go."""

_LITTLE = 1.0  # nats of a sequence: less tells next to nothing of it
_BOUNDED = 512  # sequences of the importance-weighted bound


@dataclass(frozen=True)
class Against:
    """By how many nats of a sequence a model with a latent is better than one without; below 0 it is worse.

    Attributes:
        reconstruction: −log p(x) of the other less −log p(x | z): what z costs, the KL, is not charged.
        model: −log p(x) of the other less the importance-weighted bound's, on the same sequences: all is charged.
        other: what the other is called.
        sequences: what they are called.
    """

    reconstruction: float
    model: float
    other: str = "the same decoder without a latent"
    sequences: str = "lines"

    def __str__(self) -> str:
        better = "better" if self.model > 0 else "worse"
        return f"as a model of the {self.sequences} it is {abs(self.model):.1f} nats {better} than {self.other}"


@dataclass(frozen=True)
class Findings:
    """What is found of a latent model on held-out sequences; nats of a sequence.

    Attributes:
        measured: the parts of the ELBO.
        bound: the importance-weighted bound of log p(x), on ``bounded`` sequences spread over all.
        bound_elbo: the ELBO on the same sequences.
        samples: K of the bound.
        bounded: how many sequences the bound is of.
        sequences: how many all the rest is of.
        shuffled: −log p(x | z) where z is another sequence's; None for a model with a latent at every step, and where
            there is no other.
        information: I(x; z) by all sequences, or 2,048 of them, at most the log of their number; None likewise.
    """

    measured: Measured
    bound: float
    bound_elbo: float
    samples: int
    bounded: int
    sequences: int
    shuffled: float | None
    information: float | None

    def summary(self) -> dict[str, Any]:
        figures = self.measured.figures()
        return {
            "heldout_loss": figures.pop("loss"), **figures, "latent": len(self.measured.kl),
            "mutual_information": self.information,
            "mutual_information_at_most": math.log(min(self.sequences, MOST_INFORMED)),
            "reconstruction_shuffled": self.shuffled,
            "iw_bound": {
                "samples": self.samples, "sequences": self.bounded, "bound": self.bound, "elbo": self.bound_elbo,
            },
        }  # fmt: skip


def examine(
    model: LatentModel, sequences: Sequence[Tensor], samples: int, progress: Callable[[int], None] | None = None
) -> Findings:
    """Measure a latent model on held-out sequences; the same numbers on every call."""
    measured = measure(model, sequences, progress)
    few = bounded(sequences)
    generator = torch.Generator().manual_seed(1)
    bounds, elbos = [], []
    with torch.inference_mode(), evaluating(model):
        for x, lengths in in_batches(few, model.emission):
            weights = model.log_weights(x, lengths, samples, generator).double()
            bounds.append(importance_bound(weights))
            elbos.append(weights.mean(0))
            if progress is not None:
                progress(len(lengths))
        shuffled = information = None
        if isinstance(model, SequenceVAE) and len(sequences) > 1:
            shuffled, information = _one_latent(model, sequences)
    return Findings(
        measured, torch.cat(bounds).mean().item(), torch.cat(elbos).mean().item(), samples, len(few), len(sequences),
        shuffled, information,
    )  # fmt: skip


def bounded(sequences: Sequence[Any]) -> Sequence[Any]:
    """The sequences of the importance-weighted bound: at most 512, spread over all."""
    return sequences[:: max(1, math.ceil(len(sequences) / _BOUNDED))]


def _one_latent(model: SequenceVAE, sequences: Sequence[Tensor]) -> tuple[float, float]:
    """−log p(x | another's z), and I(x; z)."""
    generator = torch.Generator().manual_seed(2)
    batches = list(in_batches(sequences, model.emission))
    found = [model.posterior(*batch) for batch in batches]
    whole = Gaussian(torch.cat([q.mean for q in found]), torch.cat([q.log_variance for q in found]))
    # One cycle through all, in a drawn order: nobody keeps its own, and none gets that of a neighbour of its length
    # more often than any other's.
    order = torch.randperm(len(sequences), generator=generator)
    others = torch.empty_like(order)
    others[order] = order.roll(1)
    latents = whole.draw(generator)[others].split([len(lengths) for _, lengths in batches])
    total = sum(
        model.log_likelihood(x, lengths, z).double().sum().item()
        for (x, lengths), z in zip(batches, latents, strict=True)
    )
    return -total / len(sequences), mutual_information(whole, generator)


def verdict(kl: float, active: int | None, latent: int, gain: float | None, against: Against | None = None) -> str:
    """What the latent carries, in words, with a warning where it is next to nothing: posterior collapse.

    Args:
        kl: nats of a sequence.
        active: latent units that vary with the data; None where that is not known.
        latent: all of them.
        gain: nats by which the right z reconstructs better than another sequence's; None where that is not known.
        against: a model without a latent, compared; None likewise.

    >>> verdict(0.02, 0, 32, 0.0)[:53]
    'warning: posterior collapse: the latent tells 0.02 na'
    >>> verdict(8.1, 30, 32, 9.5)
    'the latent tells 8.1 nats of a sequence, by 30 of 32 units; its own saves 9.5 nats against another’s'
    >>> verdict(8.1, 30, 32, 9.5, Against(4.0, -3.0)).split("; ")[1]
    'its own saves 9.5 nats against another’s, and 4.0 against the same decoder without a latent'
    >>> verdict(8.1, 30, 32, 9.5, Against(4.0, -3.0)).split("; ")[2]
    'as a model of the lines it is 3.0 nats worse than the same decoder without a latent'
    """
    told = _told(kl, active, latent, gain, against)
    return told if against is None else f"{told}; {against}"


def _told(kl: float, active: int | None, latent: int, gain: float | None, against: Against | None) -> str:
    if active is None:
        return f"the latent tells {kl:.2g} nats of the one sequence held out, which cannot tell whether it collapsed"
    if kl < _LITTLE or not active:
        return (
            f"warning: posterior collapse: the latent tells {kl:.2g} nats of a sequence ({active} of {latent} units "
            "are active), so the decoder writes without it; try more --free-bits, a slower --anneal-share, more "
            "--word-dropout, or less --kl-weight"
        )
    said = f"the latent tells {kl:.1f} nats of a sequence, by {active} of {latent} units"
    if gain is not None and gain < _LITTLE:
        return (
            f"warning: {said}, but the decoder hardly listens: another sequence’s latent does as well (within "
            f"{gain:.2g} nats); try more --word-dropout, less --free-bits, or a longer training"
        )
    if gain is not None:
        said += f"; its own saves {gain:.1f} nats against another’s"
    if against is None:
        return said
    if against.reconstruction > 0:
        saved = f"{against.reconstruction:.1f}"
        return f"{said}{f'; it saves {saved} nats' if gain is None else f', and {saved}'} against {against.other}"
    return (
        f"warning: {said}; yet it reconstructs no better than {against.other} predicts, by "
        f"{-against.reconstruction:.1f} nats; try a longer training, or less --word-dropout"
    )


def way(start: Tensor, end: Tensor, steps: int, kind: str = "linear") -> Tensor:
    """Latents on the way from one to another, both ends included: (Z,), (Z,) -> (steps, Z).

    ``linear``: (1 − w) a + w b. ``spherical``: (sin((1 − w) θ) a + sin(w θ) b) / sin θ with θ the angle between
    a and b, which keeps away from the origin (Shoemake 1985; White 2016, arXiv:1609.04468).

    Raises:
        UserError: fewer than two steps or too many, another kind.

    >>> way(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), 3, "spherical")[1].tolist()
    [0.7071067690849304, 0.7071067690849304]
    """
    if not 2 <= steps <= MOST_AT_ONCE:
        raise UserError(f"--steps {steps}: want at least 2, the two ends, and at most {MOST_AT_ONCE:,}")
    if kind not in WAYS:
        raise UserError(f"--way {kind}: {nearest(kind, WAYS)}")
    w = torch.linspace(0, 1, steps, dtype=start.dtype).unsqueeze(1)
    angle = torch.arccos((torch.dot(start, end) / (start.norm() * end.norm()).clamp_min(1e-12)).clamp(-1, 1))
    if kind == "linear" or angle.sin() < 1e-4:  # on one line with the origin: no arc is between them
        return (1 - w) * start + w * end
    return (((1 - w) * angle).sin() * start + (w * angle).sin() * end) / angle.sin()


def edits(one: Sequence[Any], other: Sequence[Any]) -> int:
    """The least number of insertions, deletions and replacements from one sequence to another (Levenshtein 1966).

    >>> edits("kitten", "sitting"), edits([], "ab")
    (3, 2)
    """
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
