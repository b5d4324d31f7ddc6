"""Which engine runs which cell, all that a run gives (every gradient too), and the comparison of two runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from gatewise import CELLS, Cell, Recurrent
from gatewise.engines import ENGINES
from gatewise.engines.stack import refusal

Values = dict[str, Tensor]

KERNELS = [
    (cell, engine.name)
    for cell in CELLS
    for engine in ENGINES
    # native takes every cell; to ask it would be to compile them all before the first test
    if engine.name == "native" or not refusal(engine, Recurrent(cell, 3, 5).request())
]
"""Every cell with every engine that takes it; a new engine or cell joins in by being in its table."""

STRUCTURES = ("rnn", "rnn-relu", "gru", "gru-before", "lstm", "lstm-peephole", "indrnn", "min-lstm", "sru")
"""Cells of every kind of connection. What is shared code, as sizes and layouts are, is tried on these alone."""

DISTINCT = [kernel for kernel in KERNELS if kernel[0] in STRUCTURES]
NATIVE = [kernel for kernel in DISTINCT if kernel[1] == "native"]


def random_layer(
    cell: str | type[Cell] | Cell,
    engine: str,
    hidden: int = 7,
    dtype: torch.dtype = torch.float64,
    features: int = 3,
    **options,
) -> Recurrent:
    """A layer with random weights: no symmetry, no zero, biases too."""
    torch.manual_seed(1)
    layer = Recurrent(cell, features, hidden, dtype=dtype, engine=engine, **options)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            scale = weight.shape[-1] ** -0.5 if name.startswith(("weight_ih", "weight_hh", "weight_hr")) else 0.5
            weight.copy_(scale * torch.randn(weight.shape, dtype=torch.float64))
    return layer


def random_states(layer: Recurrent, batch: int, seed: int = 2) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    dtype = next((weight.dtype for weight in layer.parameters()), torch.float64)
    shapes = [(count, batch, size) for size in layer.state_sizes]
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)


def random_input(
    steps: int, batch: int, dtype: torch.dtype = torch.float64, seed: int = 3, features: int = 3
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, features, generator=generator, dtype=torch.float64).to(dtype)


def one_or_all(states: tuple[Tensor, ...]):
    """As ``hx`` is written: a tensor for a cell of one state, a tuple for others."""
    return states[0] if len(states) == 1 else states


def run(layer: Recurrent, x, states: tuple[Tensor, ...] | None = None, **options) -> tuple[Tensor, ...]:
    """(output, first state, ...), a packed output padded to the longest sequence."""
    output, final = layer(x, None if states is None else one_or_all(states), **options)
    output = pad_packed_sequence(output)[0] if isinstance(output, PackedSequence) else output
    return (output, *((final,) if isinstance(final, Tensor) else final))


def everything(
    layer: Recurrent, x: Tensor, states: tuple[Tensor, ...], into=None, states_into=None, **options
) -> Values:
    """Output, final states, and the gradients of a random sum of them by input, initial states and every weight.

    ``into`` makes the layer's input from x (packs it), ``states_into`` a given state from each; gradients are by x
    and the states themselves.
    """
    x = x.detach().clone().requires_grad_()
    states = tuple(state.detach().clone().requires_grad_() for state in states)
    given = states if states_into is None else tuple(map(states_into, states))
    returned = run(layer, x if into is None else into(x), given, **options)
    generator = torch.Generator().manual_seed(4)
    loss = torch.zeros((), dtype=x.dtype)
    for value in returned:
        cotangent = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
        loss = loss + (value * cotangent).sum()
    leaves = {"x": x} | dict(zip(layer.cell.states, states, strict=True)) | dict(layer.named_parameters())
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    found = {name: value.detach() for name, value in zip(("output", *layer.cell.states), returned, strict=True)}
    for (name, leaf), grad in zip(leaves.items(), grads, strict=True):
        found[f"d {name}"] = torch.zeros_like(leaf) if grad is None else grad
    return found


def assert_agree(actual: Values, expected: Values, tolerance: float) -> None:
    """Same names, shapes and types; each within the tolerance, relative to its largest number (to 0.1 at least)."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (value.shape, value.dtype), name
        if value.numel():
            error = (actual[name] - value).abs().max().item()
            assert error <= tolerance * max(0.1, value.abs().max().item()), f"{name} differs by {error:.1e}"


@dataclass(frozen=True)
class Setting:
    """One way of running a layer."""

    hidden: int = 17
    dtype: torch.dtype = torch.float64
    threads: int = 1
    lengths: tuple[int, ...] | None = None
    layers: int = 1
    bidirectional: bool = False
    steps: int = 7
    batch: int = 5
    features: int = 3
    bias: bool = True

    def __str__(self) -> str:
        how = f"{self.hidden}-{str(self.dtype).removeprefix('torch.')}-{self.threads}thread-{self.layers}layer"
        how += f"-T{self.steps}" * (self.steps != 7) + f"-B{self.batch}" * (self.batch != 5)
        how += f"-I{self.features}" * (self.features != 3) + "-nobias" * (not self.bias)
        return how + ("-both" if self.bidirectional else "") + ("-lengths" if self.lengths else "")


def assert_engine_agrees_with_reference(cell: str | type[Cell], engine: str, setting: Setting) -> None:
    """THE comparison: everything an engine gives against everything the reference gives."""
    options = {"num_layers": setting.layers, "bidirectional": setting.bidirectional, "bias": setting.bias}
    layer, reference = (
        random_layer(cell, e, setting.hidden, setting.dtype, setting.features, **options) for e in (engine, "eager")
    )
    x = random_input(setting.steps, setting.batch, setting.dtype, features=setting.features)
    states = random_states(layer, setting.batch)
    threads = torch.get_num_threads()
    torch.set_num_threads(setting.threads)
    try:
        actual, expected = (everything(each, x, states, lengths=setting.lengths) for each in (layer, reference))
    finally:
        torch.set_num_threads(threads)
    # It grows with the steps of a cell that is not stable, and is another with other options of the compiler.
    rounding = 1e-5 * min(max(1.0, setting.steps / 10), 5.0)
    assert_agree(actual, expected, 1e-10 if setting.dtype == torch.float64 else rounding)
