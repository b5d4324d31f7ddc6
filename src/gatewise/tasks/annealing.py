"""How the weight of the KL term rises while a variational model is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gatewise.errors import UserError, nearest

SHAPES = ("none", "linear", "sigmoid", "cyclic")


@dataclass(frozen=True)
class Annealing:
    """The weight of the KL term, from 0 to ``weight``, by the share of the training budget that is spent.

    - ``linear``: share / rise, at most 1 (Bowman et al. 2015 anneal so, or by a sigmoid);
    - ``sigmoid``: 1 / (1 + exp(−10 (share / rise − ½))), and 1 from ``rise`` on;
    - ``cyclic``: the linear rise, ``cycles`` times over (Fu et al. 2019, arXiv:1903.10145): with τ the share of a
      cycle that is spent, τ / rise, at most 1;
    - ``none``: 1 throughout.

    Attributes:
        shape: one of the above.
        rise: share of the training, or of a cycle, in which the weight rises.
        cycles: of ``cyclic``.
        weight: the full weight; 1 is the ELBO, other values are those of a β-VAE (Higgins et al. 2017).

    Raises:
        UserError: an unknown shape, or a value outside its range.

    Example:
        >>> [Annealing("linear", rise=0.5)(share) for share in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.5, 1.0, 1.0]
        >>> [Annealing("cyclic", rise=0.5, cycles=2)(share) for share in (0.125, 0.25, 0.625, 1.0)]
        [0.5, 1.0, 0.5, 1.0]
    """

    shape: str = "linear"
    rise: float = 0.5
    cycles: int = 4
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise UserError(f"--anneal {self.shape}: {nearest(self.shape, SHAPES)}")
        if not 0 < self.rise <= 1:
            raise UserError(f"--anneal-share {self.rise}: want a share above 0 and at most 1")
        if self.cycles < 1:
            raise UserError(f"--cycles {self.cycles}: want a whole number of at least 1")
        if not 0 <= self.weight < math.inf:
            raise UserError(f"--kl-weight {self.weight}: want a number of at least 0")

    def __call__(self, share: float) -> float:
        """The weight when ``share`` of the budget, 0..1, is spent."""
        if self.shape == "none":
            return self.weight
        if self.shape == "cyclic" and share < 1:
            share = share * self.cycles % 1.0
        spent = share / self.rise
        if spent >= 1:
            return self.weight
        return self.weight * (spent if self.shape != "sigmoid" else 1 / (1 + math.exp(-10 * (spent - 0.5))))
