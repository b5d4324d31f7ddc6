"""The native engine's one operator: a cell over time, in one layer and direction, with its gradient."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.engines.native import memory
from gatewise.engines.native.arguments import (
    PARTS,
    Arguments,
    check,
    check_kept,
    common,
    dense,
    rows_of,
    shape_of,
    stored,
)
from gatewise.engines.native.build import kernel_named

_GRADIENTS = ("d_x", "d_table", *(f"d_{part}" for part in PARTS), "d_initial")

_LIBRARY = torch.library.Library("gatewise", "DEF")
_LIBRARY.define(
    "scan(str cell, Tensor? x, Tensor? tokens, Tensor? table, Tensor? input_weight, Tensor? input_bias, "
    "Tensor? recurrent_weight, Tensor? recurrent_bias, Tensor? diag, Tensor? vector, Tensor initial, Tensor? lengths, "
    "Tensor[] masks, float[] mask_numbers, bool reverse, bool keep) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.define(
    "scan_backward(str cell, Tensor? x, Tensor? tokens, Tensor? table, Tensor? input_weight, Tensor? input_bias, "
    "Tensor? recurrent_weight, Tensor? recurrent_bias, Tensor? diag, Tensor? vector, Tensor initial, Tensor? lengths, "
    "Tensor[] masks, float[] mask_numbers, Tensor history, Tensor kept, Tensor panels, Tensor? d_output, "
    "Tensor? d_final, bool reverse, bool[] needed) "
    "-> Tensor[]"
)

Results = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def _scan(cell: str, *rest: Any) -> tuple[Any, ...]:
    *arguments, reverse, keep = rest
    kernel, initial = kernel_named(cell), arguments[9]
    check(kernel, arguments)
    steps, batch, width, states, hidden = shape_of(arguments)
    output = memory.empty((steps, batch, hidden), initial)
    final = initial.new_empty(states, batch, hidden)
    history = kept = panels = None
    if keep:
        shapes = stored(kernel, steps, batch, width, hidden, states)
        history, kept, panels = (memory.empty(shape, initial) for shape in shapes)
    values = common(kernel, arguments, reverse)
    values |= {
        "initial": dense(initial), "final": final, "history": history, "kept": kept, "panels": panels,
        "output": output, "output_step": batch * hidden, "output_row": hidden,
    }  # fmt: skip
    kernel.forward(values)
    return output, final, history, kept, panels


def _scan_for_dispatcher(cell: str, *rest: Any) -> Results:
    """What is not there is an empty tensor: an operator's results are tensors."""
    output, final, *kept = _scan(cell, *rest)
    return output, final, *(output.new_empty(0) if t is None else t for t in kept)  # type: ignore[return-value]


def _scan_fake(cell: str, *rest: Any) -> Results:
    *arguments, _, keep = rest
    initial = arguments[9]
    steps, batch, width, states, hidden = shape_of(arguments)
    shapes = stored(kernel_named(cell), steps, batch, width, hidden, states) if keep else ([0], [0], [0])
    history, kept, panels = (initial.new_empty(shape) for shape in shapes)
    return initial.new_empty(steps, batch, hidden), initial.new_empty(states, batch, hidden), history, kept, panels


def _room_for_gradients(arguments: Arguments, needed: Sequence[bool]) -> list[Tensor | None]:
    """By x, table, the six weights and initial."""
    x, _, table, *weights, initial = arguments[:10]
    return [
        initial.new_empty(value.shape) if wanted else None
        for value, wanted in zip((x, table, *weights, initial), needed, strict=True)
    ]


def _scan_backward(cell: str, *rest: Any) -> list[Tensor | None]:
    *arguments, history, kept, panels, d_output, d_final, reverse, needed = rest
    kernel = kernel_named(cell)
    found = _room_for_gradients(arguments, needed)
    d_output = rows_of(d_output)
    values = common(kernel, arguments, reverse)
    values |= {"history": history, "kept": kept, "panels": panels, "d_output": d_output, "d_final": dense(d_final)}
    if d_output is not None:
        values |= {"d_output_step": d_output.stride(0), "d_output_row": d_output.stride(1)}
    values |= zip(_GRADIENTS, found, strict=True)
    kernel.backward(values)
    return found


def _scan_backward_for_dispatcher(cell: str, *rest: Any) -> list[Tensor]:
    check_kept(kernel_named(cell), rest)
    return _empty_for_none(_scan_backward(cell, *rest), rest[9])


def _empty_for_none(found: list[Tensor | None], like: Tensor) -> list[Tensor]:
    return [like.new_empty(0) if value is None else value for value in found]


def _scan_backward_fake(cell: str, *rest: Any) -> list[Tensor]:
    return _empty_for_none(_room_for_gradients(rest, rest[-1]), rest[9])


def is_transformed() -> bool:
    """Whether one of the transforms of torch.func is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # type: ignore[attr-defined]


def watcher() -> str | None:
    """What goes on that the operator cannot be part of."""
    if is_transformed():
        return "the transforms of torch.func"
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace"
    if torch.autograd.forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    return None


def _direct(values: Sequence[Any]) -> bool:
    """Whether nothing of PyTorch (tensors of another kind, fake ones, tracing, transforms) watches the operators."""
    if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() or is_transformed():
        return False
    return _PLAIN.issuperset(map(type, values))


_PLAIN = {Tensor, torch.nn.Parameter, type(None), bool, list, tuple}


class _Scan(torch.autograd.Function):
    """The operator with its gradient. Called directly where nothing watches: the dispatcher costs as much as a small
    layer does."""

    @staticmethod
    def forward(ctx: Any, direct: bool, cell: str, *rest: Any) -> tuple[Tensor, ...]:
        if direct:
            found = _scan(cell, *rest)
        else:
            with torch._C._AutoDispatchBelowAutograd():
                found = torch.ops.gatewise.scan(cell, *rest)
            ctx.mark_non_differentiable(*found[2:])
        ctx.cell, ctx.reverse, ctx.masks = cell, rest[-2], rest[11:13]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*rest[:11], *found[2:])
        return found[:2] if direct else found

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:  # type: ignore[override]
        (d_output, d_final, *_), needs = cotangents, ctx.needs_input_grad
        if d_output is None and d_final is None:
            return (None,) * len(needs)
        needed = [needs[2], *needs[4:12]]
        saved = ctx.saved_tensors
        arguments, kept = saved[:11], saved[11:]

        def run(d_output: Tensor | None, d_final: Tensor | None) -> list[Tensor | None]:
            function = _scan_backward if _direct((d_output, d_final)) else torch.ops.gatewise.scan_backward
            return function(ctx.cell, *arguments, *ctx.masks, *kept, d_output, d_final, ctx.reverse, needed)

        batched = any(value is not None and _is_batched(value) for value in (d_output, d_final))
        with torch.no_grad():
            found = _one_by_one(run, d_output, d_final) if batched else run(d_output, d_final)
        found = [value if wanted else None for value, wanted in zip(found, needed, strict=True)]
        if torch.is_grad_enabled():  # create_graph=True
            causes = [value for value in (*arguments, d_output, d_final) if value is not None and value.requires_grad]
            found = _Once.apply(len(causes), *causes, *found)
        return (None, None, found[0], None, *found[1:], None, None, None, None, None)


def _is_batched(value: Tensor) -> bool:
    """Whether it stands for many, as with ``is_grads_batched=True``."""
    return torch._C._functorch.is_legacy_batchedtensor(value)  # type: ignore[attr-defined]


def _one_by_one(run: Callable[..., list[Tensor | None]], *batches: Tensor | None) -> list[Tensor | None]:
    """The backward pass for each of a batch of cotangents: only simpler operators take one as it is."""
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    private: Any = torch  # its functions for this are not part of the public interface

    def split(value: Tensor | None) -> Iterable[Tensor | None]:
        if value is None or not _is_batched(value):
            return itertools.repeat(value)
        return private._remove_batch_dim(value, level, 0, 0)

    found = [run(*parts) for parts in zip(*map(split, batches), strict=False)]
    together = (None if parts[0] is None else torch.stack(parts) for parts in zip(*found, strict=True))
    return [None if value is None else private._add_batch_dim(value, 0, level) for value in together]


# torch.autograd.Function's own `apply` looks for the transforms of torch.func first, which `_direct` has done.
_apply_scan = super(torch.autograd.Function, _Scan).apply  # type: ignore[misc]


class _Once(torch.autograd.Function):
    """Gradients that depend on their causes in a way that nobody knows: to go on from them must not give zero."""

    @staticmethod
    def forward(ctx: Any, count: int, *values: Any) -> Any:
        return tuple(None if value is None else value.view_as(value) for value in values[count:])

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:  # type: ignore[override]
        raise RuntimeError("native: the kernel has no second derivative; use engine='eager' to differentiate twice")


def _scan_autograd(cell: str, *rest: Any) -> Results:
    if torch.is_grad_enabled() and rest[-1]:
        return _Scan.apply(False, cell, *rest)  # type: ignore[return-value]
    with torch._C._AutoDispatchBelowAutograd():
        return torch.ops.gatewise.scan(cell, *rest)


_LIBRARY.impl("scan", _scan_for_dispatcher, "CPU")
_LIBRARY.impl("scan", _scan_autograd, "Autograd")
_LIBRARY.impl("scan_backward", _scan_backward_for_dispatcher, "CPU")
torch.library.register_fake("gatewise::scan", _scan_fake, lib=_LIBRARY)
torch.library.register_fake("gatewise::scan_backward", _scan_backward_fake, lib=_LIBRARY)


def scan(
    cell: str,
    x: Tensor | None,
    tokens: Tensor | None,
    table: Tensor | None,
    input_weight: Tensor | None,
    input_bias: Tensor | None,
    recurrent_weight: Tensor | None,
    recurrent_bias: Tensor | None,
    diag: Tensor | None,
    vector: Tensor | None,
    initial: Tensor,
    lengths: Tensor | None,
    masks: Sequence[Tensor],
    mask_numbers: Sequence[float],
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """One layer in one direction: the operator ``gatewise::scan``.

    Args:
        cell: the kernel's key, as :func:`gatewise.engines.native.build.kernel` gives it.
        x: (T, B, I), or None with ``tokens`` (T, B) and ``table`` (vocabulary, input gates x H): the rows that stand
            for W x_t + b.
        tokens, table: see ``x``.
        input_weight, input_bias, recurrent_weight, recurrent_bias, diag, vector: as in ``Weights``.
        initial: (states, B, H).
        lengths: (B,) or None.
        masks: what was drawn, (T or 1, B, H) each, or none: their means.
        mask_numbers: the scale and the mean of each mask in turn.
        reverse: from the last step to the first.
        keep: store what the backward pass needs.

    Returns:
        output (T, B, H), final (states, B, H).
    """
    weights = (input_weight, input_bias, recurrent_weight, recurrent_bias, diag, vector)
    rest = (x, tokens, table, *weights, initial, lengths, masks, mask_numbers, reverse, keep)
    if not _direct(rest):
        output, final, *_ = torch.ops.gatewise.scan(cell, *rest)
    elif keep:
        output, final = _apply_scan(True, cell, *rest)
    else:
        output, final, *_ = _scan(cell, *rest)
    return output, final
