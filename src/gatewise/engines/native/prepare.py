"""Kernels before they are needed: which are there, which are damaged, and building one without a word."""

from __future__ import annotations

from typing import Any

import torch

from gatewise.cells import Cell
from gatewise.engines.native import build, cache
from gatewise.engines.native.compiler import find_compiler
from gatewise.errors import UserError


def why_off() -> str | None:
    """One line saying why this machine cannot build a kernel, or None; wrong flags in the environment included."""
    if reason := cache.why_off():
        return reason
    try:
        compiler = find_compiler()
        assert compiler is not None
        _ = compiler.flags
    except UserError as error:
        return str(error)
    return None


def is_built(cell: Cell, dtype: torch.dtype) -> bool:
    """Whether the next use of a cell in this precision compiles nothing.

    Raises:
        UserError: there cannot be a kernel: no compiler, or an operation that the graph has no node for.
    """
    return cache.built(cell.name, build.source(cell), **_ingredients(dtype)) is not None


def prepare(cell: Cell, dtype: torch.dtype) -> bool:
    """Build a cell's kernel if it is not there, and load it; returns whether it was to be built.

    Raises:
        UserError: as :func:`is_built`; the compiler refused the source, or the cache folder cannot be written to.
    """
    missing = not is_built(cell, dtype)
    cache.library(cell.name, build.source(cell), **_ingredients(dtype), announce=False)
    build.kernel(cell, dtype)  # finds it in the cache
    return missing


def _ingredients(dtype: torch.dtype) -> dict[str, Any]:
    return {"headers": build.headers(), "defines": {"GATEWISE_REAL": build.REALS[dtype]}}


def damaged() -> list[str]:
    """The names of the entries in the cache folder that are not as they were written; their next use mends them."""
    sound = {entry.library.parent for entry in cache.entries() if entry.sound}
    try:
        found = list(cache.cache_folder().glob("[!.]*-" + 16 * "[0-9a-f]"))
    except (OSError, UserError):
        return []
    return sorted(folder.name for folder in found if folder not in sound)
