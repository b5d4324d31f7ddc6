"""Numbers for a graph's nodes, one torch call a node: slow, plain, and the meaning of each operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewise.graph.graph import Node

Leaves = Mapping[tuple[str, str], Tensor]

_POINTWISE: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "power": torch.pow,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "softplus": F.softplus,
    "exp": torch.exp,
    "log": torch.log,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "clamp": torch.clamp,
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "positive": lambda a: (a > 0).to(a.dtype),
    "sign": torch.sign,
    "within": lambda a, low, high: ((a >= low) & (a <= high)).to(a.dtype),
    "greater": lambda a, b: (a > b).to(a.dtype) + 0.5 * (a == b).to(a.dtype),
}


def evaluate(nodes: Sequence[Node], leaves: Leaves) -> list[Tensor]:
    """The value of every node.

    Args:
        nodes: a graph's nodes (forward, or forward and backward).
        leaves: tensors by ``(kind, name)``: ``("state", "h")``, ``("input", "r")``, ``("mask", m)`` and
            ``("cotangent", "h")`` of shape (batch, hidden), ``("vector", v)`` and ``("diag", gate)`` of shape
            (hidden,), ``("weight", gate)`` of shape (hidden, hidden) and ``("bias", gate)`` of shape (hidden,).

    Example:
        >>> import torch
        >>> from gatewise.graph import trace
        >>> graph = trace("rnn")
        >>> one = torch.ones(1, 1, dtype=torch.float64)
        >>> leaves = {("state", "h"): one, ("input", "h"): one, ("weight", "h"): one, ("bias", "h"): one[0]}
        >>> evaluate(graph.nodes, leaves)[graph.results[0]].item() == torch.tanh(3 * one).item()
        True
    """
    values: list[Tensor] = []
    for node in nodes:
        values.append(value_of(node, [values[i] for i in node.args], leaves))
    return values


def value_of(node: Node, args: Sequence[Tensor], leaves: Leaves) -> Tensor:
    """The value of one node, from those of its arguments; ``leaves`` as for :func:`evaluate`."""
    match node.op:
        case "constant":
            like = next(iter(leaves.values()))
            return torch.tensor(node.parameters[0], dtype=like.dtype, device=like.device)
        case "state" | "input" | "vector" | "mask" | "cotangent":
            return leaves[node.op, node.of]
        case "dense":
            return F.linear(args[0], leaves["weight", node.of], leaves.get(("bias", node.of)))
        case "dense_transposed":
            return args[0] @ leaves["weight", node.of]
        case "diag":
            return leaves["diag", node.of] * args[0]
        case "mean":
            return args[0].mean(-1, keepdim=True).expand_as(args[0])
        case _:
            return pointwise(node, args)


def pointwise(node: Node, args: Sequence[Any]) -> Any:
    """What a pointwise operation makes of its arguments: tensors, or what stands for them."""
    return _POINTWISE[node.op](*args, *node.parameters)
