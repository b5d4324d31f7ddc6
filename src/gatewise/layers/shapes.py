"""What the layers of a stack are: their cells, and the names and shapes of their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gatewise.cells import Cell, Connections, connections, resolve
from gatewise.errors import UserError

PARTS = {
    "input": "weight_ih",
    "recurrent": "weight_hh",
    "input_bias": "bias_ih",
    "recurrent_bias": "bias_hh",
    "projection": "weight_hr",
    "diag": "weight_diag",
    "vector": "vector",
}
"""The parts of a layer's weights in the order of ``Weights``, in which they are made and drawn: torch.nn's first."""

INITIAL = "initial_"
"""What the names of learned initial states begin with."""


@dataclass(frozen=True)
class LayerShape:
    """One layer of a stack.

    Attributes:
        cell: its equations.
        connections: the weights that they use.
        input_size: features of what it is fed with.
        hidden_size: units of a state, H.
        proj_size: size of its projected output, 0 without a projection.
        bias: whether its projections have biases.
        directions: 1, or 2.
        kernel: pixels of a product's kernel along each axis; none where it is a matrix.
    """

    cell: Cell
    connections: Connections
    input_size: int
    hidden_size: int
    proj_size: int
    bias: bool
    directions: int
    kernel: tuple[int, ...] = ()

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The size of each state: proj_size or hidden_size for the first, hidden_size for the others."""
        return (self.proj_size or self.hidden_size, *(self.hidden_size for _ in self.cell.states[1:]))

    @property
    def output_size(self) -> int:
        """Features of the output: both directions together."""
        return self.state_sizes[0] * self.directions

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parts that exist, in order."""
        H, used = self.hidden_size, self.connections
        shapes: dict[str, tuple[int, ...]] = {}
        if used.input:
            shapes["input"] = (len(used.input) * H, self.input_size, *self.kernel)
        if used.dense:
            shapes["recurrent"] = (len(used.dense) * H, self.state_sizes[0], *self.kernel)
        if used.input and self.bias:
            shapes["input_bias"] = (len(used.input) * H,)
        if used.dense and self.bias:
            shapes["recurrent_bias"] = (len(used.dense) * H,)
        if self.proj_size:
            shapes["projection"] = (self.proj_size, H)
        if used.diag:
            shapes["diag"] = (len(used.diag), H)
        if used.vector:
            shapes["vector"] = (len(used.vector), H)
        return shapes

    def initial_states(self) -> Iterator[tuple[str, int]]:
        """The names of learned initial states, without layer and direction, and their sizes."""
        return zip((f"{INITIAL}{state}" for state in self.cell.states), self.state_sizes, strict=True)


def depth(cell: Any, hidden_size: Any, num_layers: int | None) -> int:
    """The number of layers: what is given, or as many as cells or sizes are listed, or 1.

    Raises:
        UserError: two of them disagree, or a list is empty.
    """
    lists = {"cells": cell, "hidden sizes": hidden_size}
    counts = {f"{len(given)} {what}": len(given) for what, given in lists.items() if isinstance(given, list | tuple)}
    if num_layers is not None:
        counts[f"num_layers={num_layers}"] = num_layers
    if 0 in counts.values() and num_layers != 0:
        raise UserError("a list of cells or of hidden sizes is empty: want one a layer")
    if len(set(counts.values())) > 1:
        more = "; leave num_layers out" if num_layers is not None else ""
        raise UserError(f"{' beside '.join(counts)}: want one a layer{more}")
    return next(iter(counts.values()), 1)


def one_a_layer(given: Any, count: int) -> list[Any]:
    """A list as it is; another value once for each layer."""
    return list(given) if isinstance(given, list | tuple) else [given for _ in range(count)]


def resolve_each(cells: Sequence[Any]) -> list[Cell]:
    """The cells that are meant; what is listed twice is one cell, so that its layers can share a kernel."""
    found: dict[Any, Cell] = {}
    keys = [cell if isinstance(cell, str) else id(cell) for cell in cells]
    for key, cell in zip(keys, cells, strict=True):
        if key not in found:
            found[key] = resolve(cell)
    return [found[key] for key in keys]


def shapes_of(
    cells: Sequence[Cell], sizes: Sequence[int], input_size: int, proj_size: int, bias: bool, directions: int,
    residual: bool, kernel: tuple[int, ...] = (),
) -> tuple[LayerShape, ...]:  # fmt: skip
    """The layers from the lowest up, each fed with the output of the one below.

    Raises:
        UserError: ``residual``, and a layer but the first whose output has not the size of its input.
    """
    shapes: list[LayerShape] = []
    used: dict[tuple[int, int], Connections] = {}
    for cell, hidden in zip(cells, sizes, strict=True):
        key = (id(cell), hidden)
        if key not in used:
            used[key] = connections(cell, hidden)
        below = shapes[-1].output_size if shapes else input_size
        shapes.append(LayerShape(cell, used[key], below, hidden, proj_size, bias and cell.biased, directions, kernel))
    if residual:
        _check_residual(shapes)
    return tuple(shapes)


def _check_residual(shapes: Sequence[LayerShape]) -> None:
    if len(shapes) == 1:
        raise UserError("residual: a single layer has none; the first layer's input is not added; give two layers")
    for k, shape in enumerate(shapes[1:], start=1):
        if shape.output_size != shape.input_size:
            raise UserError(
                f"residual: layer {k} takes {shape.input_size} features and gives {shape.output_size}, which cannot "
                "be added; give all layers one hidden size"
            )
