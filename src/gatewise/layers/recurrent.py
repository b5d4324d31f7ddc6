"""Layers: cells over time, stacked, in one or two directions; drop-in replacements for torch.nn.GRU, LSTM and RNN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.cells import CellLike
from gatewise.engines import States, Tokens
from gatewise.errors import UserError
from gatewise.layers.base import FORM_DEFAULTS, OPTION_DEFAULTS, CellLayer, Form
from gatewise.layers.checks import (
    check_features,
    check_projection,
    check_sizes,
    check_state_dims,
    check_tokens,
)
from gatewise.layers.options import Given, Options
from gatewise.layers.shapes import LayerShape, depth


class Recurrent(CellLayer):
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
        H). Drawn from U(-1/sqrt(H), 1/sqrt(H)), vectors with an initial value and diagonal weights with
        a range of their own apart; then ``initial_<state>_l{k}``.

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

    _defaults = {"proj_size": 0} | FORM_DEFAULTS | OPTION_DEFAULTS
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
        form = Form(bias, batch_first, bidirectional, proj_size)
        self._set_up(cell, input_size, hidden_size, form, Given.of(options))
        for each in self.shapes if proj_size else ():
            check_projection(each.cell)
        self._make_weights(device, dtype)

    def _bound(self, name: str, layer: LayerShape) -> float:
        return 1.0 / math.sqrt(layer.hidden_size)

    def flatten_parameters(self) -> None:
        """Does nothing: kept so that code written for torch.nn runs unchanged.

        On a GPU cuDNN then gathers the weights itself on every call.
        """

    def extra_repr(self) -> str:
        text = f"{self.names()}, " if type(self) is Recurrent else ""
        return self._described(f"{text}{self.input_size}, {self.hidden_size}")

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
        if not tokens:
            check_features(input, 3 if batched else 2, self._some_weight(input), self.input_size)
        return self._unify(input, batched, states, lengths, partial(self._run, embedding=embedding))

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
        self, x: Tensor, lengths: Tensor | None, states: States | None, embedding: Tensor | None = None
    ) -> tuple[Tensor, States]:
        if x.shape[0] == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        for state, (label, rows, size) in zip(states or (), self.layout.rows, strict=states is not None):
            if state.shape != (rows, x.shape[1], size):
                raise RuntimeError(f"Expected {label} size {(rows, x.shape[1], size)}, got {list(state.shape)}")
        if x.is_floating_point():
            return self._run_cells(x, lengths, states)
        vocabulary = self.input_size if embedding is None else len(embedding)
        return self._run_cells(x, lengths, states, lambda tokens: Tokens(tokens.long(), vocabulary, embedding))
