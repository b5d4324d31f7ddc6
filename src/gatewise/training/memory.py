"""How much memory a training needs at least, found without allocating any of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.errors import UserError

GIGABYTE = 1e9


def check_memory(
    build: Callable[[], nn.Module], what: str, step: tuple[Callable[[Any], int], str] | None = None
) -> None:
    """Refuse a training larger than this machine's memory before a byte of it is allocated.

    Args:
        build: makes the model.
        what: the options that decide its size, for the message.
        step: bytes that a training step keeps, of the model on the device "meta"; and what would make them fewer.

    Raises:
        UserError: the weights do not fit, or what a step keeps beside them.
    """
    there = _memory()
    with torch.device("meta"):
        model = build()
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        if weights > there:
            raise UserError(
                f"{what}: {weights / GIGABYTE:,.0f} GB of weights do not fit into memory; choose a smaller model"
            )
        kept = step[0](model) if step else 0
    if step and weights + kept > there:
        raise UserError(
            f"{what}: a training step keeps {kept / GIGABYTE:,.0f} GB at least, and this machine has "
            f"{there / GIGABYTE:,.0f}; {step[1]}"
        )


def _memory() -> float:
    """Bytes of this machine's memory; without an end where it does not say."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else float("inf")


def kept_for_backward(model: nn.Module, loss: Callable[[], Tensor]) -> int:
    """Bytes of all that a loss keeps for its gradient, the weights apart; on "meta" nothing is computed for it.

    >>> layer = nn.Linear(3, 5)
    >>> kept_for_backward(layer, lambda: layer(torch.zeros(7, 3)).tanh().sum())  # the input, and the tanh
    224
    """
    own = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        held = loss()  # alive until all is counted: no two of its tensors can have the same place
    del held
    return sum(kept.values())
