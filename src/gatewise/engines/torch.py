"""The vendor's own kernels for the cells that PyTorch has: its CPU code, oneDNN, cuDNN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from gatewise.cells import Cell
from gatewise.cells.gru import GRU
from gatewise.cells.lstm import LSTM
from gatewise.cells.rnn import RNN, ReluRNN
from gatewise.engines.convolution import NOT_CONVOLVED
from gatewise.engines.request import Input, Request, States, Tokens

# A subclass may have other equations, so the class itself is looked up, not its ancestors.
_KERNELS: dict[type[Cell], Any] = {
    RNN: torch.rnn_tanh,
    ReluRNN: torch.rnn_relu,
    GRU: torch.gru,
    LSTM: torch.lstm,
}


class TorchEngine:
    """Runs the cells that PyTorch itself has, a whole stack in one call."""

    name = "torch"

    def refuses(self, request: Request) -> str | None:
        if request.convolution:
            return NOT_CONVOLVED
        if request.bf16:
            return "torch multiplies in the weights' own precision"
        if type(request.cell) not in _KERNELS:
            return f"torch has no kernel for the cell '{request.cell.name}'"
        if request.weights[0][0].projection is not None and not isinstance(request.cell, LSTM):
            return f"torch projects the output of 'lstm' only, not of '{request.cell.name}'"
        return None

    def describe(self, request: Request) -> str:
        return f"torch's own kernel for '{request.cell.name}'"

    def run(self, request: Request, x: Input, lengths: Tensor | None, states: States) -> tuple[Tensor, States]:
        x = x.dense(states[0].dtype) if isinstance(x, Tokens) else x
        kernel = _KERNELS[type(request.cell)]
        settings = (
            [w for layer in request.weights for direction in layer for w in _flat(direction, request.bias)],
            request.bias,
            len(request.weights),
            request.dropout,
            request.training,
            len(request.weights[0]) == 2,
        )
        single = len(states) == 1
        if lengths is None:
            output, *final = kernel(x, states[0] if single else states, *settings, False)
            return output, tuple(final)

        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        order, back = packed.sorted_indices, packed.unsorted_indices
        assert order is not None
        assert back is not None
        states = tuple(state.index_select(1, order) for state in states)
        data, *final = kernel(packed.data, packed.batch_sizes, states[0] if single else states, *settings)
        output, _ = pad_packed_sequence(PackedSequence(data, packed.batch_sizes, order, back), total_length=x.shape[0])
        return output, tuple(state.index_select(1, back) for state in final)


def _flat(weights: Any, bias: bool) -> list[Tensor]:
    flat = [weights.input, weights.recurrent]
    flat += [weights.input_bias, weights.recurrent_bias] if bias else []
    return flat + ([] if weights.projection is None else [weights.projection])
