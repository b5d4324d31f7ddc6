"""Cell -> graph: run ``step`` once on symbols and write down what happens to them."""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.nn.functional as F

from gatewise.cells import Cell, Named, connections, resolve
from gatewise.errors import UnsupportedOperationError, UserError
from gatewise.graph.graph import POINTWISE, Builder, Graph, prune


class Symbol:
    """A value of the step that is being traced; every operation on it adds a node."""

    def __init__(self, tracer: Tracer, node: int) -> None:
        self.tracer, self.node = tracer, node

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: tuple = (), kwargs: Mapping | None = None) -> Any:
        symbol = next(_symbols((*args, *(kwargs or {}).values())))
        return symbol.tracer.call(function, *args, **(kwargs or {}))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        function = getattr(torch, name, None)
        if not callable(function):
            raise self.tracer.unsupported(f"the attribute .{name}")
        return lambda *args, **kwargs: self.tracer.call(function, self, *args, **kwargs)

    def __add__(self, other: Any) -> Symbol:
        return self.tracer.pointwise("add", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self.tracer.pointwise("add", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self.tracer.pointwise("sub", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self.tracer.pointwise("sub", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self.tracer.pointwise("mul", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self.tracer.pointwise("mul", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self.tracer.pointwise("div", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self.tracer.pointwise("div", other, self)

    def __neg__(self) -> Symbol:
        return self.tracer.pointwise("neg", self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return self.tracer.pointwise("abs", self)

    def __pow__(self, exponent: Any) -> Symbol:
        return self.tracer.power(self, exponent)


def _symbols(values: Any) -> Iterator[Symbol]:
    """The symbols among the arguments of a call, those inside a list included."""
    for value in values:
        if isinstance(value, Symbol):
            yield value
        elif isinstance(value, tuple | list):
            yield from _symbols(value)


def _refuse(what: str) -> Callable[..., Any]:
    def method(self: Symbol, *_: Any) -> Any:
        raise self.tracer.unsupported(what)

    return method


for _name, _what in {
    "__rpow__": "a number to the power of a value",
    "__matmul__": "the matrix product @ (recurrent products are u.<gate>(value))",
    "__rmatmul__": "the matrix product @ (recurrent products are u.<gate>(value))",
    "__mod__": "the operator %",
    "__floordiv__": "the operator //",
    "__bool__": "a branch on a value (if, and, or, not, while)",
    "__float__": "the conversion of a value to a number",
    "__iter__": "iteration over a value",
    "__len__": "len() of a value",
    "__getitem__": "indexing",
    "__setitem__": "an assignment to a part of a value",
    "__iadd__": "+=, an operation in place",
    "__isub__": "-=, an operation in place",
    "__imul__": "*=, an operation in place",
    "__itruediv__": "/=, an operation in place",
    "__ipow__": "**=, an operation in place",
    "__eq__": "the comparison ==",
    "__ne__": "the comparison !=",
    "__gt__": "the comparison >",
    "__ge__": "the comparison >=",
    "__lt__": "the comparison <",
    "__le__": "the comparison <=",
}.items():
    setattr(Symbol, _name, _refuse(_what))


class Tracer:
    """Turns calls on symbols into nodes."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.builder = cell, Builder()
        self.named: dict[str, Symbol] = {}  # what a step that is not the written one has names for

    def unsupported(self, what: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(
            f"cell '{self.cell.name}' uses {what}, which the graph does not have; write the step with + - * / -x x**2 "
            f"{', '.join(POINTWISE[6:])}, mean(-1, keepdim=True), or run the cell on the reference engine: "
            "engine='eager' takes any operation"
        )

    def symbol(self, op: str, of: str) -> Symbol:
        return Symbol(self, self.builder.node(op, of=of))

    def operand(self, value: Any) -> int:
        if isinstance(value, Symbol):
            return value.node
        if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.requires_grad:
            value = value.item()
        if isinstance(value, numbers.Real):
            return self.builder.constant(float(value))
        raise self.unsupported(
            f"a {type(value).__name__} among its values (learned per-unit vectors go into 'vectors')"
        )

    def pointwise(self, op: str, *values: Any, parameters: tuple[float, ...] = ()) -> Symbol:
        return Symbol(self, self.builder.node(op, *map(self.operand, values), parameters=parameters))

    def product(self, op: str, gate: str) -> Callable[[Any], Symbol]:
        def multiply(value: Any) -> Symbol:
            if not isinstance(value, Symbol):
                name = f"u.{gate}" if op == "dense" else f"u.diag.{gate}"
                raise UserError(f"cell '{self.cell.name}': {name}(...) takes a value of the step, not {value!r}")
            return Symbol(self, self.builder.node(op, value.node, of=gate))

        return multiply

    def number(self, value: Any, what: str) -> float:
        if isinstance(value, Symbol) or not isinstance(value, numbers.Real):
            raise self.unsupported(f"{what} that is not a constant")
        return float(value)

    def power(self, base: Any, exponent: Any) -> Symbol:
        return self.pointwise("power", base, parameters=(self.number(exponent, "an exponent"),))

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Symbol:
        """A call of a torch function with a symbol among its arguments."""
        name = getattr(function, "__name__", str(function))
        rule = _RULES.get(function)
        if rule is None:
            raise self.unsupported(f"torch's {name}")
        try:
            return rule(self, *args, **kwargs)
        except TypeError:
            raise self.unsupported(f"torch's {name} with these arguments") from None


def _binary(op: str) -> Callable[..., Symbol]:
    def rule(tracer: Tracer, input: Any, other: Any, *, alpha: float = 1) -> Symbol:
        if alpha != 1:
            other = tracer.pointwise("mul", tracer.number(alpha, "a factor alpha"), other)
        return tracer.pointwise(op, input, other)

    return rule


def _unary(op: str) -> Callable[..., Symbol]:
    return lambda tracer, input: tracer.pointwise(op, input)


def _power(tracer: Tracer, input: Any, exponent: Any) -> Symbol:
    return tracer.power(input, exponent)


def _relu(tracer: Tracer, input: Any, inplace: bool = False) -> Symbol:
    if inplace:
        raise tracer.unsupported("an operation in place")
    return tracer.pointwise("relu", input)


def _leaky_relu(tracer: Tracer, input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Symbol:
    if inplace:
        raise tracer.unsupported("an operation in place")
    return tracer.pointwise("leaky_relu", input, parameters=(tracer.number(negative_slope, "a slope"),))


def _softplus(tracer: Tracer, input: Any, beta: float = 1.0, threshold: float = 20.0) -> Symbol:
    if beta != 1.0 or threshold != 20.0:
        raise tracer.unsupported("softplus with another beta or threshold than torch's defaults")
    return tracer.pointwise("softplus", input)


def _clamp(tracer: Tracer, input: Any, min: float | None = None, max: float | None = None) -> Symbol:
    low = -math.inf if min is None else tracer.number(min, "a bound of clamp")
    high = math.inf if max is None else tracer.number(max, "a bound of clamp")
    return tracer.pointwise("clamp", input, parameters=(low, high))


def _mean(tracer: Tracer, input: Any, dim: Any = None, keepdim: bool = False) -> Symbol:
    if dim not in (-1, (-1,), [-1]) or not keepdim:
        raise tracer.unsupported("a mean over anything but the units")
    return tracer.pointwise("mean", input)


_RULES: dict[Any, Callable[..., Symbol]] = {
    **dict.fromkeys((torch.add,), _binary("add")),
    **dict.fromkeys((torch.sub, torch.subtract), _binary("sub")),
    **dict.fromkeys((torch.mul, torch.multiply), _binary("mul")),
    **dict.fromkeys((torch.div, torch.divide, torch.true_divide), _binary("div")),
    **dict.fromkeys((torch.minimum, torch.min), _binary("minimum")),
    **dict.fromkeys((torch.maximum, torch.max), _binary("maximum")),
    **dict.fromkeys((torch.neg, torch.negative), _unary("neg")),
    **dict.fromkeys((torch.sigmoid, torch.special.expit, F.sigmoid), _unary("sigmoid")),
    **dict.fromkeys((torch.tanh, F.tanh), _unary("tanh")),
    torch.mean: _mean,
    torch.exp: _unary("exp"),
    torch.log: _unary("log"),
    torch.sqrt: _unary("sqrt"),
    **dict.fromkeys((torch.abs, torch.absolute), _unary("abs")),
    torch.square: lambda tracer, input: tracer.power(input, 2),
    torch.reciprocal: lambda tracer, input: tracer.pointwise("div", 1.0, input),
    torch.pow: _power,
    **dict.fromkeys((torch.relu, F.relu), _relu),
    F.leaky_relu: _leaky_relu,
    F.softplus: _softplus,
    **dict.fromkeys((torch.clamp, torch.clip), _clamp),
    # A tensor on the left (a constant) dispatches to the method of Tensor, not to the function.
    torch.Tensor.add: _binary("add"),
    torch.Tensor.sub: _binary("sub"),
    torch.Tensor.mul: _binary("mul"),
    torch.Tensor.div: _binary("div"),
}


@contextmanager
def _locals_at_return(code: Any) -> Iterator[dict[str, Any]]:
    """The local variables that a function with this code had when it last returned."""
    found: dict[str, Any] = {}

    def look(frame: FrameType, event: str, argument: Any) -> None:
        if event == "return" and frame.f_code is code:
            found.clear()
            found.update(frame.f_locals)

    before: Any = sys.getprofile()
    sys.setprofile(look)
    try:
        yield found
    finally:
        if before is None or callable(before):
            sys.setprofile(before)
        else:  # cProfile before Python 3.12: its profiler is no function and starts again by itself alone
            sys.setprofile(None)
            before.enable()


def trace(cell: str | type[Cell] | Cell) -> Graph:
    """The graph of a cell.

    Raises:
        UnsupportedOperationError: ``step`` does something the graph has no node for; the message names it and says what
            to do. Such a cell still runs on the reference engine.
        UserError: ``step`` uses an undeclared gate or returns the wrong number of states.

    Example:
        >>> graph = trace("gru")
        >>> [name for _, name in graph.names]
        ['r', 'z', 'n']
        >>> graph.connections.dense
        ('r', 'z', 'n')
    """
    cell = resolve(cell)
    tracer = Tracer(cell)
    states = tuple(tracer.symbol("state", s) for s in cell.states)
    x = Named(cell, "x", {g: tracer.symbol("input", g) for g in cell.gates})
    products: dict[str, Any] = {g: tracer.product("dense", g) for g in cell.gates}
    products["diag"] = Named(cell, "u.diag", {g: tracer.product("diag", g) for g in cell.gates})
    products["vector"] = Named(cell, "u.vector", {v: tracer.symbol("vector", v) for v in cell.vectors})
    products["mask"] = Named(cell, "u.mask", {m: tracer.symbol("mask", m) for m in cell.masks})

    try:
        with _locals_at_return(cell.written.step.__func__.__code__) as local:  # type: ignore[attr-defined]
            following = cell.advance(x, Named(cell, "u", products), states)
    except UserError:
        raise
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise tracer.unsupported(f"what works on tensors alone ({type(error).__name__}: {error})") from error
    used = connections(cell)

    results = [tracer.operand(value) for value in following]
    nodes, moved = prune(tracer.builder.nodes, results)
    taken = set(results) | {s.node for s in states}
    names: dict[int, str] = {}
    for name, value in (tracer.named | local).items():
        known = isinstance(value, Symbol) and value.node in moved and value.node not in taken
        if known and tracer.builder.nodes[value.node].op not in ("input", "vector", "mask", "constant"):
            names.setdefault(moved[value.node], name)
    ends, named = tuple(moved[r] for r in results), tuple(sorted(names.items()))
    return Graph(cell.name, cell.states, nodes, ends, named, used, tuple(cell.masks), cell.biased)
