"""Layers: cells over time, stacked, in one or two directions; drop-in replacements for torch.nn.GRU, LSTM and RNN."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.cells import Cell, CellLike, Connections
from gatewise.engines import (
    Input,
    Request,
    Stack,
    States,
    Tokens,
    Weights,
    check_engine,
    check_precision,
    choose,
    run_layers,
)
from gatewise.errors import UserError
from gatewise.layers.checks import (
    check_features,
    check_lengths,
    check_projection,
    check_sizes,
    check_state_dims,
    check_tokens,
)
from gatewise.layers.inputs import steps_and_rows
from gatewise.layers.noise import with_noise
from gatewise.layers.options import Given, Options
from gatewise.layers.shapes import (
    INITIAL,
    PARTS,
    depth,
    one_a_layer,
    resolve_each,
    shapes_of,
)
from gatewise.layers.states import StateLayout

_LAYER_OF = re.compile(r"_l(\d+)(?:_reverse)?(?:\.|$)")


class Recurrent(nn.Module):
    """Any cell over time, stacked in ``num_layers`` layers, in one or two directions.

    For each layer and each t: (h_t, ...) = step(x_t, h_{t-1}, ...), the equations of the cell
    (``gatewise.explain(cell)`` prints them).

    Args:
        cell: a name (``gatewise cells`` lists them), a class derived from :class:`gatewise.Cell`, or an instance; or a
            list of them, one a layer, from the lowest up.
        input_size: features of the input, I.
        hidden_size: units of a state, H; or a list, one a layer.
        num_layers: layers, each fed with the output of the one below; by default as many as are listed, or 1.
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
        recurrent_dropout_kind: "gal" or "semeniuta", see there.
        weight_drop: probability that an entry of a recurrent matrix is zero, and the others 1 / (1 − p) as large, while
            training; drawn once a call (DropConnect, Merity et al. 2018, arXiv:1708.02182).
        residual: the output of every layer but the first is its cell's output plus its input (Wu et al. 2016,
            arXiv:1609.08144, equation 6). With dropout the cell sees the input's dropped form, and the input itself is
            added, as the paper's authors have it in their code. The states are the cells' own.
        learned_state: the initial state is learned, ``initial_<state>_l{k}``, zero at first; it is the start wherever
            no ``hx`` is given.
        engine: "auto", or the name of an engine, which runs all layers.
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
          state otherwise ((num_layers D, B, H) for all but the first); None is zero, or what was learned. Layers that
          differ in the names or sizes of their states: a tuple with one entry a layer, which is that layer's own
          state as above, with num_layers = 1;
        - lengths: (B,) whole numbers in 1..T, the steps of each sequence of a padded input;
        - output: (T, B, D H_out), zero after a sequence's end, or packed as the input was; state: as hx.

    Weights:
        ``weight_ih_l{k}``, ``weight_hh_l{k}``, ``bias_ih_l{k}``, ``bias_hh_l{k}``, ``weight_hr_l{k}``, each with
        ``_reverse`` for the second direction: names, shapes and order as in ``torch.nn``, with rows for those gates
        alone that have the connection; then ``weight_diag_l{k}`` (diagonal gates, H) and ``vector_l{k}`` (vectors,
        H). Drawn from U(-1/sqrt(H), 1/sqrt(H)), vectors with an initial value apart; then ``initial_<state>_l{k}``.

    Raises:
        ValueError, TypeError, RuntimeError: as torch.nn does, with its messages.
        UserError: unknown cell or engine, bad ``lengths``, a projection on a cell that uses its output elementwise,
            lists of different lengths, a residual between unequal sizes.

    Example:
        >>> import torch, gatewise
        >>> layer = gatewise.Recurrent("lstm-peephole", 3, 5, num_layers=2, bidirectional=True)
        >>> output, (h, c) = layer(torch.zeros(7, 2, 3), lengths=[7, 4])
        >>> output.shape, c.shape
        (torch.Size([7, 2, 10]), torch.Size([4, 2, 5]))
        >>> output, ((h, c), top) = gatewise.Recurrent(["lstm", "gru"], 3, [5, 4])(torch.zeros(7, 2, 3))
        >>> output.shape, c.shape, top.shape
        (torch.Size([7, 2, 4]), torch.Size([1, 2, 5]), torch.Size([1, 2, 4]))
    """

    _dims_noun = ""  # torch.nn.RNN has another wording than GRU and LSTM

    def __init__(
        self,
        cell: CellLike | Sequence[CellLike],
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int | None = None,
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
        self.num_layers = depth(cell, hidden_size, num_layers)
        for size in hidden_size if isinstance(hidden_size, list | tuple) else (hidden_size,):
            check_sizes(input_size, size, self.num_layers, bias, batch_first, dropout, proj_size)
        given = Given.of(options)
        check_engine(given.engine)
        check_precision(given.precision)
        cells = given.transformed(resolve_each(one_a_layer(cell, self.num_layers)))
        sizes = one_a_layer(hidden_size, self.num_layers)
        self.input_size = input_size
        self.hidden_size = sizes[0] if len(set(sizes)) == 1 else tuple(sizes)
        self.bias = bias and any(cell.biased for cell in cells)
        self.batch_first = batch_first
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.weight_drop = float(given.weight_drop)
        self.residual = given.residual
        self.learned_state = given.learned_state
        self.engine = given.engine
        self.precision = given.precision
        self.shapes = shapes_of(cells, sizes, input_size, proj_size, bias, len(self._suffixes()), self.residual)
        self.layout = StateLayout(self.shapes)
        self._alike = not self.residual and len({(id(s.cell), s.hidden_size) for s in self.shapes}) == 1
        self._masked = any(shape.cell.masks for shape in self.shapes)
        for each in cells if proj_size else ():
            check_projection(each)
        for name, shape in self._named_shapes():
            setattr(self, name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

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

    def reset_parameters(self) -> None:
        """Draw all weights anew: U(-1/sqrt(H), 1/sqrt(H)), in torch.nn's order; learned initial states are zero."""
        for name, weight in self.named_parameters():
            place = _LAYER_OF.search(name)
            layer = self.shapes[int(place[1]) if place else 0]
            if name.startswith(INITIAL):
                nn.init.zeros_(weight)
                continue
            bound = 1.0 / math.sqrt(layer.hidden_size)
            nn.init.uniform_(weight, -bound, bound)
            if name.startswith("vector_l") and isinstance(layer.cell.vectors, Mapping):
                for row, vector in zip(weight, layer.connections.vector, strict=True):
                    value = layer.cell.vectors[vector]
                    if value is not None:
                        nn.init.constant_(row, value)

    def flatten_parameters(self) -> None:
        """Does nothing: kept so that code written for torch.nn runs unchanged.

        On a GPU cuDNN then gathers the weights itself on every call.
        """

    def extra_repr(self) -> str:
        names = [shape.cell.name for shape in self.shapes]
        text = names[0] if len(set(names)) == 1 else f"[{', '.join(names)}]"
        text = f"{text}, " if type(self) is Recurrent else ""
        text += f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False, "weight_drop": 0.0, "residual": False, "learned_state": False, "engine": "auto",
            "precision": None,
        }  # fmt: skip
        return text + "".join(f", {k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v)

    def request(self, x: Any = None, steps: int | None = None) -> Request | Stack:
        """What an engine is asked to run, for the input ``x`` as the layer takes it; None: any, of so many steps."""
        steps, rows = (steps, None) if x is None else steps_and_rows(x, self.batch_first)
        return self._request(self._weights(), steps, rows)

    def _request(
        self, weights: tuple[tuple[Weights, ...], ...], steps: int | None, rows: int | None
    ) -> Request | Stack:
        bf16, how = self.precision == "bf16", (self.dropout, self.training)
        if self._alike:
            one = self.shapes[0]
            return Request(one.cell, one.connections, weights, one.bias, *how, bf16, steps, rows)
        requests = (
            Request(one.cell, one.connections, (directions,), one.bias, 0.0, self.training, bf16, steps, rows)
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

    def initial_states(self, batch: int, like: Tensor) -> States:
        """What a run starts from where no state is given, (layers D, B, size) each: zero, or what was learned.

        The states are flat, as :class:`gatewise.layers.states.StateLayout` has them.
        """
        if not self.learned_state:
            return tuple(
                torch.zeros((rows, batch, size), dtype=like.dtype, device=like.device)
                for _, rows, size in self.layout.rows
            )

        def learned(name: str, k: int) -> Tensor:
            both = torch.stack([getattr(self, f"{name}_l{k}{suffix}") for suffix in self._suffixes()])
            return both.to(like).unsqueeze(1).expand(-1, batch, -1)

        layers = enumerate(self.shapes)
        return self.layout.of_layers(
            [tuple(learned(name, k) for name, _ in shape.initial_states()) for k, shape in layers]
        )

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
        states = None if hx is None else self.layout.given(hx)
        if states is not None:
            check_state_dims(states, 3 if batched else 2)
            states = states if batched else tuple(state.unsqueeze(1) for state in states)
        batch_dim = 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(batch_dim)
        if not tokens:
            check_features(x, 3, self._some_weight(x), self.input_size)
        x = x.transpose(0, 1) if self.batch_first else x
        if lengths is not None:
            if not batched:
                raise UserError("lengths belong to a batch: the input is one sequence, (T, I)")
            lengths = check_lengths(lengths, *x.shape[:2])
        output, final = self._run(x, lengths, states, embedding)
        output = output.transpose(0, 1) if self.batch_first else output
        if not batched:
            output, final = output.squeeze(batch_dim), tuple(state.squeeze(1) for state in final)
        return output, self.layout.returned(final)

    def _forward_packed(self, packed: PackedSequence, hx: Any, lengths: Any) -> tuple[PackedSequence, Any]:
        if lengths is not None:
            raise UserError("lengths beside a PackedSequence, which has its own; give one of the two")
        check_features(packed.data, 2, self._some_weight(packed.data), self.input_size)
        x, lengths = pad_packed_sequence(packed)
        output, final = self._run(x, lengths, None if hx is None else self.layout.given(hx))
        if packed.sorted_indices is not None:
            output = output.index_select(1, packed.sorted_indices)
            lengths = lengths[packed.sorted_indices.cpu()]
        data = pack_padded_sequence(output, lengths).data
        again = PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
        return again, self.layout.returned(final)

    def _run(
        self, x: Tensor, lengths: Tensor | None, states: tuple[Tensor, ...] | None, embedding: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        tokens = not x.is_floating_point()
        if states is None:
            states = self.initial_states(x.shape[1], self._some_weight(x) if tokens else x)
        else:
            for state, (label, rows, size) in zip(states, self.layout.rows, strict=True):
                if state.shape != (rows, x.shape[1], size):
                    raise RuntimeError(f"Expected {label} size {(rows, x.shape[1], size)}, got {list(state.shape)}")
        if lengths is not None:
            # What stands in the padding, NaN included, must not reach a weight's gradient: a sequence's last input
            # stands there instead, where the cell is as well defined as anywhere.
            last = torch.minimum(torch.arange(x.shape[0]).unsqueeze(1), lengths - 1)
            x = x[last.to(x.device), torch.arange(x.shape[1], device=x.device)]
        given: Input = (
            Tokens(x.long(), self.input_size if embedding is None else len(embedding), embedding) if tokens else x
        )
        known = not torch.compiler.is_compiling()  # there, sizes may be symbols
        weights, weight_drop = self._weights(), self.weight_drop
        if self.training and (weight_drop or self._masked):
            weights = with_noise(weights, self.shapes, x, weight_drop)
        request = self._request(weights, *(x.shape[:2] if known else (None, None)))
        engine = choose(request, self.engine)
        if isinstance(request, Request):
            return engine.run(request, given, lengths, states)
        output, finals = run_layers(engine, request, given, lengths, self.layout.by_layer(states))
        return output, self.layout.of_layers(finals)

    def _some_weight(self, otherwise: Tensor) -> Tensor:
        for weight in self._parameters.values():
            if weight is not None:
                return weight
        return next(self.parameters(), otherwise)  # parametrized weights are a submodule's
