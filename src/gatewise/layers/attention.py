"""Additive attention: which of many vectors a state asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gatewise.engines import check_engine
from gatewise.engines.additive import Asking, Sums
from gatewise.engines.native.additive import sums_of


class AdditiveAttention(nn.Module):
    """Attention of Bahdanau, Cho and Bengio 2015 (arXiv:1409.0473, section 3.1 and appendix A.1.2).

        e_j = v · tanh(W s + U h_j),   α = softmax(e) over j,   c = Σ_j α_j h_j

    What does not depend on the state s is computed once, by :meth:`memory`, for all the states that ask: U h_j, and
    its exponential, for tanh(a + b) = 1 − 2 / (1 + e^{2a} e^{2b}) then takes no other. Nothing of the size of all U h_j
    is kept for the backward pass, which is once differentiable.

    Args:
        query_size: of a state s, Q.
        value_size: of what is asked for, h_j, S.
        size: of what both are projected to, A.
        engine: "auto" and "native" take the compiled sums where they can be had; with any other name PyTorch's
            operations do all.

    Shapes:
        ``attention(query, memory) -> (context, weights)``: query (B, Q), memory of values (T, B, S), context (B, S),
        weights (T, B), each column of which adds up to 1.

    Example:
        >>> attention = AdditiveAttention(query_size=3, value_size=4, size=5)
        >>> memory = attention.memory(torch.zeros(7, 2, 4))
        >>> context, weights = attention(torch.zeros(2, 3), memory)
        >>> context.shape, weights[:, 0].sum().item()
        (torch.Size([2, 4]), 1.0)
    """

    def __init__(self, query_size: int, value_size: int, size: int, engine: str = "auto") -> None:
        super().__init__()
        check_engine(engine)
        self.engine = engine
        self.query = nn.Linear(query_size, size, bias=False)
        self.key = nn.Linear(value_size, size, bias=False)
        self.score = nn.Linear(size, 1, bias=False)

    def memory(self, values: Tensor, times: int = 1) -> Memory:
        """What can be asked for, values (T, B, S), and so often with a gradient."""
        values = values.transpose(0, 1).to(self.key.weight.dtype).contiguous()
        with torch.autocast(values.device.type, enabled=False):
            keys, score = self.key(values), self.score.weight[0]
        sums = sums_of if self.engine in ("auto", "native") else Sums
        store = _Store(sums(keys.detach(), values.detach()))
        if not (torch.is_grad_enabled() and keys.requires_grad):
            return Memory(store, ())
        ties = _Remember.apply(keys, values, score.detach(), store, times)
        return Memory(store, tuple(zip(*(tie.unbind() for tie in ties), strict=True)))  # type: ignore[union-attr]

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        asked = len(memory.store.asked)
        if memory.ties and asked == len(memory.ties):
            raise RuntimeError(f"a memory for {asked} times was asked once more; make it with memory(values, times)")
        tie = memory.ties[asked] if memory.ties else (None, None)
        with torch.autocast(query.device.type, enabled=False):
            asking = self.query(query.to(self.query.weight.dtype))
            context, weights = _Ask.apply(asking, self.score.weight[0], *tie, memory.store)  # type: ignore[misc]
        return context, weights.t()


@dataclass(frozen=True)
class Memory:
    """Values that a state can ask for; :meth:`AdditiveAttention.memory` makes it.

    Attributes:
        store: the values, and who has asked; no part of it has a gradient.
        ties: for each time that it is asked what ties the answer to the values' gradient: zeros, in the place of e
            (B, T) and of c (B, S).
    """

    store: _Store
    ties: tuple[tuple[Tensor, Tensor], ...]


@dataclass
class _Store:
    """The sums over keys k = U h (B, T, A) and values h (B, T, S); of each time that was asked q = W s and α (B, T).

    It must hold nothing that a gradient flows through: the graph holds it, and neither would ever be freed.
    """

    sums: Sums
    asked: list[tuple[Asking, Tensor]] = field(default_factory=list)


class _Ask(torch.autograd.Function):
    """(c, α) for q = W s, with e_j = Σ_a v_a − 2 Σ_a v_a r_ja, of which softmax does not see the first sum."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, score: Tensor, tie: Tensor | None, context_tie: Tensor | None, store: _Store
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        asking = store.sums.asking(query.detach())
        weights = torch.softmax(store.sums.by_unit(asking, score) * -2, 1)
        if tie is not None:
            store.asked.append((asking, weights.detach()))
        ctx.save_for_backward(score, weights)
        ctx.store, ctx.asking = store, asking
        return store.sums.context(weights), weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_context: Tensor, d_weights: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (score, weights), store = ctx.saved_tensors, ctx.store
        d_weights = d_weights + store.sums.products(d_context)
        d_scores = weights * (d_weights - (weights * d_weights).sum(1, keepdim=True))
        of_slope, of_rest = store.sums.by_time(ctx.asking, d_scores)
        tied = d_scores if ctx.needs_input_grad[2] else None, d_context if ctx.needs_input_grad[3] else None
        return of_slope * (4 * score), of_rest.sum(0) * -2, *tied, None


class _Remember(torch.autograd.Function):
    """Nothing, for all times that will be asked; backwards, what all of them together say of keys and values."""

    @staticmethod
    def forward(
        ctx: Any, keys: Tensor, values: Tensor, score: Tensor, store: _Store, times: int
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        ctx.save_for_backward(score)
        ctx.store = store
        nothing = keys.new_zeros(())
        return nothing.expand(times, *keys.shape[:2]), nothing.clone().expand(times, len(keys), values.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_scores: Tensor, d_contexts: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (score,), store = ctx.saved_tensors, ctx.store
        d_values, times = torch.empty_like(store.sums.values), len(store.asked)
        d_keys = store.sums.by_query([asking for asking, _ in store.asked], d_scores)
        for row, d_row in enumerate(d_values):
            weights = torch.stack([weights[row] for _, weights in store.asked])
            torch.mm(weights.t(), d_contexts[:times, row], out=d_row)
        return d_keys * (4 * score), d_values, None, None, None
