"""Large tensors whose memory is kept for the next call: fresh pages cost as much as the work that fills them."""

from __future__ import annotations

import math
import mmap
import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SMALLEST = 8 << 20
"""Bytes from which on the C library gives memory back to the system when it is freed."""
_MOST_IDLE = 1 << 30
"""Bytes that may wait for their next use."""
_PAGE = 2 << 20


class _Lease:
    """Memory in use; goes back to the pool when the last tensor on it is gone."""

    def __init__(self, pool: Pool, memory: mmap.mmap) -> None:
        self._pool, self._memory = pool, memory
        address = np.frombuffer(memory, np.uint8).ctypes.data
        self.__array_interface__ = {"data": (address, False), "shape": (len(memory),), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        self._pool.give_back(self._memory)


class Pool:
    """Anonymous memory by the size, in large pages where the system has them."""

    def __init__(self) -> None:
        self._idle: list[mmap.mmap] = []
        self._returned: deque[mmap.mmap] = deque()
        self._lock = threading.Lock()

    def take(self, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """At least ``size`` bytes.

        Raises:
            MemoryError: there is not so much.
        """
        with self._lock:
            self._collect()
            fitting = [m for m in self._idle if size <= len(m) <= 2 * size]
            memory = min(fitting, key=len, default=None)
            if memory is not None:
                self._idle.remove(memory)
        if memory is None:
            try:
                memory = mmap.mmap(-1, math.ceil(size / _PAGE) * _PAGE, **_PRIVATE)
            except (OSError, OverflowError, ValueError):
                raise MemoryError(f"native engine: not enough memory for {size} bytes") from None
            if hasattr(mmap, "MADV_HUGEPAGE"):
                memory.madvise(mmap.MADV_HUGEPAGE)
        return np.asarray(_Lease(self, memory))

    def give_back(self, memory: mmap.mmap) -> None:
        """The garbage collector may call this at any time, also within ``take``: it must not wait for the lock."""
        self._returned.append(memory)
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    def _collect(self) -> None:
        while self._returned:
            self._idle.append(self._returned.popleft())
        while sum(map(len, self._idle)) > _MOST_IDLE:
            self._idle.pop(0)

    def renew_lock(self) -> None:
        """In a forked process: another thread may have held the lock."""
        self._lock = threading.Lock()


# Not shared with a forked process, as it would be without saying so.
_PRIVATE: dict[str, int] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
_pool = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.renew_lock)


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """A tensor with undefined values, of the type of ``like``."""
    size = math.prod(shape) * like.element_size()
    if size < _SMALLEST or torch.are_deterministic_algorithms_enabled():  # PyTorch then fills what is undefined
        return like.new_empty(shape)
    memory = torch.from_numpy(_pool.take(size))
    # Not a view of it: what an operator returns may be changed in place.
    return like.new_empty(0).set_(memory.untyped_storage(), 0, tuple(shape))  # type: ignore[call-overload]
