"""The native engine's one operator: a cell over time, in one layer and direction, with its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.engines.native import memory
from gatewise.engines.native.build import kernel_named
from gatewise.engines.native.kernel import Kernel, threads

# The layer's weights in the order in which the operator takes them.
PARTS = ("input_weight", "input_bias", "recurrent_weight", "recurrent_bias", "diag", "vector")
_GRADIENTS = ("d_x", "d_table", *(f"d_{part}" for part in PARTS), "d_initial")


def _split_units(kernel: Kernel, batch: int, width: int, hidden: int, count: int) -> bool:
    """Whether the threads share the hidden units rather than the batch.

    Rows of the batch need no waiting for each other. But with few of them a product's weights are read for too little
    work, and weights larger than a core's cache are better read by halves.
    """
    if count == 1 or hidden < 2 * kernel.lanes * count:
        return False
    numbers = hidden * (kernel.inputs * width + kernel.denses * hidden)
    return batch < 8 * count or numbers * kernel.dtype.itemsize > 1 << 19


def _common(kernel: Kernel, arguments: Sequence[Any], reverse: bool) -> dict[str, Any]:
    """What the forward and the backward call have in common: sizes, input, weights, lengths."""
    x, tokens, table, *weights, _, lengths = arguments
    steps, batch, width, _, hidden = _shape(arguments)
    count = threads()
    values = {
        "T": steps, "B": batch, "I": width, "H": hidden, "threads": count, "reverse": reverse,
        "split_units": _split_units(kernel, batch, width, hidden, count), "lengths": _dense(lengths),
    }  # fmt: skip
    values |= _input(_rows(x), tokens, _dense(table))
    values |= zip(PARTS, map(_dense, weights), strict=True)
    return values


def _input(x: Tensor | None, tokens: Tensor | None, table: Tensor | None) -> dict[str, int | Tensor | None]:
    if tokens is not None:
        assert table is not None
        step, row = tokens.stride()
        return {
            "tokens": tokens, "token_step": step, "token_row": row, "table": table, "table_width": table.shape[1],
            "vocabulary": table.shape[0],
        }  # fmt: skip
    assert x is not None
    return {"x": x, "x_step": x.stride(0), "x_row": x.stride(1)}


def _dense(value: Tensor | None) -> Tensor | None:
    if value is None or (value.is_contiguous() and not value.is_neg()):
        return value
    return value.resolve_neg().contiguous()


def _rows(value: Tensor | None) -> Tensor | None:
    """The value with a last dimension without gaps."""
    if value is None:
        return None
    value = value.resolve_neg() if value.is_neg() else value
    if value.stride(-1) == 1 or value.shape[-1] == 1:
        return value
    if value.numel() and not any(value.stride()):  # one number everywhere, as the gradient of a sum is
        return value[:1, :1].contiguous().expand(value.shape)
    return value.contiguous()


def _stored(kernel: Kernel, steps: int, batch: int, width: int, hidden: int, states: int) -> tuple[list[int], ...]:
    """Shapes of history, kept and panels, as call.h lays them out."""
    lanes, rows = kernel.lanes, batch + 1 - batch % 2
    panels = (hidden + lanes - 1) // lanes
    plane = [(panels + panels % 2), rows, lanes]
    return (
        [steps + 1, states, *plane],
        [steps, kernel.kept, *plane],
        [steps, (width + lanes - 1) // lanes, rows, lanes],
    )


_LIBRARY = torch.library.Library("gatewise", "DEF")
_LIBRARY.define(
    "scan(str cell, Tensor? x, Tensor? tokens, Tensor? table, Tensor? input_weight, Tensor? input_bias, "
    "Tensor? recurrent_weight, Tensor? recurrent_bias, Tensor? diag, Tensor? vector, Tensor initial, Tensor? lengths, "
    "bool reverse, bool keep) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.define(
    "scan_backward(str cell, Tensor? x, Tensor? tokens, Tensor? table, Tensor? input_weight, Tensor? input_bias, "
    "Tensor? recurrent_weight, Tensor? recurrent_bias, Tensor? diag, Tensor? vector, Tensor initial, Tensor? lengths, "
    "Tensor history, Tensor kept, Tensor panels, Tensor? d_output, Tensor? d_final, bool reverse, bool[] needed) "
    "-> Tensor[]"
)

Results = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
Arguments = Sequence[Any]
"""x, tokens, table, the six weights, initial, lengths: what both operators begin with, after the cell's key."""


def _shape(arguments: Arguments) -> tuple[int, int, int, int, int]:
    """T, B, I, states, H."""
    x, tokens, initial = arguments[0], arguments[1], arguments[9]
    steps, batch = (tokens if x is None else x).shape[:2]
    return steps, batch, 0 if x is None else x.shape[2], initial.shape[0], initial.shape[2]


def _scan(cell: str, *rest: Any) -> tuple[Any, ...]:
    *arguments, reverse, keep = rest
    steps, batch, width, states, hidden = _shape(arguments)
    kernel, initial = kernel_named(cell), arguments[9]
    output = memory.empty((steps, batch, hidden), initial)
    final = initial.new_empty(states, batch, hidden)
    history = kept = panels = None
    if keep:
        shapes = _stored(kernel, steps, batch, width, hidden, states)
        history, kept, panels = (memory.empty(shape, initial) for shape in shapes)
    values = _common(kernel, arguments, reverse)
    values |= {
        "initial": _dense(initial), "final": final, "history": history, "kept": kept, "panels": panels,
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
    steps, batch, width, states, hidden = _shape(arguments)
    shapes = _stored(kernel_named(cell), steps, batch, width, hidden, states) if keep else ([0], [0], [0])
    history, kept, panels = (initial.new_empty(shape) for shape in shapes)
    return initial.new_empty(steps, batch, hidden), initial.new_empty(states, batch, hidden), history, kept, panels


def _room_for_gradients(arguments: Arguments, needed: Sequence[bool]) -> list[Tensor | None]:
    """By x, table, the six weights and initial."""
    x, _, table, *weights, initial, _ = arguments
    return [
        initial.new_empty(value.shape) if wanted else None
        for value, wanted in zip((x, table, *weights, initial), needed, strict=True)
    ]


def _scan_backward(cell: str, *rest: Any) -> list[Tensor | None]:
    *arguments, history, kept, panels, d_output, d_final, reverse, needed = rest
    kernel = kernel_named(cell)
    found = _room_for_gradients(arguments, needed)
    d_output = _rows(d_output)
    values = _common(kernel, arguments, reverse)
    values |= {"history": history, "kept": kept, "panels": panels, "d_output": d_output, "d_final": _dense(d_final)}
    if d_output is not None:
        values |= {"d_output_step": d_output.stride(0), "d_output_row": d_output.stride(1)}
    values |= zip(_GRADIENTS, found, strict=True)
    kernel.backward(values)
    return found


def _scan_backward_for_dispatcher(cell: str, *rest: Any) -> list[Tensor]:
    return _empty_for_none(_scan_backward(cell, *rest), rest[9])


def _empty_for_none(found: list[Tensor | None], like: Tensor) -> list[Tensor]:
    return [like.new_empty(0) if value is None else value for value in found]


def _scan_backward_fake(cell: str, *rest: Any) -> list[Tensor]:
    return _empty_for_none(_room_for_gradients(rest[:11], rest[-1]), rest[9])


def is_transformed() -> bool:
    """Whether one of the transforms of torch.func is at work."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # type: ignore[attr-defined]


def _direct() -> bool:
    """Whether no mode of PyTorch (fake tensors, tracing, functional transforms) watches the operators."""
    return not torch.compiler.is_compiling() and torch._C._len_torch_dispatch_stack() == 0 and not is_transformed()


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
        ctx.cell, ctx.reverse = cell, rest[-2]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*rest[:11], *found[2:])
        return found[:2] if direct else found

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:  # type: ignore[override]
        (d_output, d_final, *_), needs = cotangents, ctx.needs_input_grad
        if d_output is None and d_final is None:
            return (None,) * len(needs)
        needed = [needs[2], *needs[4:12]]
        run = _scan_backward if _direct() else torch.ops.gatewise.scan_backward
        with torch.no_grad():
            found = run(ctx.cell, *ctx.saved_tensors, d_output, d_final, ctx.reverse, needed)
        found = [value if wanted else None for value, wanted in zip(found, needed, strict=True)]
        if torch.is_grad_enabled():  # create_graph=True
            found = _Once.apply(torch.zeros((), requires_grad=True), *found)
        return (None, None, found[0], None, *found[1:], None, None, None)


# torch.autograd.Function's own `apply` looks for the transforms of torch.func first, which `_direct` has done.
_apply_scan = super(torch.autograd.Function, _Scan).apply  # type: ignore[misc]


class _Once(torch.autograd.Function):
    """Gradients that depend on the weights in a way that nobody knows: to go on from them must not give zero."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *gradients: Any) -> Any:
        return tuple(None if value is None else value.view_as(value) for value in gradients)

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
        reverse: from the last step to the first.
        keep: store what the backward pass needs.

    Returns:
        output (T, B, H), final (states, B, H).
    """
    rest = (x, tokens, table, input_weight, input_bias, recurrent_weight, recurrent_bias, diag, vector, initial)
    if not _direct():
        output, final, *_ = torch.ops.gatewise.scan(cell, *rest, lengths, reverse, keep)
    elif keep:
        output, final = _apply_scan(True, cell, *rest, lengths, reverse, keep)
    else:
        output, final, *_ = _scan(cell, *rest, lengths, reverse, keep)
    return output, final
