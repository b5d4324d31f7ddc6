"""What a layer refuses: torch.nn's checks with its messages, and our own."""

from __future__ import annotations

import numbers
import warnings
from typing import Any

import torch
from torch import Tensor

from gatewise.cells import Cell
from gatewise.errors import UnsupportedOperationError, UserError
from gatewise.graph import trace


def check_sizes(
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


def check_features(x: Tensor, dims: int, weight: Tensor, input_size: int) -> None:
    """torch.nn's checks of an input that is no tokens, with its messages."""
    if x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
        raise ValueError(
            f"RNN input dtype ({x.dtype}) does not match weight dtype ({weight.dtype}). "
            f"Convert input: input.to({weight.dtype}), or convert model: model.to({x.dtype})"
        )
    if x.dim() != dims:
        raise RuntimeError(f"input must have {dims} dimensions, got {x.dim()}")
    if x.shape[-1] != input_size:
        raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {input_size}, got {x.shape[-1]}")


def check_projection(cell: Cell) -> None:
    try:
        projectable = trace(cell).output_feeds_products_only
    except UnsupportedOperationError:
        projectable = False
    if not projectable:
        raise UserError(
            f"proj_size: cell '{cell.name}' uses its output h elementwise, where the sizes would disagree; only a "
            "cell whose h enters dense products alone (lstm) can be projected"
        )


def check_state_dims(states: tuple[Tensor, ...], wanted: int) -> None:
    if all(state.dim() == wanted for state in states):
        return
    given = "batched 3-D" if wanted == 3 else "unbatched 2-D"
    if len(states) == 1:
        raise RuntimeError(f"For {given} input, hx should also be {wanted}-D but got {states[0].dim()}-D tensor")
    dims = ", ".join(f"{state.dim()}-D" for state in states)
    subject = "hx and cx" if len(states) == 2 else "the states"
    raise RuntimeError(f"For {given} input, {subject} should also be {wanted}-D but got ({dims}) tensors")


def check_lengths(lengths: Any, steps: int, batch: int) -> Tensor:
    values = torch.as_tensor(lengths).detach().cpu()
    if values.shape != (batch,) or values.is_floating_point() or values.dtype == torch.bool:
        raise UserError(
            f"lengths: want {batch} whole numbers, one a sequence; got {tuple(values.shape)} {values.dtype}"
        )
    if batch and not (int(values.min()) >= 1 and int(values.max()) <= steps):
        raise UserError(f"lengths: want numbers in 1..{steps}, got {int(values.min())}..{int(values.max())}")
    return values.to(torch.int64)


def check_tokens(tokens: Tensor, embedding: Tensor | None, input_size: int) -> None:
    """Tokens are whole numbers, within the embedding or the input's size; an embedding has the input's size."""
    if embedding is not None and not isinstance(embedding, Tensor):
        raise UserError(f"embedding: want a tensor (V, {input_size}), such as a module's .weight, not {embedding!r}")
    if tokens.dtype not in (torch.int64, torch.int32):
        raise UserError(f"an embedding belongs to tokens, whole numbers; the input is {tokens.dtype}")
    if embedding is not None and (embedding.dim() != 2 or embedding.shape[1] != input_size):
        raise UserError(f"embedding: want (tokens, {input_size}), the input's size, got {tuple(embedding.shape)}")
    if torch.compiler.is_compiling():
        return  # numbers are not known while tracing; a kernel looks at them itself
    count = input_size if embedding is None else len(embedding)
    if tokens.numel() and not (int(tokens.min()) >= 0 and int(tokens.max()) < count):
        raise IndexError(f"a token is outside 0 ... {count - 1}: the tokens run from {tokens.min()} to {tokens.max()}")
