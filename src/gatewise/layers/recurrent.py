"""Layers: cells over time, stacked, in one or two directions; drop-in replacements for torch.nn.GRU, LSTM and RNN."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.cells import Cell, Mask, connections, resolve
from gatewise.engines import Input, Request, Tokens, Weights, check_engine, check_precision, choose
from gatewise.errors import UserError
from gatewise.layers.checks import check_lengths, check_projection, check_sizes, check_state_dims, check_tokens
from gatewise.layers.options import Given, Options

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


class Recurrent(nn.Module):
    """Any cell over time, stacked in ``num_layers`` layers, in one or two directions.

    For each layer and each t: (h_t, ...) = step(x_t, h_{t-1}, ...), the equations of the cell
    (``gatewise.explain(cell)`` prints them).

    Args:
        cell: a name (``gatewise cells`` lists them), a class derived from :class:`gatewise.Cell`, or an instance.
        input_size: features of the input, I.
        hidden_size: units of a state, H.
        num_layers: layers, each fed with the output of the one below.
        bias: whether W x + b and U h + b' have their biases.
        batch_first: input and output are (B, T, ·) instead of (T, B, ·); states are not affected.
        dropout: probability of dropout on the output of every layer but the last, while training.
        bidirectional: a second run from the end of each sequence to its start; the outputs stand side by side.
        proj_size: if > 0, the output is projected to this size (Sak, Senior and Beaufays 2014, arXiv:1402.1128).
        device: where the weights are made.
        dtype: of the weights.
        zoneout: rates of :func:`gatewise.zoneout`, one for all states or by state.
        layer_norm: whether both projections are normalised, :func:`gatewise.layer_norm`.
        recurrent_dropout: the rate of :func:`gatewise.recurrent_dropout`.
        weight_drop: probability that an entry of a recurrent matrix is zero, and the others 1 / (1 − p) as large, while
            training; drawn once a call (DropConnect, Merity et al. 2018, arXiv:1708.02182).
        engine: "auto", or the name of an engine.
        precision: None, or "bf16": all matrix products of bfloat16 numbers (8 bits of precision) with float32 sums,
            states and gates in float32. Outputs stay within 1e-2 of float32's, relative to the largest; on a CPU with
            tiles (AMX) it is several times faster than float32, elsewhere not.

    Shapes:
        ``layer(input, hx=None, lengths=None, embedding=None) -> (output, state)`` with D = 2 if bidirectional else 1,
        and H_out = proj_size or hidden_size

        - input: (T, B, I), or (B, T, I) if ``batch_first``, or (T, I), or a ``PackedSequence``; or whole numbers
          (T, B), (B, T), (T,): tokens, of which each stands for its one-hot vector or its row of ``embedding``;
        - embedding: (V, I), for tokens only;
        - hx: the initial state, (num_layers D, B, H_out) for a cell with one state, a tuple with one tensor per
          state otherwise ((num_layers D, B, H) for all but the first); None is zero;
        - lengths: (B,) whole numbers in 1..T, the steps of each sequence of a padded input;
        - output: (T, B, D H_out), zero after a sequence's end, or packed as the input was; state: as hx.

    Weights:
        ``weight_ih_l{k}``, ``weight_hh_l{k}``, ``bias_ih_l{k}``, ``bias_hh_l{k}``, ``weight_hr_l{k}``, each with
        ``_reverse`` for the second direction: names, shapes and order as in ``torch.nn``, with rows for those gates
        alone that have the connection; then ``weight_diag_l{k}`` (diagonal gates, H) and ``vector_l{k}`` (vectors,
        H). Drawn from U(-1/sqrt(H), 1/sqrt(H)), vectors with an initial value apart.

    Raises:
        ValueError, TypeError, RuntimeError: as torch.nn does, with its messages.
        UserError: unknown cell or engine, bad ``lengths``, a projection on a cell that uses its output elementwise.

    Example:
        >>> import torch, gatewise
        >>> layer = gatewise.Recurrent("lstm-peephole", 3, 5, num_layers=2, bidirectional=True)
        >>> output, (h, c) = layer(torch.zeros(7, 2, 3), lengths=[7, 4])
        >>> output.shape, c.shape
        (torch.Size([7, 2, 10]), torch.Size([4, 2, 5]))
    """

    _dims_noun = ""  # torch.nn.RNN has another wording than GRU and LSTM

    def __init__(
        self,
        cell: str | type[Cell] | Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        self.dropout = float(dropout)
        check_sizes(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        given = Given.of(options)
        check_engine(given.engine)
        check_precision(given.precision)
        self.cell = given.transformed(resolve(cell))
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias and self.cell.biased
        self.batch_first = batch_first
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.weight_drop = float(given.weight_drop)
        self.engine = given.engine
        self.precision = given.precision
        self.connections = connections(self.cell, hidden_size)
        if proj_size:
            check_projection(self.cell)
        for layer in range(num_layers):
            for suffix in self._suffixes():
                for part, shape in self._shapes(layer).items():
                    weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                    setattr(self, f"{_PARTS[part]}_l{layer}{suffix}", weight)
        self.reset_parameters()

    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the parts that exist in this layer, in order."""
        H, used = self.hidden_size, self.connections
        below = self.input_size if layer == 0 else self.output_size
        shapes: dict[str, tuple[int, ...]] = {}
        if used.input:
            shapes["input"] = (len(used.input) * H, below)
        if used.dense:
            shapes["recurrent"] = (len(used.dense) * H, self.state_sizes[0])
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

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The size of each state: proj_size or hidden_size for the first, hidden_size for the others."""
        return (self.proj_size or self.hidden_size, *(self.hidden_size for _ in self.cell.states[1:]))

    @property
    def output_size(self) -> int:
        """Features of the output: both directions together."""
        return self.state_sizes[0] * (2 if self.bidirectional else 1)

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The weights, one list for each layer and direction, as in torch.nn."""
        return [
            [getattr(self, f"{_PARTS[part]}_l{layer}{suffix}") for part in self._shapes(layer)]
            for layer in range(self.num_layers)
            for suffix in self._suffixes()
        ]

    def reset_parameters(self) -> None:
        """Draw all weights anew: U(-1/sqrt(H), 1/sqrt(H)), in torch.nn's order."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)
        if not isinstance(self.cell.vectors, Mapping):
            return
        for name, weight in self.named_parameters():
            if name.startswith("vector_l"):
                for row, vector in zip(weight, self.connections.vector, strict=True):
                    value = self.cell.vectors[vector]
                    if value is not None:
                        nn.init.constant_(row, value)

    def flatten_parameters(self) -> None:
        """Does nothing: kept so that code written for torch.nn runs unchanged.

        On a GPU cuDNN then gathers the weights itself on every call.
        """

    def extra_repr(self) -> str:
        text = f"{self.cell.name}, " if type(self) is Recurrent else ""
        text += f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False, "weight_drop": 0.0, "engine": "auto", "precision": None,
        }  # fmt: skip
        return text + "".join(f", {k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v)

    def request(self, x: Any = None) -> Request:
        """What an engine is asked to run, for the input ``x`` as the layer takes it; None: for any."""
        steps, rows = (None, None) if x is None else self._steps_and_rows(x)
        return self._request(steps, rows)

    def _steps_and_rows(self, x: Tensor | PackedSequence) -> tuple[int, int]:
        """T and B of an input as the layer takes it."""
        if isinstance(x, PackedSequence):
            return len(x.batch_sizes), int(x.batch_sizes[0])
        if x.dim() < (3 if x.is_floating_point() else 2):
            return x.shape[0], 1
        return (x.shape[1], x.shape[0]) if self.batch_first else (x.shape[0], x.shape[1])

    def _request(self, steps: int | None, rows: int | None) -> Request:
        bf16 = self.__dict__.get("precision") == "bf16"  # a layer unpickled from an older version has none
        weights, training = self._weights(), self.training
        return Request(self.cell, self.connections, weights, self.bias, self.dropout, training, bf16, steps, rows)

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

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Tensor | Sequence[int] | None = None,
        embedding: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Run the layer; see the class for shapes."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths)
        tokens = input.dim() < 3 and input.dtype in (torch.int64, torch.int32)
        if embedding is not None or tokens:
            check_tokens(input, embedding, self.input_size)
        if input.dim() + tokens not in (2, 3):
            name = type(self).__name__
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}D{self._dims_noun} instead")
        batched = input.dim() + tokens == 3
        states = self._given_states(hx)
        if states is not None:
            check_state_dims(states, 3 if batched else 2)
            states = states if batched else tuple(state.unsqueeze(1) for state in states)
        batch_dim = 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(batch_dim)
        if not tokens:
            self._check_features(x, 3)
        x = x.transpose(0, 1) if self.batch_first else x
        if lengths is not None:
            if not batched:
                raise UserError("lengths belong to a batch: the input is one sequence, (T, I)")
            lengths = check_lengths(lengths, *x.shape[:2])
        output, final = self._run(x, lengths, states, embedding)
        output = output.transpose(0, 1) if self.batch_first else output
        if not batched:
            output, final = output.squeeze(batch_dim), tuple(state.squeeze(1) for state in final)
        return output, self._returned(final)

    def _forward_packed(self, packed: PackedSequence, hx: Any, lengths: Any) -> tuple[PackedSequence, Any]:
        if lengths is not None:
            raise UserError("lengths beside a PackedSequence, which has its own; give one of the two")
        self._check_features(packed.data, 2)
        x, lengths = pad_packed_sequence(packed)
        output, final = self._run(x, lengths, self._given_states(hx))
        if packed.sorted_indices is not None:
            output = output.index_select(1, packed.sorted_indices)
            lengths = lengths[packed.sorted_indices.cpu()]
        data = pack_padded_sequence(output, lengths).data
        again = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return again, self._returned(final)

    def _run(
        self, x: Tensor, lengths: Tensor | None, states: tuple[Tensor, ...] | None, embedding: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        tokens = not x.is_floating_point()
        count = self.num_layers * (2 if self.bidirectional else 1)
        expected = [(count, x.shape[1], size) for size in self.state_sizes]
        if states is None:
            like = self._some_weight(x) if tokens else x
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
        given: Input = (
            Tokens(x.long(), self.input_size if embedding is None else len(embedding), embedding) if tokens else x
        )
        known = not torch.compiler.is_compiling()  # there, sizes may be symbols
        request = self._request(*(x.shape[:2] if known else (None, None)))
        weight_drop = self.__dict__.get("weight_drop", 0.0)
        if self.training and (self.cell.masks or weight_drop):
            request = replace(request, weights=self._with_noise(request.weights, x, weight_drop))
        return choose(request, self.engine).run(request, given, lengths, states)

    def _with_noise(
        self, weights: tuple[tuple[Weights, ...], ...], x: Tensor, weight_drop: float
    ) -> tuple[tuple[Weights, ...], ...]:
        """The weights with what is drawn for this call: masks, recurrent matrices with entries dropped.

        The numbers come from PyTorch's generator, in one order whatever engine runs: the same seed, the same noise.
        """
        steps, batch = x.shape[:2]

        def drawn(mask: Mask) -> Tensor:
            shape = (steps if mask.per_step else 1, batch, self.hidden_size)
            return torch.empty(shape, dtype=torch.bool, device=x.device).bernoulli_(mask.keep)

        def noisy(one: Weights) -> Weights:
            matrix = one.recurrent
            if weight_drop and matrix is not None:
                matrix = F.dropout(matrix, weight_drop)
            return replace(one, recurrent=matrix, masks=tuple(map(drawn, self.cell.masks.values())))

        return tuple(tuple(map(noisy, directions)) for directions in weights)

    def _check_features(self, x: Tensor, dims: int) -> None:
        weight = self._some_weight(x)
        if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise ValueError(
                f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
            )
        if x.dim() != dims:
            raise RuntimeError(f"input must have {dims} dimensions, got {x.dim()}")
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )

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
