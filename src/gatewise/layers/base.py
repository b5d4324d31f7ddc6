"""What all layers of cells have in common: their weights by layer and direction, and what an engine is asked to run."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise.cells import Cell, Connections, Mask, connections, resolve
from gatewise.engines import Input, Request, States, Weights, check_engine, check_precision, choose
from gatewise.layers.options import Given

# The parts of a layer's weights in the order of `Weights`, in which they are made and drawn: torch.nn's, then our own.
_PARTS = {
    "input": "weight_ih",
    "recurrent": "weight_hh",
    "input_bias": "bias_ih",
    "recurrent_bias": "bias_hh",
    "projection": "weight_hr",
    "diag": "weight_diag",
    "vector": "vector",
}


class CellLayer(nn.Module):
    """A cell over time, stacked in layers, in one or two directions; what its products are is a subclass's matter.

    A subclass checks its arguments and calls ``_set_up`` and ``_make_weights``.
    """

    cell: Cell
    connections: Connections
    dropout: float
    proj_size: int = 0
    _kernel: tuple[int, ...] = ()  # a matrix is a kernel without pixels

    def _set_up(
        self, cell: str | type[Cell] | Cell, sizes: tuple[int, int], num_layers: int, bias: bool, batch_first: bool,
        bidirectional: bool, given: Given,
    ) -> None:  # fmt: skip
        """Take the arguments that all layers have; ``sizes`` are those of the input and of a state."""
        check_engine(given.engine)
        check_precision(given.precision)
        self.cell = given.transformed(resolve(cell))
        self.input_size, self.hidden_size = sizes
        self.num_layers = num_layers
        self.bias = bias and self.cell.biased
        self.batch_first = batch_first
        self.bidirectional = bidirectional
        self.weight_drop = float(given.weight_drop)
        self.engine = given.engine
        self.precision = given.precision
        self.connections = connections(self.cell, self.hidden_size)

    def _make_weights(self, device: Any, dtype: torch.dtype | None) -> None:
        for layer in range(self.num_layers):
            for suffix in self._suffixes():
                for part, shape in self._shapes(layer).items():
                    weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    setattr(self, f"{_PARTS[part]}_l{layer}{suffix}", weight)
        self.reset_parameters()

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the parts that exist in this layer, in order."""
        H, used = self.hidden_size, self.connections
        below = self.input_size if layer == 0 else self.output_size
        shapes: dict[str, tuple[int, ...]] = {}
        if used.input:
            shapes["input"] = (len(used.input) * H, below, *self._kernel)
        if used.dense:
            shapes["recurrent"] = (len(used.dense) * H, self.state_sizes[0], *self._kernel)
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

    @abstractmethod
    def reset_parameters(self) -> None:
        """Draw all weights anew."""

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The size of each state: proj_size or hidden_size for the first, hidden_size for the others."""
        return (self.proj_size or self.hidden_size, *(self.hidden_size for _ in self.cell.states[1:]))

    @property
    def output_size(self) -> int:
        """Features of the output: both directions together."""
        return self.state_sizes[0] * len(self._suffixes())

    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The weights, one list for each layer and direction, as in torch.nn."""
        return [
            [getattr(self, f"{_PARTS[part]}_l{layer}{suffix}") for part in self._shapes(layer)]
            for layer in range(self.num_layers)
            for suffix in self._suffixes()
        ]

    def _set_vectors(self) -> None:
        """Vectors that have an initial value start there."""
        if not isinstance(self.cell.vectors, Mapping):
            return
        for name, weight in self.named_parameters():
            if name.startswith("vector_l"):
                for row, vector in zip(weight, self.connections.vector, strict=True):
                    value = self.cell.vectors[vector]
                    if value is not None:
                        nn.init.constant_(row, value)

    def request(self, x: Any = None) -> Request:
        """What an engine is asked to run."""
        del x  # no engine's choice depends on the input yet
        bf16 = self.__dict__.get("precision") == "bf16"  # a layer unpickled from an older version has none
        return Request(self.cell, self.connections, self._weights(), self.bias, self.dropout, self.training, bf16)

    def _weights(self) -> tuple[tuple[Weights, ...], ...]:
        """Per layer and direction; gathered once, and again when one of the parameters is another."""
        names, parameters = tuple(self._parameters), tuple(self._parameters.values())
        held_names, held, weights = self.__dict__.get("_held_weights", ((), (), ()))
        if names and held_names == names and all(map(operator.is_, held, parameters)):
            return weights
        weights = tuple(
            tuple(
                Weights(**{part: getattr(self, f"{name}_l{layer}{suffix}", None) for part, name in _PARTS.items()})  # type: ignore[arg-type]
                for suffix in self._suffixes()
            )
            for layer in range(self.num_layers)
        )
        parts = (part for layer in weights for direction in layer for part in vars(direction).values())
        found = {id(part) for part in parts if isinstance(part, Tensor)}
        own = all(isinstance(parameter, nn.Parameter) for parameter in parameters)  # not lent by functional_call
        if own and found == set(map(id, parameters)) and not torch.compiler.is_compiling():
            self.__dict__["_held_weights"] = names, parameters, weights
        return weights

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_held_weights"}

    def _run_cells(
        self, x: Tensor, lengths: Tensor | None, states: States | None, given: Callable[[Tensor], Input] | None = None
    ) -> tuple[Tensor, States]:
        """Run the stack on (T, B, ..., I) or on tokens (T, B); ``given`` makes of it what the engine is given."""
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        count = self.num_layers * len(self._suffixes())
        expected = [(count, x.shape[1], *x.shape[2:-1], size) for size in self.state_sizes]
        if states is None:
            like = x if x.is_floating_point() else self._some_weight(x)
            states = tuple(torch.zeros(shape, dtype=like.dtype, device=x.device) for shape in expected)
        for i, (state, shape) in enumerate(zip(states, expected, strict=True)):
            if state.shape != shape:
                which = "hidden" if len(expected) == 1 else f"hidden[{i}]"
                raise RuntimeError(f"Expected {which} size {shape}, got {list(state.shape)}")
        if lengths is not None:
            # What stands in the padding, NaN included, must not reach a weight's gradient: a sequence's last input
            # stands there instead, where the cell is as well defined as anywhere.
            last = torch.minimum(torch.arange(x.shape[0]).unsqueeze(1), lengths - 1)
            x = x[last.to(x.device), torch.arange(x.shape[1], device=x.device)]
        request = self.request(x)
        weight_drop = self.__dict__.get("weight_drop", 0.0)
        if self.training and (self.cell.masks or weight_drop):
            request = replace(request, weights=self._with_noise(request.weights, x, weight_drop))
        return choose(request, self.engine).run(request, given(x) if given else x, lengths, states)

    def _with_noise(
        self, weights: tuple[tuple[Weights, ...], ...], x: Tensor, weight_drop: float
    ) -> tuple[tuple[Weights, ...], ...]:
        """The weights with what is drawn for this call: masks, recurrent matrices with entries dropped.

        The numbers come from PyTorch's generator, in one order whatever engine runs: the same seed, the same noise.
        """
        steps, batch = x.shape[:2]

        def drawn(mask: Mask) -> Tensor:
            shape = (steps if mask.per_step else 1, batch, *x.shape[2:-1], self.hidden_size)
            return torch.empty(shape, dtype=torch.bool, device=x.device).bernoulli_(mask.keep)

        def noisy(one: Weights) -> Weights:
            matrix = one.recurrent
            if weight_drop and matrix is not None:
                matrix = F.dropout(matrix, weight_drop)
            return replace(one, recurrent=matrix, masks=tuple(map(drawn, self.cell.masks.values())))

        return tuple(tuple(map(noisy, directions)) for directions in weights)

    def _some_weight(self, otherwise: Tensor) -> Tensor:
        for weight in self._parameters.values():
            if weight is not None:
                return weight
        return next(self.parameters(), otherwise)  # parametrized weights are a submodule's

    def _given_states(self, hx: Any) -> tuple[Tensor, ...] | None:
        """The initial states as a tuple, None if none were given."""
        if hx is None:
            return None
        count = len(self.cell.states)
        states = (hx,) if count == 1 and isinstance(hx, Tensor) else tuple(hx)
        if len(states) != count:
            raise RuntimeError(f"hx must have one tensor for each of {self.cell.states}, got {len(states)}")
        return states

    def _returned(self, states: tuple[Tensor, ...]) -> Any:
        return states[0] if len(states) == 1 else states
