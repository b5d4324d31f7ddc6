"""The door to a stack that goes on step by step: stream.h and generate.h."""

from __future__ import annotations

import ctypes
import functools
import os
import weakref
from typing import Any, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.engines.native.arguments import describe_masks, mask_numbers
from gatewise.engines.native.kernel import Call, Kernel, fill, threads
from gatewise.engines.request import Request, States, Weights
from gatewise.engines.streaming import Head, Lexicon, Manner

_LARGEST_TABLE = 1 << 26
"""Bytes up to which W x + b is kept for every token of the vocabulary; beyond, it is computed at each step."""
_SHARE = 3 << 17
"""Bytes of a layer's weights for which another thread may pay."""


class _Opening(ctypes.Structure):
    """``Opening`` of stream.h."""

    _fields_ = [
        (name, ctypes.c_int64) for name in ("layers", "calls", "embedding", "scores", "head_weight", "head_bias")
    ]


class _Sampling(ctypes.Structure):
    """``Sampling`` of sample.h."""

    _fields_ = [
        ("temperature", ctypes.c_double), ("top_p", ctypes.c_double),
        ("top_k", ctypes.c_int64), ("greedy", ctypes.c_int64), ("never", ctypes.c_int64),
    ]  # fmt: skip


class _Writing(ctypes.Structure):
    """``Writing`` of generate.h."""

    _NUMBERS = ("given", "given_count", "uniforms", "count", "tokens", "written", "threads")
    _fields_ = [*((name, ctypes.c_int64) for name in _NUMBERS), ("sampling", _Sampling)]


_TOKEN_OUT_OF_RANGE, _IN_USE, _NOT_A_NUMBER = 2, 3, 4


def _declare(kernel: Kernel) -> ctypes.CDLL:
    """The library with the types of its streaming functions."""
    library, address = kernel.library, ctypes.c_void_p
    sizes = (ctypes.c_int64 * 2)()
    library.gatewise_stream_layout(sizes)
    if list(sizes) != [ctypes.sizeof(_Opening), ctypes.sizeof(_Writing)]:
        raise RuntimeError(f"{kernel.path} was built by another version; remove it")
    library.gatewise_stream_open.restype = address
    for name in ("step", "tokens", "read", "write", "generate"):
        getattr(library, f"gatewise_stream_{name}").restype = ctypes.c_int
    for name, count in {"open": 1, "close": 1, "step": 3, "tokens": 3, "read": 2, "write": 2, "generate": 2}.items():
        getattr(library, f"gatewise_stream_{name}").argtypes = [address] * count
    library.gatewise_stream_threads.argtypes = [address, ctypes.c_int]
    library.gatewise_choose.restype = ctypes.c_int64
    library.gatewise_choose.argtypes = [address, address, ctypes.c_int64, ctypes.c_double]
    return library


class NativeStream:
    """See :class:`gatewise.engines.streaming.Stream`; opened by :meth:`NativeEngine.open`."""

    def __init__(
        self, kernel: Kernel, request: Request, batch: int, lexicon: Lexicon | None, head: Head | None
    ) -> None:
        self._kernel, self._library = kernel, (library := _declare(kernel))
        self._kept: list[Tensor] = []  # what the stream reads at every step, beside the matrices that it packs
        some = request.some_weight
        assert some is not None
        self._hidden, self._batch, self._dtype = _hidden(request), batch, some.dtype
        self._layers, self._states = len(request.weights), len(request.cell.states)
        count = min(threads(), _most_threads(request, batch))
        split = batch < 8 * count
        calls = (Call * self._layers)()
        self._masks = describe_masks((), mask_numbers(request.cell))
        embedding = None
        for layer, ((weights,), call) in enumerate(zip(request.weights, calls, strict=True)):
            width = 0 if weights.input is None else weights.input.shape[1]
            fill(call, {"T": 1, "B": batch, "I": width, "H": self._hidden, "threads": count, "split_units": split})
            fill(call, {"masks": self._masks})
            fill(call, {"input_weight": self._dense(weights.input), "recurrent_weight": self._dense(weights.recurrent)})
            for part in ("input_bias", "recurrent_bias", "diag", "vector"):
                fill(call, {part: self._dense(getattr(weights, part), copy=True)})
            if layer == 0 and lexicon is not None:
                embedding = self._read_tokens(call, weights, lexicon)
        weight = None if head is None else self._dense(head.weight)
        bias = None if head is None else self._dense(head.bias, copy=True)
        opening = _Opening(
            self._layers, ctypes.addressof(calls), _address(embedding), 0 if weight is None else len(weight),
            _address(weight), _address(bias),
        )  # fmt: skip
        handle = library.gatewise_stream_open(ctypes.byref(opening))
        if not handle:
            raise MemoryError("native engine: not enough memory for a stream")
        self._handle, self._vocabulary = handle, 0 if lexicon is None else lexicon.size
        function = library.gatewise_stream_step if lexicon is None else library.gatewise_stream_tokens
        self.step = functools.partial(function, handle)  # nothing of Python between
        self._set_threads(count)
        weakref.finalize(self, library.gatewise_stream_close, handle)
        _streams.add(self)

    def _set_threads(self, count: int) -> None:
        self._threads = count
        self._library.gatewise_stream_threads(self._handle, count)

    def _dense(self, value: Tensor | None, copy: bool = False) -> Tensor | None:
        if value is None:
            return None
        value = value.detach().resolve_neg().contiguous()
        self._kept.append(value.clone() if copy else value)
        return self._kept[-1]

    def _read_tokens(self, call: Call, weights: Weights, lexicon: Lexicon) -> Tensor | None:
        """Make the first layer read tokens: from a table of projections, or from the rows given back."""
        call.vocabulary = lexicon.size
        if weights.input is None:
            return None
        weight, rows = weights.input.detach(), lexicon.embedding
        size = lexicon.size * weight.shape[0] * weight.element_size()
        if rows is not None and size > _LARGEST_TABLE:
            return self._dense(rows)
        bias = None if weights.input_bias is None else weights.input_bias.detach()
        if rows is not None:
            table = F.linear(rows.detach(), weight, bias)
        else:
            table = weight.t() if bias is None else weight.t() + bias
        fill(call, {"table": self._dense(table), "table_width": weight.shape[0], "input_bias": 0})  # it has the bias
        return None

    def read(self) -> States:
        found = torch.empty(self._states, self._layers, self._batch, self._hidden, dtype=self._dtype)
        self._check(self._library.gatewise_stream_read(self._handle, found.data_ptr()))
        return found.unbind()

    def write(self, states: States | None) -> None:
        given = None if states is None else torch.stack(states).to("cpu", self._dtype).contiguous()
        self._check(self._library.gatewise_stream_write(self._handle, _address(given)))

    def generate(self, given: Tensor, uniforms: Tensor, manner: Manner) -> tuple[Tensor, bool]:
        tokens = torch.empty(len(uniforms), dtype=torch.int64)
        writing = _Writing(
            given.data_ptr(), len(given), uniforms.data_ptr(), len(uniforms), tokens.data_ptr(), 0,
            self._threads, _sampling(manner),
        )  # fmt: skip
        outcome = self._library.gatewise_stream_generate(self._handle, ctypes.byref(writing))
        if outcome != _NOT_A_NUMBER:
            self._check(outcome)
        return tokens[: writing.written], outcome != _NOT_A_NUMBER

    def choose(self, scores: Tensor, manner: Manner, uniform: float) -> int | None:
        return choose(self._kernel, scores, manner, uniform)

    def _check(self, outcome: int) -> None:
        if outcome:
            self.fail(outcome)

    def fail(self, outcome: int) -> NoReturn:
        if outcome == _IN_USE:
            raise RuntimeError("this stream is in use by another thread; every thread needs one of its own")
        if outcome == _TOKEN_OUT_OF_RANGE:
            raise IndexError(f"a token is outside 0 ... {self._vocabulary - 1}")
        raise MemoryError("native engine: not enough memory")


_streams: weakref.WeakSet[NativeStream] = weakref.WeakSet()


def _stay_alone() -> None:
    for stream in _streams:  # the threads of the parent are not in the child
        stream._set_threads(1)


os.register_at_fork(after_in_child=_stay_alone)


def choose(kernel: Kernel, scores: Tensor, manner: Manner, uniform: float) -> int | None:
    """The token for scores (V,) and a uniform number, None where a score is not a number: the loop's own choice."""
    scores = scores.to(kernel.dtype).clone()
    sampling = _sampling(manner)
    token = _declare(kernel).gatewise_choose(ctypes.byref(sampling), scores.data_ptr(), len(scores), uniform)
    return None if token < 0 else token


def _sampling(manner: Manner) -> _Sampling:
    greedy = manner.greedy or manner.temperature == 0
    never = -1 if manner.never is None else manner.never
    return _Sampling(manner.temperature, manner.top_p, min(manner.top_k, 2**62), greedy, never)


def _address(value: Tensor | None) -> int:
    return 0 if value is None else value.data_ptr()


def _hidden(request: Request) -> int:
    weights, used = request.weights[0][0], request.connections
    for value, gates in ((weights.input, used.input), (weights.recurrent, used.dense)):
        if value is not None:
            return value.shape[0] // len(gates)
    rows: Any = weights.diag if weights.diag is not None else weights.vector
    return rows.shape[1]


def _most_threads(request: Request, batch: int) -> int:
    """Threads for which there is work: with several rows at once, a weight that is read is used longer."""
    matrices = [w for (layer,) in request.weights for w in (layer.input, layer.recurrent) if w is not None]
    size = sum(w.numel() * w.element_size() for w in matrices) // len(request.weights)
    return max(1, size * max(1, batch // 4) // _SHARE)
