"""What a sequence is made of, and what a decoder says of it: tokens with probabilities, or numbers with Gaussians."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise.errors import UserError, nearest
from gatewise.layers.checks import check_lengths
from gatewise.layers.evidence import check_probability, deviation_of, drawn_on, drop_words, normal_like
from gatewise.layers.recurrent import Recurrent

VARIANCES = ("learned", "unit")


@dataclass(frozen=True)
class Framed:
    """A batch as a decoder reads and writes it.

    Attributes:
        inputs: what stands before each target, (T', B) or (T', B, d).
        targets: what is to be written, of the same shape.
        lengths: (B,), the targets of each sequence.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor

    def sum(self, terms: Tensor) -> Tensor:
        """The sum of (T', B) over each sequence's own steps: (B,). What stands in the padding is not looked at."""
        steps = torch.arange(len(terms), device=terms.device).unsqueeze(1)
        return torch.where(steps < self.lengths.to(terms.device), terms, 0.0).sum(0)


class Emission(nn.Module, ABC):
    """One kind of sequence: how it enters a network, and the distribution that a network's output stands for.

    Attributes:
        input_size: features of an entered step.
        output_size: numbers that a decoder gives for a step.
        finds_end: whether the model itself says where a sequence ends.
    """

    input_size: int
    output_size: int
    finds_end: bool

    @abstractmethod
    def frame(self, x: Tensor, lengths: Tensor) -> Framed:
        """The decoder's inputs and targets; whatever stands in x behind a sequence's end is gone.

        Raises:
            UserError: a batch of another kind, lengths outside 1 ... T.
        """

    @abstractmethod
    def enter(self, values: Tensor) -> Tensor:
        """Values as features: (T, B) or (T, B, d) -> (T, B, input_size)."""

    def read(self, layer: Recurrent, values: Tensor, lengths: Tensor) -> tuple[Tensor, Any]:
        """A recurrent layer over values: its output and final state."""
        return layer(self.enter(values), lengths=lengths)

    @abstractmethod
    def drop(self, inputs: Tensor, rate: float) -> Tensor:
        """Values with whole steps blanked out with probability ``rate``."""

    @abstractmethod
    def log_probability(self, output: Tensor, targets: Tensor) -> Tensor:
        """log p(targets) of every step: output (T, B, output_size) -> (T, B) nats."""

    @abstractmethod
    def start(self, batch: int, like: Tensor) -> Tensor:
        """What stands before the first step, (1, B) or (1, B, d), on the device and, of numbers, the type of a weight.

        Args:
            batch: B.
            like: a weight of the network that hears it.
        """

    @abstractmethod
    def choose(self, output: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        """The next values from (B, output_size): the likeliest at temperature 0, else drawn. (B,) or (B, d)."""

    @abstractmethod
    def ended(self, values: Tensor) -> Tensor:
        """Whether a chosen value says that the sequence is over, (B,), on the CPU, where the writing is steered."""


class TokenEmission(Emission):
    """Whole numbers below V: P(next = k) = softmax(o)_k, over the V tokens and the end.

    A sequence x_1 … x_n is written as n + 1 targets, x_1 … x_n END, after the inputs BEGIN x_1 … x_n. END is token V,
    BEGIN V + 1, and V + 2 is the blank that word dropout puts in a word's place: three tokens that no text has.

    Args:
        vocabulary_size: tokens, V.
        embedding_size: features of the learned embedding.
        never: a token that is not written (``<unk>``), though it can be read.

    Example:
        >>> import torch
        >>> framed = TokenEmission(5, 3).frame(torch.tensor([[2, 4], [3, 0]]), torch.tensor([2, 1]))
        >>> framed.targets.T.tolist(), framed.lengths.tolist()
        ([[2, 3, 5], [4, 5, 5]], [3, 2])
    """

    finds_end = True

    def __init__(self, vocabulary_size: int, embedding_size: int = 64, never: int | None = None) -> None:
        super().__init__()
        if vocabulary_size < 1 or embedding_size < 1:
            raise UserError(f"{vocabulary_size} tokens with {embedding_size} features: want at least 1 of each")
        self.vocabulary_size, self.never = vocabulary_size, never
        self.input_size, self.output_size = embedding_size, vocabulary_size + 1
        self.end, self.begin, self.blank = vocabulary_size, vocabulary_size + 1, vocabulary_size + 2
        self.embedding = nn.Embedding(vocabulary_size + 3, embedding_size)

    def frame(self, x: Tensor, lengths: Tensor) -> Framed:
        if x.dim() != 2 or x.is_floating_point():
            raise UserError(f"a batch of token sequences is (T, B) whole numbers, not {tuple(x.shape)} {x.dtype}")
        lengths = check_lengths(lengths, len(x), x.shape[1])
        own = torch.arange(len(x) + 1, device=x.device).unsqueeze(1) < lengths.to(x.device)
        padded = torch.cat([x, x.new_full((1, x.shape[1]), self.end)])
        targets = torch.where(own, padded, self.end)
        if int(targets.min()) < 0 or bool((own & (targets >= self.end)).any()):
            raise UserError(f"a token is outside 0 ... {self.vocabulary_size - 1}; encode with this model's tokenizer")
        return Framed(torch.cat([self.start(x.shape[1], x), targets[:-1]]), targets, lengths + 1)

    def enter(self, values: Tensor) -> Tensor:
        return self.embedding(values)

    def read(self, layer: Recurrent, values: Tensor, lengths: Tensor) -> tuple[Tensor, Any]:
        return layer(values, lengths=lengths, embedding=self.embedding.weight)  # one projection for each token

    def drop(self, inputs: Tensor, rate: float) -> Tensor:
        return drop_words(inputs, rate, self.blank)

    def log_probability(self, output: Tensor, targets: Tensor) -> Tensor:
        return -F.cross_entropy(output.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)

    def start(self, batch: int, like: Tensor) -> Tensor:
        return torch.full((1, batch), self.begin, device=like.device)

    def choose(self, output: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        if self.never is not None:
            output = output.index_fill(-1, torch.tensor(self.never, device=output.device), -torch.inf)
        if temperature == 0:
            return output.argmax(-1)
        # The likeliest is at 0, so that however small a temperature makes no infinity of it.
        scaled = (output - output.max(-1, keepdim=True).values) / min(max(temperature, 1e-30), 1e30)
        shares = scaled.softmax(-1)
        drawn = torch.multinomial(shares.to(drawn_on(output, generator)), 1, generator=generator)
        return drawn.squeeze(-1).to(output.device)

    def ended(self, values: Tensor) -> Tensor:
        return (values == self.end).cpu()


class SeriesEmission(Emission):
    """Numbers: p(x_t) = Π_j N(x_tj; μ_tj, σ_tj²), with μ and σ the decoder's output, or σ = 1.

    σ = 0.001 + softplus(s), as Chung et al. 2015 have it. A series of n steps is written as n targets after the
    inputs 0, x_1, …, x_{n−1}; its length is given, not modelled. Word dropout puts zeros, the training mean of
    standardised series, in the place of a whole step's input.

    Args:
        features: numbers of a step, d.
        variance: "learned" or "unit".

    Raises:
        UserError: another ``variance``.
    """

    finds_end = False

    def __init__(self, features: int, variance: str = "learned") -> None:
        super().__init__()
        if features < 1:
            raise UserError(f"series of {features} features: want at least 1")
        if variance not in VARIANCES:
            raise UserError(f"variance '{variance}': {nearest(variance, VARIANCES)}")
        self.variance = variance
        self.input_size = features
        self.output_size = 2 * features if variance == "learned" else features

    def frame(self, x: Tensor, lengths: Tensor) -> Framed:
        if x.dim() != 3 or x.shape[-1] != self.input_size:
            raise UserError(f"a batch of series is (T, B, {self.input_size}), not {tuple(x.shape)}")
        lengths = check_lengths(lengths, len(x), x.shape[1])
        steps = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        targets = torch.where(steps < lengths.to(x.device).view(1, -1, 1), x, 0.0)
        return Framed(torch.cat([torch.zeros_like(x[:1]), targets[:-1]]), targets, lengths)

    def enter(self, values: Tensor) -> Tensor:
        return values

    def drop(self, inputs: Tensor, rate: float) -> Tensor:
        check_probability(rate, "word dropout")
        gone = torch.rand(inputs.shape[:2], device=inputs.device) < rate
        return inputs.masked_fill(gone.unsqueeze(-1), 0.0)

    def _parameters_of(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations."""
        if self.variance == "unit":
            return output, torch.ones_like(output)
        mean, raw = output.chunk(2, -1)
        return mean, deviation_of(raw)

    def log_probability(self, output: Tensor, targets: Tensor) -> Tensor:
        mean, deviation = self._parameters_of(output)
        standard = (targets - mean) / deviation
        return -(0.5 * standard.square() + deviation.log() + 0.5 * math.log(2 * math.pi)).sum(-1)

    def start(self, batch: int, like: Tensor) -> Tensor:
        return like.new_zeros(1, batch, self.input_size)

    def choose(self, output: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
        mean, deviation = self._parameters_of(output)
        if temperature == 0:
            return mean
        return mean + temperature * deviation * normal_like(mean, generator)

    def ended(self, values: Tensor) -> Tensor:
        return torch.zeros(len(values), dtype=torch.bool)
