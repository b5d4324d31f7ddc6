"""Cells that are linear in their states, over all time steps at once: what else is in a step has no order in time."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.cells import Cell
from gatewise.engines.convolution import NOT_CONVOLVED
from gatewise.engines.remembered import Remembered, constant_when_compiled
from gatewise.engines.request import Input, Request, States, Tokens, Weights, run_stack
from gatewise.engines.scan.recurrence import before, recurrence
from gatewise.errors import UnsupportedOperationError
from gatewise.graph import Linear, NotLinear, linear, trace
from gatewise.graph.evaluate import value_of

__all__ = ["ScanEngine"]

LONG, LARGE = 100, 1 << 20
"""Steps, and bytes of a layer's input weights, from which a scan is faster than the compiled kernel, for one row."""

BLOCK = 1 << 17
"""Numbers of a state in a block, on a CPU: some ten values of that size are computed for every block."""


class ScanEngine:
    """Runs the cells whose graph says s_t = a_t ⊙ s_{t-1} + b_t."""

    name = "scan"

    def refuses(self, request: Request) -> str | None:
        if request.convolution:
            return NOT_CONVOLVED
        found = _linear(request.cell)
        if isinstance(found, NotLinear):
            return f"scan: {found.why}"
        if request.bf16:
            return "scan multiplies in the weights' own precision"
        if request.weights[0][0].projection is not None:
            return "scan has no projection of the output (proj_size)"
        return None

    def describe(self, request: Request) -> str:
        return f"'{request.cell.name}' is linear in its state: all steps at once, by a parallel scan"

    def overtakes(self, name: str, request: Request) -> str | None:
        """The compiled kernel multiplies by the input's weights step by step, and fetches them each time."""
        if name != "native" or request.rows != 1 or request.steps is None or request.steps < LONG:
            return None
        matrices = (direction.input for layer in request.weights for direction in layer)
        size = max((m.numel() * m.element_size() for m in matrices if m is not None), default=0)
        if size < LARGE:
            return None
        return "one long sequence: the input's large weights are read once, and by native at every step"

    def run(self, request: Request, x: Input, lengths: Tensor | None, states: States) -> tuple[Tensor, States]:
        return run_stack(_scan, request, x, lengths, states)


@Remembered
def _traced(cell: Cell, held: Linear | NotLinear | None) -> Linear | NotLinear:
    del held
    try:
        return linear(trace(cell))
    except UnsupportedOperationError:  # what it is, the native engine says
        return NotLinear("the cell uses what the graph does not have")


@constant_when_compiled
def _linear(cell: Cell) -> Linear | NotLinear:
    return _traced(cell)


def _scan(
    request: Request, weights: Weights, x: Input, lengths: Tensor | None, states: States, reverse: bool
) -> tuple[Tensor, States]:
    """One layer in one direction, a block of steps after the other: what a block computes stays in the cache."""
    x = x.dense(states[0].dtype) if isinstance(x, Tokens) else x
    block = _block_length(x, states[0])
    starts = range(0, len(x), block)
    outputs: list[Tensor] = []
    for start in reversed(starts) if reverse else starts:
        masks = tuple(mask if len(mask) == 1 else mask[start : start + block] for mask in weights.masks)
        left = None if lengths is None else lengths - start
        output, states = _block(request, replace(weights, masks=masks), x[start : start + block], left, states, reverse)
        outputs.append(output)
    if len(outputs) == 1:
        return outputs[0], states
    return torch.cat(outputs[::-1] if reverse else outputs), states


def _block_length(x: Tensor, state: Tensor) -> int:
    if x.device.type != "cpu":
        return len(x)
    return max(16, BLOCK // max(1, state.numel()))


def _block(
    request: Request, weights: Weights, x: Tensor, lengths: Tensor | None, states: States, reverse: bool
) -> tuple[Tensor, States]:
    """Each state for all steps of a block, with those solved before it among its coefficients."""
    cell = _linear(request.cell)
    assert isinstance(cell, Linear)
    leaves = _leaves(request, weights, x, states[0])
    initial = {name: state.squeeze(0) for name, state in zip(cell.graph.states, states, strict=True)}
    running = None if lengths is None else _running(lengths, x)
    values: dict[int, Tensor] = {}
    solved: dict[str, Tensor] = {}
    for found in cell.recurrences:
        for i in found.needs:
            node = cell.nodes[i]
            if node.op == "state":
                values[i] = before(solved[node.of], initial[node.of], reverse)
            else:
                values[i] = value_of(node, [values[k] for k in node.args], leaves)
        a = None if found.a is None else values[found.a]
        s = _following(a, values[found.b], initial[found.state], len(x), running, reverse)
        solved[found.state] = s
        if cell.nodes[found.result].op != "state":
            values[found.result] = s
    output = solved[cell.graph.states[0]]
    if running is not None:
        output = output.masked_fill(~running, 0.0)
    last = 0 if reverse else -1
    return output, tuple(solved[name][last].unsqueeze(0) for name in cell.graph.states)


def _running(lengths: Tensor, x: Tensor) -> Tensor:
    """(T, B, 1): whether a sequence has such a step."""
    steps = torch.arange(len(x), device=x.device).unsqueeze(1)
    return (steps < lengths.to(x.device)).unsqueeze(2)


def _following(a: Tensor | None, b: Tensor, start: Tensor, steps: int, running: Tensor | None, reverse: bool) -> Tensor:
    """(T, B, H): the state after each step; past a sequence's end it stays as it is."""
    dtype = torch.promote_types(b.dtype, start.dtype)
    b = b.to(dtype).expand(steps, *start.shape)
    if a is None and running is None:
        return b
    if a is None:
        a = b.new_zeros(())
    a = a.to(dtype).expand(steps, *start.shape)
    if running is not None:
        a, b = torch.where(running, a, 1.0), torch.where(running, b, 0.0)
    return recurrence(a, b, start.to(dtype), reverse)


def _leaves(request: Request, weights: Weights, x: Tensor, like: Tensor) -> dict[tuple[str, str], Tensor]:
    """What a step reads beside its states, with a first axis of time where it differs from step to step."""
    used = request.connections
    leaves: dict[tuple[str, str], Tensor] = {}

    def add(kind: str, names: tuple[str, ...], parts: tuple[Tensor, ...] | list[Tensor]) -> None:
        leaves.update({(kind, name): part for name, part in zip(names, parts, strict=True)})

    if weights.input is not None:
        projections = F.linear(x, weights.input, weights.input_bias)
        add("input", used.input, projections.chunk(len(used.input), dim=-1))
    if weights.recurrent is not None:
        add("weight", used.dense, weights.recurrent.chunk(len(used.dense)))
    if weights.recurrent_bias is not None:
        add("bias", used.dense, weights.recurrent_bias.chunk(len(used.dense)))
    if weights.diag is not None:
        add("diag", used.diag, weights.diag.unbind())
    if weights.vector is not None:
        add("vector", used.vector, weights.vector.unbind())
    masks = request.cell.masks
    drawn = (value.to(like.dtype) * mask.scale for value, mask in zip(weights.masks, masks.values(), strict=False))
    means = (like.new_tensor(mask.mean) for mask in masks.values())
    add("mask", tuple(masks), tuple(drawn if weights.masks else means))
    return leaves or {("state", ""): like}
