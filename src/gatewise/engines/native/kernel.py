"""A compiled cell: the door between tensors and the library that was built from its equations."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

_NUMBERS = ("T", "B", "I", "H", "threads", "reverse", "split_units")
_REST = (
    "x", "x_step", "x_row", "tokens", "token_step", "token_row", "vocabulary", "table", "table_width",
    "lengths",
    "input_weight", "input_bias", "recurrent_weight", "recurrent_bias", "diag", "vector", "initial", "masks", "packed",
    "output", "output_step", "output_row", "final", "history", "kept", "panels",
    "d_output", "d_output_step", "d_output_row", "d_final", "d_x", "d_table", "d_initial",
    "d_input_weight", "d_input_bias", "d_recurrent_weight", "d_recurrent_bias", "d_diag", "d_vector",
)  # fmt: skip


class Call(ctypes.Structure):
    """``Call`` of call.h: sizes, strides and addresses, each of eight bytes, in the same order."""

    _fields_ = [(name, ctypes.c_int64) for name in (*_NUMBERS, *_REST)]


Value = int | Tensor | ctypes.Array | None


class DrawnMask(ctypes.Structure):
    """``Mask`` of call.h."""

    _fields_ = [
        ("drawn", ctypes.c_int64), ("step", ctypes.c_int64), ("scale", ctypes.c_double), ("mean", ctypes.c_double),
    ]  # fmt: skip


_OUTCOMES = {1: "not enough memory", 2: "a token is outside the vocabulary"}

_forked = False


def _note_fork() -> None:
    # OpenMP's threads do not survive a fork, and waiting for them would never end.
    global _forked
    _forked = True


os.register_at_fork(after_in_child=_note_fork)


def threads() -> int:
    """Threads that a call may use: PyTorch's number, one in a forked process."""
    return 1 if _forked else torch.get_num_threads()


@dataclass(frozen=True)
class Kernel:
    """One cell in one precision.

    Attributes:
        path: the shared library.
        lanes: numbers in a vector.
        kept: planes that a step of the forward pass leaves for the backward pass.
        inputs: gates that see the input.
        denses: gates with a recurrent product.
        tiles: whether products run on the CPU's tiles (AMX).
        means: means over the units that a step leaves for the backward pass.
        diags, vectors, states, masks: how many the cell has.
        dtype: of all numbers.
    """

    path: Path
    lanes: int
    kept: int
    inputs: int
    denses: int
    tiles: bool
    means: int
    diags: int
    vectors: int
    states: int
    masks: int
    dtype: torch.dtype
    library: ctypes.CDLL

    @staticmethod
    def load(path: Path, dtype: torch.dtype) -> Kernel:
        library = ctypes.CDLL(str(path))
        for name in ("gatewise_forward", "gatewise_backward"):
            getattr(library, name).restype = ctypes.c_int
        library.gatewise_packed_size.restype = ctypes.c_int64
        found = (ctypes.c_int64 * 12)()
        library.gatewise_layout(found)
        lanes, kept, size, call, inputs, denses, tiles, means, diags, vectors, states, masks = found
        if size != dtype.itemsize or call != ctypes.sizeof(Call):
            raise RuntimeError(f"{path} was built for other numbers than {dtype}; remove it")
        counts = (means, diags, vectors, states, masks)
        return Kernel(path, lanes, kept, inputs, denses, bool(tiles), *counts, dtype, library)

    @property
    def usable(self) -> bool:
        """Whether this machine grants what the kernel needs."""
        return bool(self.library.gatewise_is_usable())

    def forward(self, values: Mapping[str, Value]) -> None:
        self._run(self.library.gatewise_forward, values)

    def backward(self, values: Mapping[str, Value]) -> None:
        self._run(self.library.gatewise_backward, values)

    @staticmethod
    def _run(function: ctypes._NamedFuncPointer, values: Mapping[str, Value]) -> None:
        call = fill(Call(), values)
        outcome = function(ctypes.byref(call))
        if outcome == 2:
            raise IndexError(_OUTCOMES[outcome])
        if outcome:
            raise MemoryError(f"native engine: {_OUTCOMES[outcome]}")


def fill(call: Call, values: Mapping[str, Value]) -> Call:
    """Write sizes, and the addresses of tensors, into a call; None leaves what is there (zero, in a new call)."""
    for name, value in values.items():
        if isinstance(value, Tensor):
            setattr(call, name, value.data_ptr())
        elif isinstance(value, ctypes.Array):
            setattr(call, name, ctypes.addressof(value))
        elif value is not None:
            setattr(call, name, value)
    return call
