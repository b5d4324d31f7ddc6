"""Layers: cells over time, stacked, in one or two directions; drop-in replacements for torch.nn.GRU, LSTM and RNN."""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.cells import Cell, connections, resolve
from gatewise.engines import Request, Weights, check_engine, choose
from gatewise.errors import UnsupportedOperationError, UserError
from gatewise.graph import trace

# The parts of a layer's weights in the order in which they are made, and so drawn: torch.nn's, then our own.
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
        engine: "auto", or the name of an engine.

    Shapes:
        ``layer(input, hx=None, lengths=None) -> (output, state)`` with D = 2 if bidirectional else 1, and
        H_out = proj_size or hidden_size

        - input: (T, B, I), or (B, T, I) if ``batch_first``, or (T, I), or a ``PackedSequence``;
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
        *,
        engine: str = "auto",
    ) -> None:
        super().__init__()
        self.dropout = float(dropout)
        _check_sizes(input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size)
        check_engine(engine)
        self.cell = resolve(cell)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.engine = engine
        self.connections = connections(self.cell, hidden_size)
        if proj_size:
            _check_projection(self.cell)
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
                    nn.init.constant_(row, self.cell.vectors[vector])

    def flatten_parameters(self) -> None:
        """Does nothing: kept so that code written for torch.nn runs unchanged."""

    def extra_repr(self) -> str:
        text = f"{self.cell.name}, " if type(self) is Recurrent else ""
        text += f"{self.input_size}, {self.hidden_size}"
        defaults = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False, "engine": "auto",
        }  # fmt: skip
        return text + "".join(f", {k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v)

    def request(self, x: Any = None) -> Request:
        """What an engine is asked to run."""
        del x  # no engine's choice depends on the input yet
        weights = tuple(
            tuple(
                Weights(**{part: getattr(self, f"{name}_l{layer}{suffix}", None) for part, name in _PARTS.items()})
                for suffix in self._suffixes()
            )
            for layer in range(self.num_layers)
        )
        return Request(self.cell, self.connections, weights, self.bias, self.dropout, self.training)

    def forward(
        self, input: Tensor | PackedSequence, hx: Any = None, *, lengths: Tensor | Sequence[int] | None = None
    ) -> tuple[Any, Any]:
        """Run the layer; see the class for shapes."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths)
        if input.dim() not in (2, 3):
            name, noun = type(self).__name__, " tensor" if isinstance(self, RNN) else ""  # as in torch.nn
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}D{noun} instead")
        batched = input.dim() == 3
        states = self._given_states(hx)
        if states is not None:
            _check_state_dims(states, 3 if batched else 2)
            states = states if batched else tuple(state.unsqueeze(1) for state in states)
        batch_dim = 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(batch_dim)
        self._check_features(x, 3)
        x = x.transpose(0, 1) if self.batch_first else x
        if lengths is not None:
            if not batched:
                raise UserError("lengths belong to a batch: the input is one sequence, (T, I)")
            lengths = _check_lengths(lengths, *x.shape[:2])
        output, final = self._run(x, lengths, states)
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

    def _run(self, x: Tensor, lengths: Tensor | None, states: tuple[Tensor, ...] | None) -> tuple[Tensor, Any]:
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        count = self.num_layers * (2 if self.bidirectional else 1)
        expected = [(count, x.shape[1], size) for size in self.state_sizes]
        if states is None:
            states = tuple(torch.zeros(shape, dtype=x.dtype, device=x.device) for shape in expected)
        for i, (state, shape) in enumerate(zip(states, expected, strict=True)):
            if state.shape != shape:
                which = "hidden" if len(expected) == 1 else f"hidden[{i}]"
                raise RuntimeError(f"Expected {which} size {shape}, got {list(state.shape)}")
        if lengths is not None:
            # What stands in the padding, NaN included, must not reach a weight's gradient.
            outside = torch.arange(x.shape[0]).unsqueeze(1) >= lengths
            x = x.masked_fill(outside.to(x.device).unsqueeze(2), 0.0)
        request = self.request(x)
        engine, _ = choose(request, self.engine)
        return engine.run(request, x, lengths, states)

    def _check_features(self, x: Tensor, dims: int) -> None:
        weight = next(self.parameters(), x)
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


def _check_sizes(
    input_size: Any, hidden_size: Any, num_layers: Any, bias: Any, batch_first: Any, dropout: Any, proj_size: Any
) -> None:
    """torch.nn's checks, in its order and with its messages."""
    if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= dropout <= 1:  # type: ignore[operator]
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    if dropout > 0 and num_layers == 1:  # type: ignore[operator]
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
            f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=4,
        )
    for name, value, kind in (
        ("bias", bias, bool),
        ("batch_first", batch_first, bool),
        ("input_size", input_size, int),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(value).__name__}")
    if input_size <= 0:
        raise ValueError("input_size must be greater than zero")
    if not isinstance(hidden_size, int):
        raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
    for name, value in (("hidden_size", hidden_size), ("num_layers", num_layers)):
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


def _check_projection(cell: Cell) -> None:
    try:
        projectable = trace(cell).output_feeds_products_only
    except UnsupportedOperationError:
        projectable = False
    if not projectable:
        raise UserError(
            f"proj_size: cell '{cell.name}' uses its output h elementwise, where the sizes would disagree; only a "
            "cell whose h enters dense products alone (lstm) can be projected"
        )


def _check_state_dims(states: tuple[Tensor, ...], wanted: int) -> None:
    if all(state.dim() == wanted for state in states):
        return
    given = "batched 3-D" if wanted == 3 else "unbatched 2-D"
    if len(states) == 1:
        raise RuntimeError(f"For {given} input, hx should also be {wanted}-D but got {states[0].dim()}-D tensor")
    dims = ", ".join(f"{state.dim()}-D" for state in states)
    subject = "hx and cx" if len(states) == 2 else "the states"
    raise RuntimeError(f"For {given} input, {subject} should also be {wanted}-D but got ({dims}) tensors")


def _check_lengths(lengths: Any, steps: int, batch: int) -> Tensor:
    values = torch.as_tensor(lengths).detach().cpu()
    if values.shape != (batch,) or values.is_floating_point() or values.dtype == torch.bool:
        raise UserError(
            f"lengths: want {batch} whole numbers, one a sequence; got {tuple(values.shape)} {values.dtype}"
        )
    if batch and not (int(values.min()) >= 1 and int(values.max()) <= steps):
        raise UserError(f"lengths: want numbers in 1..{steps}, got {int(values.min())}..{int(values.max())}")
    return values.to(torch.int64)


class GRU(Recurrent):
    """Gated recurrent unit: ``torch.nn.GRU`` without a change, on the best engine for the machine.

    r = σ(W_r x_t + b_r + U_r h_{t-1} + b'_r); z likewise; n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t-1} + b'_n));
    h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}  (Cho et al. 2014, arXiv:1406.1078). Arguments, shapes, weights and errors as in
    ``torch.nn.GRU`` and :class:`Recurrent`.

    Example:
        >>> import torch, gatewise
        >>> reference = torch.nn.GRU(3, 5, num_layers=2)
        >>> layer = gatewise.GRU(3, 5, num_layers=2)
        >>> layer.load_state_dict(reference.state_dict())
        <All keys matched successfully>
        >>> x = torch.randn(7, 2, 3)
        >>> torch.equal(layer(x)[0], reference(x)[0])
        True
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        engine: str = "auto",
        **other: Any,
    ) -> None:
        _refuse_projection(other)
        super().__init__(
            "gru", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype,
            engine=engine,
        )  # fmt: skip


class LSTM(Recurrent):
    """Long short-term memory: ``torch.nn.LSTM`` without a change, ``proj_size`` included.

    i, f, o = σ(W x_t + b + U h_{t-1} + b'); g = tanh(...); c_t = f ⊙ c_{t-1} + i ⊙ g; h_t = o ⊙ tanh(c_t)
    (Hochreiter and Schmidhuber 1997; Gers et al. 2000). Arguments, shapes, weights and errors as in ``torch.nn.LSTM``.

    Example:
        >>> import torch, gatewise
        >>> output, (h, c) = gatewise.LSTM(3, 5, proj_size=2)(torch.zeros(7, 4, 3))
        >>> output.shape, h.shape, c.shape
        (torch.Size([7, 4, 2]), torch.Size([1, 4, 2]), torch.Size([1, 4, 5]))
    """

    def __init__(
        self,
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
        *,
        engine: str = "auto",
    ) -> None:
        super().__init__(
            "lstm", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype, engine=engine,
        )  # fmt: skip


class RNN(Recurrent):
    """Simple recurrent network: ``torch.nn.RNN`` without a change.

    h_t = tanh(W x_t + b + U h_{t-1} + b'), or max(0, ·) with ``nonlinearity="relu"`` (Elman 1990). Arguments,
    shapes, weights and errors as in ``torch.nn.RNN``.

    Example:
        >>> import torch, gatewise
        >>> gatewise.RNN(3, 5, nonlinearity="relu")(torch.zeros(7, 4, 3))[1].shape
        torch.Size([1, 4, 5])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        engine: str = "auto",
        **other: Any,
    ) -> None:
        _refuse_projection(other)
        cells = {"tanh": "rnn", "relu": "rnn-relu"}
        if nonlinearity not in tuple(cells):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(
            cells[nonlinearity], input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0,
            device, dtype, engine=engine,
        )  # fmt: skip
        self.nonlinearity = nonlinearity


def _refuse_projection(other: dict[str, Any]) -> None:
    if "proj_size" in other:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
    if other:
        raise TypeError(f"unexpected keyword argument '{next(iter(other))}'")
