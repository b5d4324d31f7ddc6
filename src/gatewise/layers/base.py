"""What all layers of cells have in common: their weights by layer and direction, and what an engine is asked to run."""

from __future__ import annotations

import operator
import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.cells import Cell, CellLike, Connections
from gatewise.engines import (
    Input,
    Request,
    Stack,
    States,
    Weights,
    check_engine,
    check_precision,
    choose,
    run_layers,
)
from gatewise.engines.convolution import Convolution
from gatewise.errors import UserError
from gatewise.layers.checks import check_lengths
from gatewise.layers.inputs import steps_and_rows
from gatewise.layers.noise import with_noise
from gatewise.layers.options import Given
from gatewise.layers.shapes import INITIAL, PARTS, LayerShape, one_a_layer, resolve_each, shapes_of
from gatewise.layers.states import StateLayout

_LAYER_OF = re.compile(r"_l(\d+)(?:_reverse)?(?:\.|$)")

FORM_DEFAULTS: dict[str, Any] = {
    "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
}  # fmt: skip
OPTION_DEFAULTS: dict[str, Any] = {
    "weight_drop": 0.0, "residual": False, "learned_state": False, "engine": "auto", "precision": None,
}  # fmt: skip
"""What a layer's representation leaves out."""


@dataclass(frozen=True)
class Form:
    """What kind of stack the cells are put in.

    Attributes:
        bias: whether the products have their biases.
        batch_first: whether input and output begin with B.
        bidirectional: whether there is a second run from the end.
        proj_size: size of the projected output, 0 without a projection.
        kernel: pixels of a product's kernel along each axis; none where it is a matrix.
    """

    bias: bool
    batch_first: bool
    bidirectional: bool
    proj_size: int = 0
    kernel: tuple[int, ...] = ()


class CellLayer(nn.Module):
    """Cells over time, stacked in layers, in one or two directions; what their products are is a subclass's matter.

    A subclass sets ``num_layers`` and ``dropout``, and calls ``_set_up`` and ``_make_weights``; its ``forward`` checks
    what it is given and calls ``_unify``.
    """

    num_layers: int
    dropout: float
    convolution: Convolution | None = None  # in the place of matrix products
    _defaults = FORM_DEFAULTS | OPTION_DEFAULTS

    def _set_up(
        self, cell: CellLike | Sequence[CellLike], input_size: int, hidden_size: int | Sequence[int], form: Form,
        given: Given,
    ) -> None:  # fmt: skip
        """Take the arguments that all layers have."""
        check_engine(given.engine)
        check_precision(given.precision)
        cells = given.transformed(resolve_each(one_a_layer(cell, self.num_layers)))
        sizes = one_a_layer(hidden_size, self.num_layers)
        self.input_size = input_size
        self.hidden_size = sizes[0] if len(set(sizes)) == 1 else tuple(sizes)
        self.bias = form.bias and any(cell.biased for cell in cells)
        self.batch_first = form.batch_first
        self.bidirectional = form.bidirectional
        self.proj_size = form.proj_size
        self.weight_drop = float(given.weight_drop)
        self.residual = given.residual
        self.learned_state = given.learned_state
        self.engine = given.engine
        self.precision = given.precision
        self.shapes = shapes_of(
            cells, sizes, input_size, form.proj_size, form.bias, len(self._suffixes()), self.residual, form.kernel
        )
        if given.weight_drop and not any(shape.connections.dense for shape in self.shapes):
            raise UserError(
                f"weight_drop={given.weight_drop}: '{self.names()}' has no recurrent matrix to drop from; leave it out"
            )
        self.layout = StateLayout(self.shapes)
        self._alike = not self.residual and len({(id(s.cell), s.hidden_size) for s in self.shapes}) == 1
        self._masked = any(shape.cell.masks for shape in self.shapes)

    def _make_weights(self, device: Any, dtype: torch.dtype | None) -> None:
        for name, shape in self._named_shapes():
            setattr(self, name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew, in order, as the class says; learned initial states are zero."""
        for name, weight in self.named_parameters():
            layer = self.layer_of(name)
            if name.startswith(INITIAL):
                nn.init.zeros_(weight)
                continue
            nn.init.uniform_(weight, *self._range(name, layer))
            if name.startswith("vector_l"):
                self._set_vectors(layer, weight)

    def _range(self, name: str, layer: LayerShape) -> tuple[float, float]:
        """The ends of the interval that a weight is drawn from."""
        if name.startswith("weight_diag") and layer.cell.diagonal is not None:
            return layer.cell.diagonal
        bound = self._bound(name, layer)
        return -bound, bound

    @abstractmethod
    def _bound(self, name: str, layer: LayerShape) -> float:
        """The b of U(-b, b), of which a weight is drawn."""

    def layer_of(self, parameter: str) -> LayerShape:
        """The layer that a parameter of this name belongs to."""
        place = _LAYER_OF.search(parameter)
        return self.shapes[int(place[1]) if place else 0]

    def names(self) -> str:
        """The cells' names, as a representation shows them."""
        names = [shape.cell.name for shape in self.shapes]
        return names[0] if len(set(names)) == 1 else f"[{', '.join(names)}]"

    def _described(self, sizes: str) -> str:
        """Sizes, and whatever is not as it is by default."""
        return sizes + "".join(f", {k}={getattr(self, k)}" for k, v in self._defaults.items() if getattr(self, k) != v)

    def _set_vectors(self, layer: LayerShape, weight: Tensor) -> None:
        """Vectors that have an initial value start there."""
        if not isinstance(layer.cell.vectors, Mapping):
            return
        for row, vector in zip(weight, layer.connections.vector, strict=True):
            value = layer.cell.vectors[vector]
            if value is not None:
                nn.init.constant_(row, value)

    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _named_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The parameters in order."""
        for k, layer in enumerate(self.shapes):
            for suffix in self._suffixes():
                for part, shape in layer.weights().items():
                    yield f"{PARTS[part]}_l{k}{suffix}", shape
                for name, size in layer.initial_states() if self.learned_state else ():
                    yield f"{name}_l{k}{suffix}", (size,)

    @property
    def cell(self) -> Cell:
        """The cell of all layers. Raises UserError where they have several."""
        return self._only("cell", [shape.cell for shape in self.shapes])

    @property
    def connections(self) -> Connections:
        """The weights that the cell of all layers uses."""
        return self._only("cell", [shape.connections for shape in self.shapes])

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The size of each state, in all layers: proj_size or hidden_size for the first, hidden_size for the others."""
        return self._only("states", [shape.state_sizes for shape in self.shapes])

    def _only(self, what: str, each: Sequence[Any]) -> Any:
        if any(one is not each[0] and one != each[0] for one in each):
            raise UserError(f"the layers of {self} differ in their {what}: ask each of .shapes")
        return each[0]

    @property
    def output_size(self) -> int:
        """Features of the output: both directions together."""
        return self.shapes[-1].output_size

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The weights, one list for each layer and direction, as in torch.nn; without learned initial states."""
        return [
            [getattr(self, f"{PARTS[part]}_l{k}{suffix}") for part in layer.weights()]
            for k, layer in enumerate(self.shapes)
            for suffix in self._suffixes()
        ]

    def request(self, x: Any = None, steps: int | None = None) -> Request | Stack:
        """What an engine is asked to run, for the input ``x`` as the layer takes it; None: any, of so many steps."""
        frame = len(self.shapes[0].kernel)
        steps, rows = (steps, None) if x is None else steps_and_rows(x, self.batch_first, frame)
        return self._request(self._weights(), steps, rows)

    def _request(
        self, weights: tuple[tuple[Weights, ...], ...], steps: int | None, rows: int | None
    ) -> Request | Stack:
        bf16, how = self.precision == "bf16", (self.dropout, self.training)
        convolved = self.convolution
        if self._alike:
            one = self.shapes[0]
            return Request(one.cell, one.connections, weights, one.bias, *how, bf16, steps, rows, convolved)
        requests = (
            Request(
                one.cell, one.connections, (directions,), one.bias, 0.0, self.training, bf16, steps, rows, convolved
            )
            for one, directions in zip(self.shapes, weights, strict=True)
        )
        return Stack(tuple(requests), *how, self.residual)

    def _weights(self) -> tuple[tuple[Weights, ...], ...]:
        """Per layer and direction; gathered once, and again when one of the parameters is another."""
        names, parameters = tuple(self._parameters), tuple(self._parameters.values())
        held_names, held, weights = self.__dict__.get("_held_weights", ((), (), ()))
        if names and held_names == names and all(map(operator.is_, held, parameters)):
            return weights
        weights = tuple(
            tuple(
                Weights(**{part: getattr(self, f"{name}_l{layer}{suffix}", None) for part, name in PARTS.items()})  # type: ignore[arg-type]
                for suffix in self._suffixes()
            )
            for layer in range(self.num_layers)
        )
        parts = (part for layer in weights for direction in layer for part in vars(direction).values())
        found = {id(part) for part in parts if isinstance(part, Tensor)}
        own = all(isinstance(parameter, nn.Parameter) for parameter in parameters)  # not lent by functional_call
        all_weights = {id(p) for name, p in self._parameters.items() if not name.startswith(INITIAL)}
        if own and found == all_weights and not torch.compiler.is_compiling():
            self.__dict__["_held_weights"] = names, parameters, weights
        return weights

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_held_weights"}

    def initial_states(self, batch: int, like: Tensor, pixels: Sequence[int] = ()) -> States:
        """What a run starts from where no state is given, (layers D, B, *pixels, size) each: zero, or what was learned.

        The states are flat, as :class:`gatewise.layers.states.StateLayout` has them.
        """
        if not self.learned_state:
            return tuple(
                torch.zeros((rows, batch, *pixels, size), dtype=like.dtype, device=like.device)
                for _, rows, size in self.layout.rows
            )

        def learned(name: str, k: int) -> Tensor:
            both = torch.stack([getattr(self, f"{name}_l{k}{suffix}") for suffix in self._suffixes()])
            return both.to(like).reshape(len(both), *[1] * (1 + len(pixels)), -1).expand(-1, batch, *pixels, -1)

        layers = enumerate(self.shapes)
        return self.layout.of_layers(
            [tuple(learned(name, k) for name, _ in shape.initial_states()) for k, shape in layers]
        )

    def _unify(
        self, input: Tensor, batched: bool, states: States | None, lengths: Any,
        run: Callable[[Tensor, Tensor | None, States | None], tuple[Tensor, States]],
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """What ``run`` makes of the input as a batch, time first; given back in the form that the input has."""
        if lengths is not None and not batched:
            raise UserError("lengths belong to a batch: the input is one sequence")
        batch_dim = 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(batch_dim)
        x = x.transpose(0, 1) if self.batch_first else x
        if states is not None and not batched:
            states = tuple(state.unsqueeze(1) for state in states)
        lengths = None if lengths is None else check_lengths(lengths, *x.shape[:2])
        output, final = run(x, lengths, states)
        output = output.transpose(0, 1) if self.batch_first else output
        if not batched:
            output, final = output.squeeze(batch_dim), tuple(state.squeeze(1) for state in final)
        return output, self.layout.returned(final)

    def _run_cells(
        self, x: Tensor, lengths: Tensor | None, states: States | None, given: Callable[[Tensor], Input] | None = None
    ) -> tuple[Tensor, States]:
        """Run the stack on (T, B, *pixels, I), or on tokens (T, B); ``given`` makes of x what the engine is given."""
        if states is None:
            like = x if x.is_floating_point() else self._some_weight(x)
            states = self.initial_states(x.shape[1], like, x.shape[2:-1])
        if lengths is not None:
            # What stands in the padding, NaN included, must not reach a weight's gradient: a sequence's last input
            # stands there instead, where the cell is as well defined as anywhere.
            last = torch.minimum(torch.arange(x.shape[0]).unsqueeze(1), lengths - 1)
            x = x[last.to(x.device), torch.arange(x.shape[1], device=x.device)]
        value = given(x) if given else x
        known = not torch.compiler.is_compiling()  # there, sizes may be symbols
        weights, weight_drop = self._weights(), self.weight_drop
        if self.training and (weight_drop or self._masked):
            weights = with_noise(weights, self.shapes, x, weight_drop)
        request = self._request(weights, *(x.shape[:2] if known else (None, None)))
        engine = choose(request, self.engine)
        if isinstance(request, Request):
            return engine.run(request, value, lengths, states)
        output, finals = run_layers(engine, request, value, lengths, self.layout.by_layer(states))
        return output, self.layout.of_layers(finals)

    def _some_weight(self, otherwise: Tensor) -> Tensor:
        for weight in self._parameters.values():
            if weight is not None:
                return weight
        return next(self.parameters(), otherwise)  # parametrized weights are a submodule's
