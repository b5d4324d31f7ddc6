"""The functions of a cell's equations on vectors: accuracy over all numbers, and where they end or bend."""

import math

import pytest
import torch
import torch.nn.functional as F

from gatewise import Cell, Recurrent

pytestmark = pytest.mark.usefixtures("native")

EVERYWHERE = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "softplus": F.softplus,
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.25),
    "abs": torch.abs,
    "clamp": lambda x: torch.clamp(x, -0.5, 2.0),
    "clamp_below": lambda x: torch.clamp(x, max=1.5),
    "minimum": lambda x: torch.minimum(x, 1 - x),
    "maximum": lambda x: torch.maximum(x, -3 * x),
    "cube": lambda x: x**3,
    "nothing": lambda x: x**0,
}
"""These have a slope everywhere."""

POSITIVE = {
    "log": torch.log,
    "sqrt": torch.sqrt,
    "inverse": lambda x: x**-1,
    "root_of_inverse": lambda x: x**-0.5,
    "power": lambda x: x**1.75,
    "division": lambda x: 1 / (x + 1),
}
"""These have none, or an infinite one, at some number."""

CANCELLING = {"minimum", "division", "softplus", "log"}
"""These have an absolute error as well, from a difference within."""


class Functions(Cell):
    """The next value of each state is a function of the input."""

    gates = ("n",)
    states = tuple(EVERYWHERE)

    def step(self, x, u, *states):
        return tuple(function(x.n) for function in EVERYWHERE.values())


class PositiveFunctions(Cell):
    gates = ("n",)
    states = tuple(POSITIVE)

    def step(self, x, u, *states):
        return tuple(function(x.n) for function in POSITIVE.values())


BOTH = pytest.mark.parametrize("cell", [Functions, PositiveFunctions], ids=["everywhere", "positive"])
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def apply(cell: type[Cell], values: torch.Tensor, engine: str) -> tuple[dict[str, torch.Tensor], ...]:
    """Each function of each number, and its slope."""
    layer = Recurrent(cell, 1, 1, bias=False, dtype=values.dtype, engine=engine)
    torch.nn.init.ones_(layer.get_parameter("weight_ih_l0"))
    x = values.reshape(1, -1, 1).requires_grad_()
    _, finals = layer(x)
    found, slopes = {}, {}
    for name, final in zip(cell.states, finals, strict=True):
        found[name] = final.detach().flatten()
        (slope,) = torch.autograd.grad(final.sum(), x, retain_graph=True)
        slopes[name] = slope.flatten()
    return found, slopes


def numbers(dtype: torch.dtype) -> torch.Tensor:
    """All sizes of numbers, dense where the functions do something."""
    generator = torch.Generator().manual_seed(0)
    information = torch.finfo(dtype)
    sizes = torch.logspace(math.log10(information.tiny), math.log10(information.max) - 0.1, 2000, dtype=torch.float64)
    near = torch.linspace(-100, 100, 20001, dtype=torch.float64)
    random = 5 * torch.randn(20000, generator=generator, dtype=torch.float64)
    return torch.cat([sizes, -sizes, near, random]).to(dtype)


ACCURACY = {torch.float32: 6e-7, torch.float64: 1e-14}
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 2.0, 1.5]


@BOTH
@PRECISIONS
def test_values_are_those_of_the_functions(cell, dtype):
    """Against float64 of the same argument; what is smaller than the smallest normal number counts as zero."""
    values = numbers(dtype)
    found, _ = apply(cell, values, "native")
    exact, _ = apply(cell, values.double(), "eager")
    allowed, tiny, largest = ACCURACY[dtype], 100 * torch.finfo(dtype).tiny, torch.finfo(dtype).max
    for name, expected in exact.items():
        value = found[name]
        expected = torch.where(expected.abs() > largest, expected.sign() * math.inf, expected)
        assert torch.equal(value.isnan(), expected.isnan()), name
        assert torch.equal(value[expected.isinf()].double(), expected[expected.isinf()]), name
        finite = expected.isfinite() & (expected.abs() < 0.99 * largest)
        assert value[finite].isfinite().all(), name
        error = (value.double() - expected).abs()[finite]
        bound = allowed * (expected.abs()[finite] + (name in CANCELLING)) + tiny
        worst = (error / bound).argmax()
        where = values[finite][worst].item()
        assert (error <= bound).all(), f"{name}({where}) = {value[finite][worst]}, not {expected[finite][worst]}"


@BOTH
@PRECISIONS
def test_special_values(cell, dtype):
    values = torch.tensor(SPECIAL, dtype=dtype)
    (found, _), (expected, _) = (apply(cell, values.clone(), engine) for engine in ("native", "eager"))
    if cell is PositiveFunctions:  # IEEE 754's pow; PyTorch has 0 or NaN there, by the length of the tensor
        expected["root_of_inverse"][SPECIAL.index(-math.inf)] = 0.0
    for name in cell.states:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-30, equal_nan=True, msg=name)


@BOTH
@PRECISIONS
def test_slopes_are_those_of_torch(cell, dtype):
    values = torch.cat([numbers(dtype), torch.tensor(SPECIAL, dtype=dtype)])
    values = values[values.abs() < 20] if cell is Functions else values[(values > 0.01) & (values < 20)]
    (_, slopes), (_, exact) = apply(cell, values, "native"), apply(cell, values.double(), "eager")
    for name, expected in exact.items():
        close = 1e-5 if dtype == torch.float32 else 1e-10
        torch.testing.assert_close(slopes[name].double(), expected, rtol=close, atol=close, msg=name)


class Kinks(Cell):
    """The slopes of torch exactly where functions bend: at 0, at 1, and at ties."""

    def step(self, x, u, h):
        a = torch.relu(h) + 2 * F.leaky_relu(h, 0.1) + 4 * torch.abs(h)
        return a + 8 * torch.clamp(h, 0.0, 1.0) + 16 * torch.minimum(h, -h) + 32 * torch.maximum(h, 2 * h)


@PRECISIONS
def test_derivatives_at_the_kinks_are_those_of_torch(dtype):
    slopes = []
    for engine in ("native", "eager"):
        h = torch.tensor([[[0.0, 1.0, -1.0, 0.5, 2.0]]], dtype=dtype, requires_grad=True)
        layer = Recurrent(Kinks, 1, 5, dtype=dtype, engine=engine)
        output, _ = layer(torch.zeros(1, 1, 1, dtype=dtype), h)
        slopes.append(torch.autograd.grad(output.sum(), h)[0])
    assert torch.equal(*slopes)
