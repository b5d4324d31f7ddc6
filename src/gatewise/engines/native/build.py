"""From a cell to its kernel: traced, emitted, compiled, loaded; once a process, and once a machine."""

from __future__ import annotations

import functools
import hashlib
import threading
import weakref
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from gatewise.cells import Cell
from gatewise.engines.native.cache import library
from gatewise.engines.native.compiler import CompileError
from gatewise.engines.native.emit import emit
from gatewise.engines.native.kernel import Kernel
from gatewise.errors import UserError
from gatewise.graph import trace

REALS = {torch.float32: "float", torch.float64: "double"}
"""The precisions that have kernels, and what they are called in C++."""

_building = threading.RLock()
_kernels: dict[str, Kernel] = {}


@dataclass
class _Known:
    """What is known of a cell: its attributes, which may be numbers in its equations, its source, its kernels."""

    cell: weakref.ref[Cell]
    attributes: dict[str, Any] | None
    source: str
    keys: dict[tuple[torch.dtype, bool], str] = field(default_factory=dict)
    failures: dict[tuple[torch.dtype, bool], CompileError] = field(default_factory=dict)


_cells: dict[int, _Known] = {}  # by identity: a cell may have an __eq__ of its own, as a dataclass has, and no hash


@functools.cache
def headers() -> dict[str, str]:
    """The C++ that all cells share, by file name."""
    files = (f for f in resources.files("gatewise.engines.native").iterdir() if f.name.endswith(".h"))
    return {f.name: f.read_text(encoding="utf-8") for f in sorted(files, key=lambda f: f.name)}


def source(cell: Cell) -> str:
    """The emitted C++ of a cell.

    Raises:
        UnsupportedOperationError: the cell does something that the graph has no node for.
    """
    return _known(cell).source


def _known(cell: Cell) -> _Known:
    known, attributes = _cells.get(id(cell)), _constants(cell)
    if known is None or known.cell() is not cell:
        known = _cells[id(cell)] = _Known(weakref.ref(cell), attributes, emit(trace(cell)))
        weakref.finalize(cell, _cells.pop, id(cell), None)
    elif attributes is None or known.attributes != attributes:
        text = emit(trace(cell))
        if known.source != text:
            known = _cells[id(cell)] = _Known(weakref.ref(cell), attributes, text)
        known.attributes = attributes
    return known


def _constants(cell: Cell) -> dict[str, Any] | None:
    """A cell's attributes; None where one may change in place, so that the cell has to be looked at on every call."""
    constant = all(isinstance(value, int | float | str | None) for value in vars(cell).values())
    return dict(vars(cell)) if constant else None


def kernel(cell: Cell, dtype: torch.dtype, bf16: bool = False) -> str:
    """Build or find the kernel of a cell; returns the key by which the operator knows it.

    Args:
        cell: the cell.
        dtype: of all values, float32 or float64.
        bf16: multiply in bfloat16 with float32 sums, for float32.

    Raises:
        UnsupportedOperationError: as :func:`source`.
        CompileError: the compiler failed.
        UserError: there is no compiler, or the cache folder cannot be written.
    """
    known, kind = _known(cell), (dtype, bf16)
    if kind in known.failures:
        raise known.failures[kind].with_traceback(None)  # the compiler would be asked the same on every call
    if kind not in known.keys:
        precision = "bf16" if bf16 else REALS[dtype]
        key = f"{cell.name} {precision} {hashlib.sha256(known.source.encode()).hexdigest()[:16]}"
        with _building:
            if key not in _kernels:
                try:
                    _kernels[key] = _built(cell.name, known.source, dtype, bf16)
                except CompileError as error:
                    known.failures[kind] = error
                    raise
        known.keys[kind] = key
    return known.keys[kind]


def _built(name: str, text: str, dtype: torch.dtype, bf16: bool) -> Kernel:
    defines = {"GATEWISE_REAL": REALS[dtype]} | ({"GATEWISE_BF16": "1"} if bf16 else {})
    made = _load(library(name, text, headers=headers(), defines=defines), dtype)
    if made.usable:
        return made
    # The CPU has tiles, but the system does not grant them: float32 products of rounded numbers instead.
    defines["GATEWISE_NO_AMX"] = "1"
    return _load(library(name, text, headers=headers(), defines=defines), dtype)


def _load(path: Path, dtype: torch.dtype) -> Kernel:
    try:
        return Kernel.load(path, dtype)
    except (OSError, AttributeError) as error:  # it is what the compiler made, and no kernel
        raise UserError(f"the compiled kernel does not load: {error}; set GATEWISE_CXX to another compiler") from None


def kernel_named(key: str) -> Kernel:
    """The kernel that :func:`kernel` built in this process."""
    return _kernels[key]
