"""How the states of a stack are handed to a layer and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.engines import States
from gatewise.errors import UserError
from gatewise.layers.shapes import LayerShape


class StateLayout:
    """The form of a stack's states, which is one of two.

    Layers that have the same states, of the same sizes, keep them together as in torch.nn: one tensor a state, of all
    layers and directions, (layers D, B, size); the tensor itself where the cell has one state, else a tuple. Layers
    that differ have theirs apart: a tuple with one entry a layer, which is what that layer by itself would have.

    Within the package the states of either form are a flat tuple of tensors, in order.

    Attributes:
        together: whether the form is torch.nn's.
        rows: (label, layers times directions, size) of each tensor.
    """

    def __init__(self, shapes: Sequence[LayerShape]) -> None:
        kinds = [(shape.cell.states, shape.state_sizes) for shape in shapes]
        self.together = all(kind == kinds[0] for kind in kinds)
        self._directions = shapes[0].directions
        self._names = [names for names, _ in (kinds[:1] if self.together else kinds)]
        count = self._directions * (len(shapes) if self.together else 1)
        self.rows: list[tuple[str, int, int]] = []
        for k, (names, sizes) in enumerate(kinds[:1] if self.together else kinds):
            place = "hidden" if self.together else f"hidden[{k}]"
            labels = [place] if len(names) == 1 else [f"{place}[{i}]" for i in range(len(names))]
            self.rows += [(label, count, size) for label, size in zip(labels, sizes, strict=True)]

    def given(self, hx: Any) -> States:
        """The flat states of what a user gives.

        Raises:
            RuntimeError, UserError: another number of states, or of layers.
        """
        if self.together:
            return _flat(hx, self._names[0])
        entries = (hx,) if isinstance(hx, Tensor) else _tuple(hx)
        if isinstance(hx, Tensor) or len(entries) != len(self._names):
            raise UserError(
                f"hx: the layers have different states, so it is a tuple with one entry a layer, {len(self._names)} "
                f"of them, got {'a tensor' if isinstance(hx, Tensor) else len(entries)}"
            )
        return tuple(t for entry, names in zip(entries, self._names, strict=True) for t in _flat(entry, names))

    def returned(self, states: States) -> Any:
        """The user's form of flat states."""
        if self.together:
            return states[0] if len(states) == 1 else states
        return tuple(part[0] if len(part) == 1 else part for part in self._split(states))

    def by_layer(self, states: States) -> tuple[States, ...]:
        """The states of each layer, (directions, B, size) each."""
        if not self.together:
            return self._split(states)
        return tuple(zip(*(state.split(self._directions) for state in states), strict=True))

    def top(self, hx: Any) -> Tensor:
        """The first state of the top layer, (directions, B, size), in what a layer returns."""
        if not self.together:
            return self.by_layer(self.given(hx))[-1][0]
        first = self.given(hx)[0]
        return first if len(first) == self._directions else first[-self._directions :]

    def of_layers(self, states: Sequence[States]) -> States:
        """Flat, from those of each layer."""
        if not self.together:
            return tuple(state for layer in states for state in layer)
        return tuple(map(torch.cat, zip(*states, strict=True)))

    def _split(self, states: States) -> tuple[States, ...]:
        ends = [sum(map(len, self._names[: k + 1])) for k in range(len(self._names))]
        return tuple(states[end - len(names) : end] for end, names in zip(ends, self._names, strict=True))


def _flat(hx: Any, names: tuple[str, ...]) -> States:
    states = (hx,) if len(names) == 1 and isinstance(hx, Tensor) else _tuple(hx)
    if len(states) != len(names):
        raise RuntimeError(f"hx must have one tensor for each of {names}, got {len(states)}")
    for state in states:
        if not isinstance(state, Tensor):
            raise UserError(f"hx: want a tensor for each of {names}, not {type(state).__name__}")
    return states


def _tuple(hx: Any) -> tuple[Any, ...]:
    try:
        return tuple(hx)
    except TypeError:
        raise UserError(f"hx: want a tensor, or a tuple of tensors, not {type(hx).__name__}") from None
