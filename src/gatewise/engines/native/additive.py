"""The sums of additive attention, compiled: one pass over the keys for what takes PyTorch several."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from importlib import resources

import torch
from torch import Tensor

from gatewise.engines.additive import Asking, Sums
from gatewise.engines.native.build import REALS, headers
from gatewise.engines.native.cache import library
from gatewise.engines.native.kernel import threads
from gatewise.errors import UserError

NAME = "additive attention"


class Call(ctypes.Structure):
    """``Call`` of additive.cpp: sizes, strides and addresses, each of eight bytes, in the same order."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            "B", "T", "A", "H", "S", "threads", "key_row", "d_time", "d_row",
            "keys", "queries", "score", "sums", "d_sums", "d_queries", "d_score", "d_keys",
            "values", "weights", "context", "d_context", "products",
        )
    ]  # fmt: skip


@functools.cache
def compiled(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The library for numbers of a type, built where it is not there; None where it cannot be had."""
    if dtype not in REALS:
        return None
    source = resources.files("gatewise.engines.native").joinpath("additive.cpp").read_text(encoding="utf-8")
    shared = {name: headers()[name] for name in ("threads.h", "vector.h")}
    try:
        found = ctypes.CDLL(str(library(NAME, source, headers=shared, defines={"GATEWISE_REAL": REALS[dtype]})))
    except (UserError, OSError):  # without a compiler, or with one that fails, PyTorch does the same
        return None
    for name in ("lanes", "size"):
        getattr(found, f"gatewise_additive_{name}").restype = ctypes.c_int64
    return found if found.gatewise_additive_size() == ctypes.sizeof(Call) else None


def sums_of(keys: Tensor, values: Tensor) -> Sums:
    """Of keys (B, T, A) and values (B, T, S): compiled where that can be, by PyTorch elsewhere."""
    plain = type(keys) is type(values) is Tensor and keys.is_cpu and not torch.compiler.is_compiling()
    found = compiled(keys.dtype) if plain and keys.numel() else None
    return Sums(keys, values) if found is None else CompiledSums(keys, values, found)


class CompiledSums(Sums):
    """As :class:`gatewise.engines.additive.Sums`; what has no exponential is left to that."""

    def __init__(self, keys: Tensor, values: Tensor, kernels: ctypes.CDLL) -> None:
        super().__init__(keys, _dense(values))
        self._kernels = kernels
        rows, steps, units = keys.shape
        lanes = kernels.gatewise_additive_lanes()
        self._laid_out = keys.new_zeros(rows, units, -(-steps // lanes) * lanes)
        if self._has_small_keys:
            torch.exp(2 * keys.transpose(1, 2), out=self._laid_out[..., :steps])

    def by_unit(self, asking: Asking, score: Tensor) -> Tensor:
        if not asking[0]:
            return super().by_unit(asking, score)
        sums = self.keys.new_empty(self.keys.shape[:2])
        self._run("by_unit", {"sums": sums}, queries=asking[1], score=score)
        return sums

    def by_time(self, asking: Asking, d: Tensor) -> tuple[Tensor, Tensor]:
        if not asking[0]:
            return super().by_time(asking, d)
        of_slope, of_rest = (self.keys.new_empty(len(self.keys), self.keys.shape[2]) for _ in range(2))
        self._run("by_time", {"d_queries": of_slope, "d_score": of_rest}, queries=asking[1], d_sums=d)
        return of_slope, of_rest

    def by_query(self, asked: Sequence[Asking], d: Tensor) -> Tensor:
        if not asked or not all(is_grown for is_grown, _ in asked):
            return super().by_query(asked, d)
        queries, sums = torch.stack([query for _, query in asked], 2), torch.empty_like(self._laid_out)
        self._run("by_query", {"d_keys": sums}, len(asked), queries=queries, d_sums=d)
        return sums[..., : self.keys.shape[1]].transpose(1, 2)

    def context(self, weights: Tensor) -> Tensor:
        context = self.values.new_empty(len(self.values), self.values.shape[2])
        self._run("context", {"context": context}, weights=weights)
        return context

    def products(self, d_context: Tensor) -> Tensor:
        products = self.values.new_empty(self.values.shape[:2])
        self._run("products", {"products": products}, d_context=d_context)
        return products

    def _run(self, name: str, made: Mapping[str, Tensor], times: int = 1, **given: Tensor) -> None:
        """Call one of the library's functions, which sees addresses alone: what it reads is made dense."""
        rows, steps, units = self.keys.shape
        read = {key: _dense(value) for key, value in given.items()} | {"keys": self._laid_out, "values": self.values}
        if any(value.dtype != self.keys.dtype for value in read.values()):
            raise RuntimeError(f"additive attention: a value is not {self.keys.dtype}, as the keys are")
        sizes = {"B": rows, "T": steps, "A": units, "H": times, "S": self.values.shape[2], "threads": threads()}
        strides = {"key_row": self._laid_out.shape[2], "d_time": rows * steps, "d_row": steps}
        places = {key: value.data_ptr() for key, value in (read | dict(made)).items()}
        getattr(self._kernels, f"gatewise_additive_{name}")(ctypes.byref(Call(**sizes, **strides, **places)))


def _dense(value: Tensor) -> Tensor:
    return value.resolve_neg().contiguous()
