"""Choosing the next token from a model's scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.errors import UserError

ASTRAY = "the model's scores are not numbers: its training went astray; train again with a lower --lr"


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen from P(k) = softmax(logits / temperature)_k.

    Attributes:
        temperature: below 1 sharpens, above 1 flattens; 0 is greedy.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: keep the smallest set of likeliest tokens with at least this probability together (nucleus sampling,
            Holtzman et al. 2020, arXiv:1904.09751); 1 keeps all.
        greedy: always the likeliest token.
        seed: of the drawing.

    Raises:
        UserError: a value outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    greedy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"--temperature {self.temperature}: want a number of at least 0")
        if self.top_k < 0:
            raise UserError(f"--top-k {self.top_k}: want a whole number of at least 0 (0 keeps all tokens)")
        if not 0 < self.top_p <= 1:
            raise UserError(f"--top-p {self.top_p}: want a number above 0 and at most 1")
        if abs(self.seed) >= 1 << 63:
            raise UserError(f"--seed {self.seed}: want a whole number below 2^63")

    @property
    def is_greedy(self) -> bool:
        """No drawing."""
        return self.greedy or self.temperature == 0


def weigh(logits: Tensor, sampling: Sampling) -> Tensor:
    """What each token weighs in the drawing, (V,) in float64: its probability but for a common factor.

    sample.h computes the same numbers in the same order, so that the native loop draws the same tokens.

    >>> weigh(torch.tensor([0.0, 3.0, 1.0, 3.0]), Sampling(top_k=2)).tolist()
    [0.0, 1.0, 0.0, 1.0]
    """
    # The largest becomes 0, which no temperature, however small, makes infinite.
    weights = ((logits.double() - logits.max()) / sampling.temperature).exp()
    few = 0 < sampling.top_k < len(logits)
    if few or sampling.top_p < 1:
        order = logits.sort(descending=True, stable=True).indices  # of equals, the first: no more than k get through
        if few:
            weights[order[sampling.top_k :]] = 0.0
        if sampling.top_p < 1:
            enough = sampling.top_p * weights.cumsum(0)[-1]
            so_far = weights[order].cumsum(0)
            weights[order[1:][so_far[:-1] >= enough]] = 0.0
    return weights


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """The next token for scores of shape (V,): the first k at which Σ_{i<=k} P(i) exceeds a uniform number of [0, 1).

    Raises:
        UserError: a score is not a number: the model's training went astray.

    >>> choose(torch.tensor([0.0, 3.0, 1.0]), Sampling(greedy=True), torch.Generator())
    1
    """
    logits = logits.detach().cpu()
    if logits.isnan().any() or (math.isinf(logits.max()) and not sampling.is_greedy):
        raise UserError(ASTRAY)
    if sampling.is_greedy:
        return int(logits.argmax())
    weights = weigh(logits, sampling)
    uniform = torch.rand((), dtype=torch.float64, generator=generator)
    so_far = weights.cumsum(0)
    token = int(torch.searchsorted(so_far, uniform * so_far[-1], right=True))
    return min(token, int(weights.nonzero()[-1]))  # the product may be rounded up to the sum
