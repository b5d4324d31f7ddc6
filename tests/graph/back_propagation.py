"""Back-propagation through time: from the derived graph, and, to compare with, by autograd through the layer."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise import Cell, Recurrent
from gatewise.graph import derive, evaluate, trace

T, B, I, H = 6, 3, 4, 7

Values = dict[str, Tensor]


@dataclass
class Problem:
    """A layer with random weights, its input and initial states, and the loss's derivatives by all it returns."""

    layer: Recurrent
    x: Tensor
    states: tuple[Tensor, ...]
    d_output: Tensor
    d_finals: tuple[Tensor, ...]


def problem(cell: type[Cell], seed: int = 0, steps: int = T, batch: int = B, hidden: int = H) -> Problem:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    layer = Recurrent(cell, I, hidden, dtype=torch.float64, engine="eager")
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(normal(*weight.shape, scale=0.5))
    states = tuple(normal(1, batch, hidden, scale=0.7) for _ in layer.cell.states)
    d_finals = tuple(normal(1, batch, hidden) for _ in states)
    return Problem(layer, normal(steps, batch, I), states, normal(steps, batch, hidden), d_finals)


def by_autograd(p: Problem) -> Values:
    """Outputs, final states and every gradient, through the reference engine; gates apart, named as explain does."""
    x = p.x.clone().requires_grad_()
    states = tuple(s.clone().requires_grad_() for s in p.states)
    output, final = p.layer(x, states)
    finals = (final,) if isinstance(final, Tensor) else final
    loss = (output * p.d_output).sum()
    for value, cotangent in zip(finals, p.d_finals, strict=True):
        loss = loss + (value * cotangent).sum()
    leaves = [x, *states, *p.layer.parameters()]
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    grads = [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, grads, strict=True)]

    names = p.layer.cell.states
    found: Values = {"output": output.detach(), "dx": grads[0]}
    found |= {name: value.detach()[0] for name, value in zip(names, finals, strict=True)}
    found |= {f"d{name}_0": grad[0] for name, grad in zip(names, grads[1:], strict=False)}
    by_name = dict(zip((n for n, _ in p.layer.named_parameters()), grads[1 + len(states) :], strict=True))
    return found | {f"d{key}": value for key, value in split(p.layer, by_name).items()}


def split(layer: Recurrent, weights: Values) -> Values:
    """A layer's stacked weights gate by gate: W_r, b_r, U_r, b'_r, p_r and the vectors by their own names."""
    used = layer.connections
    parts: Values = {}
    for key, letter, gates in (
        ("weight_ih_l0", "W", used.input),
        ("bias_ih_l0", "b", used.input),
        ("weight_hh_l0", "U", used.dense),
        ("bias_hh_l0", "b'", used.dense),
    ):
        if key in weights:
            rows = weights[key].chunk(len(gates))
            parts |= {f"{letter}_{gate}": block for gate, block in zip(gates, rows, strict=True)}
    if used.diag:
        parts |= {f"p_{gate}": row for gate, row in zip(used.diag, weights["weight_diag_l0"], strict=True)}
    if used.vector:
        parts |= dict(zip(used.vector, weights["vector_l0"], strict=True))
    return parts


def by_derived_graph(p: Problem) -> Values:
    """The same by the derived backward graph, step by step, the weights' gradients gathered as they are printed."""
    graph = trace(p.layer.cell)
    backward = derive(graph)
    steps, batch, hidden = p.d_output.shape
    weights = {name: w.detach() for name, w in split(p.layer, dict(p.layer.named_parameters())).items()}
    used = graph.connections
    fixed = {("weight", g): weights[f"U_{g}"] for g in used.dense} | {
        ("bias", g): weights[f"b'_{g}"] for g in used.dense
    }
    fixed |= {("diag", g): weights[f"p_{g}"] for g in used.diag} | {("vector", v): weights[v] for v in used.vector}

    def full(value: Tensor) -> Tensor:
        return value.broadcast_to(batch, hidden)

    found: Values = {f"d{name}": torch.zeros_like(w) for name, w in weights.items()}
    leaves: list[dict[tuple[str, str], Tensor]] = []
    outputs: list[Tensor] = []
    states = {s: value[0] for s, value in zip(graph.states, p.states, strict=True)}
    for t in range(steps):
        inputs = {("input", g): p.x[t] @ weights[f"W_{g}"].T + weights[f"b_{g}"] for g in used.input}
        leaves.append({("state", s): value for s, value in states.items()} | inputs | fixed)
        values = evaluate(graph.nodes, leaves[t])
        states = {s: full(values[i]) for s, i in zip(graph.states, graph.results, strict=True)}
        outputs.append(states[graph.states[0]])

    d_states = {s: value[0] for s, value in zip(graph.states, p.d_finals, strict=True)}
    dx: list[Tensor] = [torch.zeros_like(p.x[0])] * steps
    for t in reversed(range(steps)):
        d_states[graph.states[0]] = d_states[graph.states[0]] + p.d_output[t]
        v = evaluate(backward.nodes, leaves[t] | {("cotangent", s): value for s, value in d_states.items()})
        for gate, node in backward.inputs:
            found[f"dW_{gate}"] += full(v[node]).T @ p.x[t]
            found[f"db_{gate}"] += full(v[node]).sum(0)
            dx[t] = dx[t] + full(v[node]) @ weights[f"W_{gate}"]
        for product in backward.dense:
            found[f"dU_{product.gate}"] += full(v[product.cotangent]).T @ full(v[product.operand])
            found[f"db'_{product.gate}"] += full(v[product.cotangent]).sum(0)
        for product in backward.diag:
            found[f"dp_{product.gate}"] += (full(v[product.cotangent]) * full(v[product.operand])).sum(0)
        for vector, node in backward.vectors:
            found[f"d{vector}"] += full(v[node]).sum(0)
        d_states = {s: full(v[node]) for s, node in zip(graph.states, backward.states, strict=True)}
    found |= {f"d{s}_0": value for s, value in d_states.items()} | states
    return found | {"output": torch.stack(outputs), "dx": torch.stack(dx)}


def assert_agree(actual: Values, expected: Values, tolerance: float = 1e-10) -> None:
    """Same names, and each value within the tolerance, relative to the largest number of that value."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert actual[name].shape == value.shape, name
        error = (actual[name] - value).abs().max().item() / max(1.0, value.abs().max().item())
        assert error <= tolerance, f"{name} differs by {error:.1e}"
