"""The native CPU engine: a cell's equations as C++, compiled on this machine, forward and backward.

``graph -> plan -> one C++ source -> the machine's own compiler -> cached shared library -> one operator of PyTorch``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engines.convolution import NOT_CONVOLVED
from gatewise.engines.native import arguments, build, operator
from gatewise.engines.native.stream import NativeStream
from gatewise.engines.remembered import constant_when_compiled
from gatewise.engines.request import Request, States, Tokens, Weights, run_stack
from gatewise.engines.streaming import Head, Lexicon
from gatewise.errors import UserError

__all__ = ["NativeEngine"]


class NativeEngine:
    """Runs any cell that the graph can express, in float32 and float64, on a CPU."""

    name = "native"

    def refuses(self, request: Request) -> str | None:
        if request.convolution:
            return NOT_CONVOLVED
        weight = request.some_weight
        if weight is not None and weight.device.type != "cpu":
            return f"native runs on a CPU, not on {weight.device.type}"
        if request.weights[0][0].projection is not None:
            return "native has no projection of the output (proj_size)"
        if torch.is_autocast_enabled("cpu"):
            return "native does not take part in autocast"
        if not torch.compiler.is_compiling() and (watcher := operator.watcher()):
            return f"native does not take part in {watcher}"
        dtype = torch.float32 if weight is None else weight.dtype
        if dtype not in build.REALS:
            return f"native has float32 and float64, not {str(dtype).removeprefix('torch.')}"
        if request.bf16 and dtype != torch.float32:
            return f"native multiplies in bf16 for float32, not for {str(dtype).removeprefix('torch.')}"
        return _no_kernel(request.cell, dtype, request.bf16)

    def describe(self, request: Request) -> str:
        kernel = f"the compiled kernel of '{request.cell.name}'"
        if not request.bf16:
            return kernel
        tiles = build.kernel_named(build.kernel(request.cell, torch.float32, bf16=True)).tiles
        return f"{kernel}, products in bf16{' on tiles (AMX)' if tiles else ', as rounded float32: no faster'}"

    def run(
        self, request: Request, x: Tensor | Tokens, lengths: Tensor | None, states: States
    ) -> tuple[Tensor, States]:
        _check(request, x, states)
        return run_stack(scan, request, x, lengths, states)

    def open(self, request: Request, batch: int, lexicon: Lexicon | None, head: Head | None) -> NativeStream:
        weight = request.some_weight
        assert weight is not None
        # A step reads every weight once, and waits for that rather than for multiplications: no use for tiles here.
        kernel = build.kernel_named(build.kernel(request.cell, weight.dtype))
        return NativeStream(kernel, request, batch, lexicon, head)


_kernel = constant_when_compiled(build.kernel)


@constant_when_compiled
def _no_kernel(cell: Cell, dtype: torch.dtype, bf16: bool) -> str | None:
    """Why there is no kernel for a cell, None if there is one."""
    try:
        build.kernel(cell, dtype, bf16)
    except UserError as error:
        return f"native: {error}"
    return None


def _check(request: Request, x: Tensor | Tokens, states: States) -> None:
    """Every number must have the weights' type and lie in this machine's memory: the kernel sees addresses alone."""
    weight = request.some_weight
    wanted = states[0].dtype if weight is None else weight.dtype
    values = [("initial state", state) for state in states]
    if isinstance(x, Tokens):
        values += [] if x.embedding is None else [("embedding", x.embedding)]
    else:
        values += [("input", x)]
    for name, value in values:
        if value.dtype != wanted:
            raise RuntimeError(f"native: the {name} has the type {value.dtype}, the weights have {wanted}")
    for name, value in [*values, *([("input", x.index)] if isinstance(x, Tokens) else [])]:
        if value.device.type != "cpu":
            raise RuntimeError(f"native: the {name} is on {value.device}, the weights are on the CPU")
    if wanted not in build.REALS:  # a cell without weights, which refuses() could not know
        raise RuntimeError(f"native has float32 and float64, not {str(wanted).removeprefix('torch.')}")


def scan(
    request: Request,
    weights: Weights,
    x: Tensor | Tokens,
    lengths: Tensor | None,
    states: States,
    reverse: bool,
) -> tuple[Tensor, States]:
    """One layer in one direction, in one call of the operator."""
    initial = states[0] if len(states) == 1 else torch.cat(states)
    if isinstance(x, Tokens) and weights.input is None:
        source = (initial.new_empty(*x.shape, 0), None, None, None, None)  # no gate sees the input
    elif isinstance(x, Tokens):
        tokens, table = _table(x, weights)
        source = (None, tokens, table, None, None)
    else:
        source = (x, None, None, weights.input, weights.input_bias)
    rest = (weights.recurrent, weights.recurrent_bias, weights.diag, weights.vector, initial)
    keep = torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in (*source, *rest))
    key = _kernel(request.cell, initial.dtype, request.bf16)
    noise = (weights.masks, arguments.mask_numbers(request.cell))
    output, final = operator.scan(key, *source, *rest, lengths, *noise, reverse, keep)
    return output, (final,) if len(states) == 1 else tuple(final[k : k + 1] for k in range(len(states)))


def _table(tokens: Tokens, weights: Weights) -> tuple[Tensor, Tensor]:
    """Tokens and, for each token, W x + b: projected once a token rather than once a step.

    Where there are more tokens in the vocabulary than in the batch, those that occur are numbered anew.
    """
    assert weights.input is not None
    index = tokens.index
    if tokens.vocabulary > index.numel() and not torch.compiler.is_compiling():  # how many occur, no compiler can tell
        found, index = torch.unique(index, return_inverse=True)
    else:
        found = None
    if tokens.embedding is None:
        table = weights.input.t() if found is None else F.embedding(found, weights.input.t())
        return index, table if weights.input_bias is None else table + weights.input_bias
    rows = tokens.embedding if found is None else F.embedding(found, tokens.embedding)
    return index, F.linear(rows, weights.input, weights.input_bias)
