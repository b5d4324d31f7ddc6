"""The reference: the cell's own lines, step by step, in PyTorch with autograd. All else is tested against it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.cells import Cell, Named
from gatewise.engines.request import Input, Request, States, Tokens, Weights, run_stack

WORTH_A_SCAN = 8
"""Steps from which on a parallel scan is faster than one step after the other: see ``benchmarks/NOTES.md``."""


class EagerEngine:
    """Runs any cell."""

    name = "eager"

    def refuses(self, request: Request) -> str | None:
        return None

    def describe(self, request: Request) -> str:
        return f"the reference: the equations of '{request.cell.name}' step by step"

    def overtakes(self, name: str, request: Request) -> str | None:
        if name == "scan" and request.steps is not None and request.steps < WORTH_A_SCAN:
            return f"a scan of fewer than {WORTH_A_SCAN} steps is slower"
        return None

    def run(self, request: Request, x: Input, lengths: Tensor | None, states: States) -> tuple[Tensor, States]:
        return run_stack(scan, request, x, lengths, states)


def scan(
    request: Request, weights: Weights, x: Input, lengths: Tensor | None, states: States, reverse: bool
) -> tuple[Tensor, States]:
    """One layer in one direction: ``step`` for every t, the input's projections computed beforehand."""
    x = x.dense(states[0].dtype) if isinstance(x, Tokens) else x
    cell, steps = request.cell, x.shape[0]
    gates = request.connections.input
    projections = (
        _product(request, x, weights.input, weights.input_bias).unbind() if weights.input is not None else None
    )
    u = _recurrent_connections(request, weights)
    states = tuple(state.squeeze(0) for state in states)
    ends = None if lengths is None else lengths.to(x.device).reshape(-1, *[1] * (states[0].dim() - 1))

    outputs: list[Tensor] = [x] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        u.__dict__["mask"] = _masks(request.cell, weights, t, states[0])
        x_t = projections[t].chunk(len(gates), dim=-1) if projections is not None else ()
        following = cell.advance(Named(cell, "x", dict(zip(gates, x_t, strict=True))), u, states)
        if weights.projection is not None:
            following = (F.linear(following[0], weights.projection), *following[1:])
        if ends is None:
            outputs[t] = following[0]
        else:
            running = t < ends
            outputs[t] = following[0].masked_fill(~running, 0.0)
            following = tuple(torch.where(running, new, old) for new, old in zip(following, states, strict=True))
        states = following
    return torch.stack(outputs), tuple(state.unsqueeze(0) for state in states)


def _product(request: Request, value: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    if request.bf16:
        value, matrix = (factor.to(torch.bfloat16).to(factor.dtype) for factor in (value, matrix))
    return (request.convolution or F.linear)(value, matrix, bias)


def _recurrent_connections(request: Request, weights: Weights) -> Named:
    """The ``u`` of a step: ``u.<gate>(value)``, ``u.diag.<gate>(value)``, ``u.vector.<name>``."""
    cell, used = request.cell, request.connections

    def dense(matrix: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
        return lambda value: _product(request, value, matrix, bias)

    def diagonal(row: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda value: row * value

    things: dict[str, object] = {}
    if weights.recurrent is not None:
        count = len(used.dense)
        bias = weights.recurrent_bias
        biases = [None] * count if bias is None else bias.chunk(count)
        parts = dict(zip(used.dense, zip(weights.recurrent.chunk(count), biases, strict=True), strict=True))
        things = {gate: dense(*part) for gate, part in parts.items()}
        if request.convolution:
            for gates in used.together:
                matrices, own = zip(*(parts[gate] for gate in gates), strict=True)
                things |= _at_once(gates, dense(torch.cat(matrices), None if bias is None else torch.cat(own)))
    rows = () if weights.diag is None else weights.diag.unbind()
    things["diag"] = Named(cell, "u.diag", {g: diagonal(row) for g, row in zip(used.diag, rows, strict=True)})
    vectors = () if weights.vector is None else weights.vector.unbind()
    things["vector"] = Named(cell, "u.vector", dict(zip(used.vector, vectors, strict=True)))
    return Named(cell, "u", things)


def _at_once(gates: tuple[str, ...], product: Callable[[Tensor], Tensor]) -> dict[str, Callable[[Tensor], Tensor]]:
    """The products of several gates from one that has them side by side, for as long as they are of the same value."""
    operand: Tensor | None = None
    products: tuple[Tensor, ...] = ()

    def part(index: int, value: Tensor) -> Tensor:
        nonlocal operand, products
        if operand is not value:
            operand, products = value, product(value).chunk(len(gates), dim=-1)
        return products[index]

    return {gate: partial(part, index) for index, gate in enumerate(gates)}


def _masks(cell: Cell, weights: Weights, t: int, like: Tensor) -> Named:
    """The ``u.mask`` of a step: what was drawn for it, or the means."""
    if not weights.masks:
        return Named(cell, "u.mask", {name: like.new_tensor(mask.mean) for name, mask in cell.masks.items()})
    drawn = zip(cell.masks.items(), weights.masks, strict=True)
    return Named(cell, "u.mask", {n: value[t % len(value)].to(like.dtype) * mask.scale for (n, mask), value in drawn})
