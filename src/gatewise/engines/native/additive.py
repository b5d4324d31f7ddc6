"""The sums of additive attention, compiled: one pass over the keys for what takes PyTorch several."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from importlib import resources

import torch
from torch import Tensor

from gatewise.engines.additive import Asking, Sums
from gatewise.engines.native.arguments import dense
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
        super().__init__(keys, values)
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
        self._run("by_unit", queries=asking[1], score=dense(score), sums=sums)
        return sums

    def by_time(self, asking: Asking, d: Tensor) -> tuple[Tensor, Tensor]:
        if not asking[0]:
            return super().by_time(asking, d)
        d = d.contiguous()
        of_slope, of_rest = (torch.empty_like(asking[1]) for _ in range(2))
        places = {"queries": asking[1], "d_sums": d, "d_queries": of_slope, "d_score": of_rest}
        self._run("by_time", d_row=d.stride(0), **places)
        return of_slope, of_rest

    def by_query(self, asked: Sequence[Asking], d: Tensor) -> Tensor:
        if not asked or not all(is_grown for is_grown, _ in asked):
            return super().by_query(asked, d)
        queries = torch.stack([query for _, query in asked], 2)
        d, sums = d.contiguous(), torch.empty_like(self._laid_out)
        strides = {"d_time": d.stride(0), "d_row": d.stride(1)}
        self._run("by_query", H=len(asked), queries=queries, d_sums=d, d_keys=sums, **strides)
        return sums[..., : self.keys.shape[1]].transpose(1, 2)

    def context(self, weights: Tensor) -> Tensor:
        context = self.values.new_empty(len(self.values), self.values.shape[2])
        self._run("context", weights=weights.contiguous(), context=context)
        return context

    def products(self, d_context: Tensor) -> Tensor:
        products = self.values.new_empty(self.values.shape[:2])
        self._run("products", d_context=d_context.contiguous(), products=products)
        return products

    def _run(self, name: str, **given: int | Tensor | None) -> None:
        rows, steps, units = self.keys.shape
        sizes = {"B": rows, "T": steps, "A": units, "S": self.values.shape[2], "threads": threads()}
        sizes["key_row"] = self._laid_out.shape[2]
        given |= {"keys": self._laid_out, "values": self.values}
        numbers = {key: v.data_ptr() if isinstance(v, Tensor) else v for key, v in given.items() if v is not None}
        getattr(self._kernels, f"gatewise_additive_{name}")(ctypes.byref(Call(**sizes, **numbers)))
