"""The sums of additive attention, over units for its scores and over time for its gradients, by PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

_AT_ONCE = 1 << 17
"""Numbers of so many rows as are worked on together: they stay in the cache from one operation to the next."""

_MOST = 40.0
"""Up to here e^{2x} is a number of float32, and so is the product of two of them, or what overflows is as good as ∞."""

Asking = tuple[bool, Tensor]
"""Of a query q: (True, e^{2q}), or, where that may be more than a number can be, (False, q); (B, A)."""


class Sums:
    """Sums of r_ja = (1 − tanh(k_ja + q_a)) / 2 = 1 / (1 + e^{2k} e^{2q}), of which nothing is kept.

    The exponentials of the keys are taken once, for all queries.

    Args:
        keys: k, (B, T, A).
        values: h, (B, T, S).
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values
        self._has_small_keys = _is_small(keys)

    def asking(self, query: Tensor) -> Asking:
        """What the sums take of a query q, (B, A).

        Raises:
            RuntimeError: the query has another shape or type than these keys take.
        """
        rows, _, units = self.keys.shape
        if query.shape != (rows, units) or query.dtype != self.keys.dtype:
            raise RuntimeError(
                f"additive attention: a query is {query.dtype} {tuple(query.shape)}; this memory takes "
                f"{self.keys.dtype} {(rows, units)}"
            )
        if not (self._has_small_keys and _is_small(query)):
            return False, query
        return True, (2 * query).exp_()

    def by_unit(self, asking: Asking, score: Tensor) -> Tensor:
        """Σ_a v_a r_ja, (B, T), of a score v (A,)."""
        sums = self.keys.new_empty(self.keys.shape[:2])
        for rows in self._groups():
            torch.matmul(self._rest(asking, rows), score, out=sums[rows])
        return sums

    def by_time(self, asking: Asking, d: Tensor) -> tuple[Tensor, Tensor]:
        """Σ_j d_j (r − r²)_ja and Σ_j d_j r_ja, (B, A) each, of d (B, T)."""
        of_slope, of_rest = (self.keys.new_empty(len(self.keys), self.keys.shape[2]) for _ in range(2))
        for rows in self._groups():
            rest, by_row = self._rest(asking, rows), d[rows].unsqueeze(1)
            of_rest[rows] = torch.bmm(by_row, rest).squeeze(1)
            of_slope[rows] = torch.bmm(by_row, _slope_of(rest)).squeeze(1)
        return of_slope, of_rest

    def by_query(self, asked: Sequence[Asking], d: Tensor) -> Tensor:
        """Σ_t d_tj (r − r²)_tja over all queries that were asked, (B, T, A), of d (times, B, T)."""
        sums = torch.zeros_like(self.keys)
        for rows in self._groups():
            into = sums[rows]
            for asking, of_time in zip(asked, d, strict=False):
                into.addcmul_(_slope_of(self._rest(asking, rows)), of_time[rows].unsqueeze(-1))
        return sums

    def context(self, weights: Tensor) -> Tensor:
        """Σ_j α_j h_j, (B, S), of weights α (B, T)."""
        return torch.bmm(weights.unsqueeze(1), self.values).squeeze(1)

    def products(self, d_context: Tensor) -> Tensor:
        """h_j · d, (B, T), of d (B, S)."""
        products = self.values.new_empty(self.values.shape[:2])
        for values, one, product in zip(self.values, d_context, products, strict=True):
            torch.mv(values, one, out=product)
        return products

    def _groups(self) -> Iterator[slice]:
        """The rows of the batch, as many together as there is room for in the cache."""
        rows = max(1, _AT_ONCE // self.keys.shape[1:].numel())
        return (slice(start, start + rows) for start in range(0, len(self.keys), rows))

    @cached_property
    def _grown(self) -> tuple[Tensor, Tensor]:
        return self.keys.new_ones(()), (2 * self.keys).exp_()

    def _rest(self, asking: Asking, rows: slice) -> Tensor:
        """r, (rows, T, A)."""
        is_grown, query = asking[0], asking[1][rows].unsqueeze(1)
        if is_grown:
            one, grown = self._grown
            return torch.addcmul(one, grown[rows], query).reciprocal_()
        return torch.sigmoid(-2 * (self.keys[rows] + query))


def _slope_of(rest: Tensor) -> Tensor:
    """r − r², in the place of r."""
    return rest.addcmul_(rest, rest, value=-1)


def _is_small(values: Tensor) -> bool:
    return not values.numel() or bool(values.abs().amax() <= _MOST)
