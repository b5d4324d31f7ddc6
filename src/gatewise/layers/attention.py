"""Additive attention: which of many vectors a state asks for."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """Attention of Bahdanau, Cho and Bengio 2015 (arXiv:1409.0473, section 3.1 and appendix A.1.2).

        e_j = v · tanh(W s + U h_j),   α = softmax(e) over j,   c = Σ_j α_j h_j

    U h_j does not depend on the state s: it is computed once, by :meth:`keys`, for all the states that ask.

    Args:
        query_size: of a state s, Q.
        value_size: of what is asked for, h_j, S.
        size: of what both are projected to, A.

    Shapes:
        ``attention(query, keys, values) -> (context, weights)``: query (B, Q), keys (T, B, A) of values (T, B, S),
        context (B, S), weights (T, B), each column of which adds up to 1.

    Example:
        >>> attention = AdditiveAttention(query_size=3, value_size=4, size=5)
        >>> values = torch.zeros(7, 2, 4)
        >>> context, weights = attention(torch.zeros(2, 3), attention.keys(values), values)
        >>> context.shape, weights[:, 0].sum().item()
        (torch.Size([2, 4]), 1.0)
    """

    def __init__(self, query_size: int, value_size: int, size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, size, bias=False)
        self.key = nn.Linear(value_size, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def keys(self, values: Tensor) -> Tensor:
        """U h_j of all values, (T, B, S) -> (T, B, A)."""
        return self.key(values)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.score(torch.tanh(self.query(query) + keys)).squeeze(-1)
        weights = torch.softmax(scores, 0)
        return torch.einsum("tb,tbs->bs", weights, values), weights
