"""s_t = a_t ⊙ s_{t-1} + b_t for all t at once, with its derivative: the same recurrence run backwards."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

FEW, WIDE = 48, 2048
"""Steps below which, and numbers a step above which (on a CPU), one step after the other is faster than chunks."""


def recurrence(a: Tensor, b: Tensor, initial: Tensor, reverse: bool = False) -> Tensor:
    """s_1 ... s_T with s_t = a_t ⊙ s_{t-1} + b_t; with ``reverse`` s_T ... s_1 with s_t = a_t ⊙ s_{t+1} + b_t.

    The derivative of a loss L is a linear recurrence itself, against time: with g_t = ∂L/∂s_t from outside and
    G_t = g_t + a_{t+1} ⊙ G_{t+1}, db_t = G_t, da_t = G_t ⊙ s_{t-1}, ds_0 = a_1 ⊙ G_1 (Martin and Cundy 2018,
    arXiv:1709.04057). Nothing is divided and no logarithm taken: a may be 0, 1, negative or above 1.
    Products of a over many steps that overflow are no harm on a CPU, where it then runs step by step. Elsewhere, and
    where this is compiled, such a product makes infinity or NaN of a state that is small or 0.

    Args:
        a: (T, ...), which may be expanded.
        b: (T, ...).
        initial: (...), s_0.
        reverse: run from the last step to the first.

    Example:
        >>> import torch
        >>> recurrence(torch.full((4, 1), 0.5), torch.ones(4, 1), torch.zeros(1)).flatten()
        tensor([1.0000, 1.5000, 1.7500, 1.8750])
    """
    if (
        torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    ):  # neither follows what is written into place by place
        return _doubling(a, b, initial, reverse)
    return _Recurrence.apply(a, b, initial, reverse)  # type: ignore[no-any-return]


class _Recurrence(torch.autograd.Function):
    """The recurrence; every derivative is made of recurrences, so that each has derivatives of its own."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, initial: Tensor, reverse: bool) -> Tensor:
        chunk = _chunk(len(b), b[0].numel(), b.device.type)
        return _in_steps(a, b, initial, reverse) if chunk is None else _in_chunks(a, b, initial, reverse, chunk)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        a, _, initial, ctx.reverse = inputs
        ctx.save_for_backward(a, initial, output)
        ctx.save_for_forward(a, initial, output)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> Any:  # type: ignore[override]
        a, initial, s = ctx.saved_tensors
        of_a, _, of_initial, _ = ctx.needs_input_grad
        last = torch.zeros_like(a[:1])
        ahead = torch.cat([last, a[:-1]] if ctx.reverse else [a[1:], last])
        total = recurrence(ahead, cotangent, torch.zeros_like(initial), not ctx.reverse)
        first = -1 if ctx.reverse else 0
        return (
            total * before(s, initial, ctx.reverse) if of_a else None,
            total,
            a[first] * total[first] if of_initial else None,
            None,
        )

    @staticmethod
    def jvp(ctx: Any, da: Tensor | None, db: Tensor | None, d_initial: Tensor | None, _: Any) -> Tensor:  # type: ignore
        a, initial, s = ctx.saved_tensors
        change = torch.zeros_like(s) if db is None else db
        if da is not None:
            change = change + da * before(s, initial, ctx.reverse)
        return recurrence(a, change, torch.zeros_like(initial) if d_initial is None else d_initial, ctx.reverse)

    @staticmethod
    def vmap(info: Any, in_dims: Any, a: Tensor, b: Tensor, initial: Tensor, reverse: bool) -> tuple[Tensor, int]:  # type: ignore
        def placed(value: Tensor, dim: int | None, place: int) -> Tensor:
            if dim is not None:
                return value.movedim(dim, place)
            wide = value.unsqueeze(place)
            return wide.expand(*wide.shape[:place], info.batch_size, *wide.shape[place + 1 :])

        mapped = placed(a, in_dims[0], 1), placed(b, in_dims[1], 1), placed(initial, in_dims[2], 0)
        return recurrence(*mapped, reverse), 1


def before(s: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """The state that each step started from."""
    initial = initial.unsqueeze(0)
    return torch.cat([s[1:], initial] if reverse else [initial, s[:-1]])


def _chunk(steps: int, width: int, device: str) -> int | None:
    """How many steps a chunk has, None where one step after the other is faster."""
    if steps < FEW or (device == "cpu" and width > WIDE):
        return None
    return round(math.sqrt(steps / 2))  # 2 n operations within the chunks of n steps, T / n from one to the next


def _in_steps(a: Tensor, b: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    out = torch.empty_like(b, memory_format=torch.contiguous_format)
    steps = list(zip(a.unbind(), b.unbind(), out.unbind(), strict=True))
    previous = initial
    for factor, term, place in reversed(steps) if reverse else steps:
        previous = torch.addcmul(term, factor, previous, out=place)
    return out


def _in_chunks(a: Tensor, b: Tensor, initial: Tensor, reverse: bool, n: int) -> Tensor:
    """All chunks of n steps side by side, as from a state of zero; then the state at the end of one enters the next.

    From zero a chunk's step l gives s_l, and from s_0 it gives s_l + p_l ⊙ s_0 with p_l = a_1 ⊙ ... ⊙ a_l.
    """
    if reverse:
        a, b = a.flip(0), b.flip(0)
    s = torch.empty_like(b, memory_format=torch.contiguous_format)
    p = torch.empty_like(s)
    s[::n], p[::n] = b[::n], a[::n]
    torch.addcmul(b[0], a[0], initial, out=s[0])
    for l in range(1, n):
        factor = a[l::n]  # of step l in every chunk; the last chunk may be shorter
        torch.addcmul(b[l::n], factor, s[l - 1 :: n][: len(factor)], out=s[l::n])
        torch.mul(factor, p[l - 1 :: n][: len(factor)], out=p[l::n])
    whole = len(s) // n
    ends, products = s[n - 1 :: n].unbind(), p[n - 1 :: n].unbind()
    for k in range(1, whole):
        ends[k].addcmul_(products[k], ends[k - 1])
    inner, factors = (v[n : whole * n].unflatten(0, (whole - 1, n))[:, :-1] for v in (s, p))
    inner.addcmul_(factors, s[n - 1 : (whole - 1) * n : n].unsqueeze(1))
    s[whole * n :].addcmul_(p[whole * n :], ends[-1])
    # What overflowed anywhere is not finite at the end either; on a GPU to ask would hold it up.
    if b.device.type == "cpu" and not bool(s[-1].isfinite().all()):
        s = _in_steps(a, b, initial, False)
    return s.flip(0) if reverse else s


def _doubling(a: Tensor, b: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """After k rounds each step holds the last 2^k together (Hillis and Steele 1986); no memory is written twice."""
    if reverse:
        a, b = a.flip(0), b.flip(0)
    b = torch.cat([torch.addcmul(b[:1], a[:1], initial), b[1:]])
    reach = 1
    while reach < len(b):
        b = torch.cat([b[:reach], torch.addcmul(b[reach:], a[reach:], b[:-reach])])
        a = torch.cat([a[:reach], a[reach:] * a[:-reach]])
        reach *= 2
    return b.flip(0) if reverse else b
