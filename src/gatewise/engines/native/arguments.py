"""What the operator is called with: checked, made dense, and described to the kernel."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engines.native.kernel import DrawnMask, Kernel, threads

# The layer's weights in the order in which the operator takes them.
PARTS = ("input_weight", "input_bias", "recurrent_weight", "recurrent_bias", "diag", "vector")


Arguments = Sequence[Any]
"""x, tokens, table, the six weights, initial, lengths, masks and their numbers: what both operators begin with, after
the cell's key."""


def shape_of(arguments: Arguments) -> tuple[int, int, int, int, int]:
    """T, B, I, states, H."""
    x, tokens, initial = arguments[0], arguments[1], arguments[9]
    steps, batch = (tokens if x is None else x).shape[:2]
    return steps, batch, 0 if x is None else x.shape[2], initial.shape[0], initial.shape[2]


def _split_units(kernel: Kernel, batch: int, width: int, hidden: int, count: int) -> bool:
    """Whether the threads share the hidden units rather than the batch.

    Rows of the batch need no waiting for each other. But with few of them a product's weights are read for too little
    work, and weights larger than a core's cache are better read by halves.
    """
    if count == 1 or hidden < 2 * kernel.lanes * count:
        return False
    numbers = hidden * (kernel.inputs * width + kernel.denses * hidden)
    return batch < 8 * count or numbers * kernel.dtype.itemsize > 1 << 19


def common(kernel: Kernel, arguments: Sequence[Any], reverse: bool) -> dict[str, Any]:
    """What the forward and the backward call have in common: sizes, input, weights, lengths."""
    x, tokens, table, *weights, _, lengths, masks, mask_numbers = arguments
    steps, batch, width, _, hidden = shape_of(arguments)
    count = threads()
    values = {
        "T": steps, "B": batch, "I": width, "H": hidden, "threads": count, "reverse": reverse,
        "split_units": _split_units(kernel, batch, width, hidden, count), "lengths": dense(lengths),
    }  # fmt: skip
    values |= _input(rows_of(x), tokens, dense(table))
    values |= zip(PARTS, map(dense, weights), strict=True)
    if mask_numbers:
        values["masks"] = describe_masks(masks, mask_numbers)
    return values


def mask_numbers(cell: Cell) -> list[float]:
    """The scale and the mean of each mask in turn."""
    return [number for mask in cell.masks.values() for number in (mask.scale, mask.mean)]


def describe_masks(masks: Sequence[Tensor], numbers: Sequence[float]) -> ctypes.Array[DrawnMask]:
    """What call.h calls Mask, for each of a cell's masks: ``numbers`` are the scale and the mean of each in turn."""
    scales, means = numbers[::2], numbers[1::2]
    drawn = [(m.data_ptr(), m.stride(0) if len(m) > 1 else 0) for m in masks] or [(0, 0)] * len(scales)
    return (DrawnMask * len(scales))(
        *(DrawnMask(*place, scale, mean) for place, scale, mean in zip(drawn, scales, means, strict=True))
    )


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


def dense(value: Tensor | None) -> Tensor | None:
    if value is None or (value.is_contiguous() and not value.is_neg()):
        return value
    return value.resolve_neg().contiguous()


def rows_of(value: Tensor | None) -> Tensor | None:
    """The value with a last dimension without gaps."""
    if value is None:
        return None
    value = value.resolve_neg() if value.is_neg() else value
    if value.stride(-1) == 1 or value.shape[-1] == 1:
        return value
    if value.numel() and not any(value.stride()):  # one number everywhere, as the gradient of a sum is
        return value[:1, :1].contiguous().expand(value.shape)
    return value.contiguous()


def stored(kernel: Kernel, steps: int, batch: int, width: int, hidden: int, states: int) -> tuple[list[int], ...]:
    """Shapes of history, kept and panels, as call.h lays them out."""
    lanes, rows = kernel.lanes, batch + 1 - batch % 2
    panels = (hidden + lanes - 1) // lanes
    plane = [(panels + panels % 2), rows, lanes]
    means = -(-kernel.means * batch // math.prod(plane))  # in planes
    return (
        [steps + 1, states, *plane],
        [steps, kernel.kept + means, *plane],
        [steps, (width + lanes - 1) // lanes, rows, lanes],
    )


def check(kernel: Kernel, arguments: Arguments) -> None:
    """The kernel sees addresses alone: whatever it is called with must be there, as large as it takes it to be."""
    steps, batch, width, _, hidden = shape_of(arguments)
    x, tokens, table, *rest = arguments
    inputs, denses = kernel.inputs * hidden, kernel.denses * hidden
    projected = kernel.inputs > 0 and tokens is None
    wanted = (
        ("input_weight", (inputs, width), projected), ("input_bias", (inputs,), False),
        ("recurrent_weight", (denses, hidden), denses > 0), ("recurrent_bias", (denses,), False),
        ("diag", (kernel.diags, hidden), kernel.diags > 0), ("vector", (kernel.vectors, hidden), kernel.vectors > 0),
        ("initial state", (kernel.states, batch, hidden), True),
    )  # fmt: skip
    dtype = kernel.dtype
    for value, (name, shape, needed) in zip(rest, wanted, strict=False):
        if value is None:
            if needed:
                raise RuntimeError(f"native: the {name} is missing")
        elif value.shape != shape:
            raise RuntimeError(f"native: the {name} has the shape {tuple(value.shape)}, the cell takes {shape}")
        elif value.dtype is not dtype or not value.is_cpu:
            raise RuntimeError(f"native: the {name} is {value.dtype} on {value.device}, want {dtype} on the CPU")
    lengths, masks, numbers = arguments[10:13]
    if tokens is not None and (table is None or table.dim() != 2 or table.shape[1] != inputs):
        raise RuntimeError(f"native: tokens need a table of (vocabulary, {inputs})")
    for value, dtype, dims in (
        (x, kernel.dtype, 3), (table, kernel.dtype, 2), (tokens, torch.int64, 2), (lengths, torch.int64, 1)
    ):  # fmt: skip
        if value is not None and (value.dtype != dtype or value.dim() != dims or not value.is_cpu):
            found = f"{value.dtype}, {value.dim()}D on {value.device}"
            raise RuntimeError(f"native: a value is {found}; want {dtype}, {dims}D on the CPU")
    if lengths is not None and len(lengths) != batch:
        raise RuntimeError(f"native: {len(lengths)} lengths for {batch} sequences")
    if len(numbers) != 2 * kernel.masks or len(masks) not in (0, kernel.masks):
        raise RuntimeError(f"native: the cell has {kernel.masks} masks, with a scale and a mean each")
    for mask in masks:
        if mask.dtype != torch.bool or mask.shape not in ((steps, batch, hidden), (1, batch, hidden)):
            raise RuntimeError(f"native: a mask is {mask.dtype} {tuple(mask.shape)}; want booleans (T or 1, B, hidden)")


def check_kept(kernel: Kernel, rest: Sequence[Any]) -> None:
    """As :func:`check`, for the backward operator by itself."""
    check(kernel, rest[:13])
    steps, batch, width, states, hidden = shape_of(rest)
    for value, shape in zip(rest[13:16], stored(kernel, steps, batch, width, hidden, states), strict=True):
        if list(value.shape) != shape or value.dtype != kernel.dtype or not value.is_contiguous():
            raise RuntimeError(f"native: what the forward pass kept has the shape {tuple(value.shape)}, want {shape}")
    for value, shape in ((rest[16], (steps, batch, hidden)), (rest[17], (states, batch, hidden))):
        if value is not None and (value.shape != shape or value.dtype != kernel.dtype):
            raise RuntimeError(f"native: a cotangent has the shape {tuple(value.shape)}, want {shape}")
