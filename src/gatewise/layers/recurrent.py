"""Layers: cells over time, stacked, in one or two directions; drop-in replacements for torch.nn.GRU, LSTM and RNN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.cells import Cell
from gatewise.engines import States, Tokens
from gatewise.errors import UserError
from gatewise.layers.base import CellLayer
from gatewise.layers.checks import check_lengths, check_projection, check_sizes, check_state_dims, check_tokens
from gatewise.layers.options import Given, Options


class Recurrent(CellLayer):
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
        sizes, given = (input_size, hidden_size), Given.of(options)
        self.proj_size = proj_size
        self._set_up(cell, sizes, num_layers, bias, batch_first, bidirectional, given)
        if proj_size:
            check_projection(self.cell)
        self._make_weights(device, dtype)

    def reset_parameters(self) -> None:
        """Draw all weights anew: U(-1/sqrt(H), 1/sqrt(H)), in torch.nn's order."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)
        self._set_vectors()

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
        self, x: Tensor, lengths: Tensor | None, states: States | None, embedding: Tensor | None = None
    ) -> tuple[Tensor, States]:
        if x.is_floating_point():
            return self._run_cells(x, lengths, states)
        vocabulary = self.input_size if embedding is None else len(embedding)
        return self._run_cells(x, lengths, states, lambda tokens: Tokens(tokens.long(), vocabulary, embedding))

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
