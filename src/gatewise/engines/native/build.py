"""From a cell to its kernel: traced, emitted, compiled, loaded; once a process, and once a machine."""

from __future__ import annotations

import functools
import hashlib
import threading
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import torch

from gatewise.cells import CELLS, Cell
from gatewise.engines.native.cache import library
from gatewise.engines.native.compiler import CompileError
from gatewise.engines.native.emit import emit
from gatewise.engines.native.kernel import Kernel
from gatewise.engines.native.notice import say
from gatewise.engines.remembered import Remembered
from gatewise.errors import UserError
from gatewise.graph import trace

REALS = {torch.float32: "float", torch.float64: "double"}
"""The precisions that have kernels, and what they are called in C++."""

_building = threading.RLock()
_kernels: dict[str, Kernel] = {}
_failures: dict[str, CompileError] = {}
_untold: list[CompileError] = []


@dataclass
class _Known:
    """What is known of a cell: its source, its kernels."""

    source: str
    keys: dict[tuple[torch.dtype, bool], str] = field(default_factory=dict)


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


@Remembered
def _known(cell: Cell, held: _Known | None) -> _Known:
    text = emit(trace(cell))
    return held if held is not None and held.source == text else _Known(text)


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
    if kind not in known.keys:
        precision = "bf16" if bf16 else REALS[dtype]
        key = f"{cell.name} {precision} {hashlib.sha256(known.source.encode()).hexdigest()[:16]}"
        with _building:
            _make(key, cell.name, known.source, dtype, bf16)
        known.keys[kind] = key
    return known.keys[kind]


def _make(key: str, name: str, text: str, dtype: torch.dtype, bf16: bool) -> None:
    if key in _failures:
        raise _failures[key].with_traceback(None)  # the compiler would be asked the same on every call
    if key in _kernels:
        return
    try:
        _kernels[key] = _built(name, text, dtype, bf16)
    except CompileError as error:
        _failures[key] = error
        _untold.append(error)
        raise


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


def tell_failures(instead: str) -> None:
    """Say once of each kernel that could not be compiled what runs in its place."""
    while _untold:
        error = _untold.pop()
        say(f"{error.what} in {error.source}, the source of a native kernel; engine '{instead}' runs instead")


def kernel_named(key: str) -> Kernel:
    """The kernel that :func:`kernel` built in this process, or, for a program exported in another, in that one."""
    if key not in _kernels:
        _find_again(key)
    return _kernels[key]


def _find_again(key: str) -> None:
    name, precision, _ = key.rsplit(" ", 2)
    bf16 = precision == "bf16"
    dtype = next((d for d, real in REALS.items() if real == ("float" if bf16 else precision)), None)
    if name not in CELLS or dtype is None or kernel(CELLS[name](), dtype, bf16) != key:
        raise KeyError(f"{key}: this program needs the kernel of a cell that is not known here as it was there")
