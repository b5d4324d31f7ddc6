"""What an engine makes of a cell is made once, and again when a number in the cell's equations is another."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

from gatewise.cells import Cell, Mask
from gatewise.graph import Graph

Made = TypeVar("Made")


def constant_when_compiled(function: Callable[..., Any]) -> Any:
    """``torch.compiler.assume_constant_result``, which would load all of torch's compiler only to set this mark.

    What is made of a cell is nothing that ``torch.compile`` could trace: it runs once, while tracing.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@dataclass
class _Held(Generic[Made]):
    cell: weakref.ref[Cell]
    constants: dict[str, Any] | None
    made: Made


class Remembered(Generic[Made]):
    """A function ``(cell, what it made of that cell before, or None) -> what it makes``, called as ``(cell)``."""

    def __init__(self, make: Callable[[Cell, Made | None], Made]) -> None:
        self._make = make
        self._held: dict[int, _Held[Made]] = {}  # by identity: a cell may have an __eq__ of its own, and no hash

    def __call__(self, cell: Cell) -> Made:
        held, constants = self._held.get(id(cell)), _constants(cell)
        if held is None or held.cell() is not cell:
            self._held[id(cell)] = held = _Held(weakref.ref(cell), constants, self._make(cell, None))
            weakref.finalize(cell, self._held.pop, id(cell), None)
        elif constants is None or held.constants != constants:
            held.made, held.constants = self._make(cell, held.made), constants
        return held.made


def _constants(cell: Cell) -> dict[str, Any] | None:
    """What the equations may read beside their arguments: a cell's attributes and those of its class, the globals and
    the enclosing variables of ``step``; None where one may change unseen: the cell then has to be traced on every call.
    """
    names, scope, enclosing = _read_by(type(cell))
    try:
        found = {name: _snapshot(value) for name, value in vars(cell).items()} if hasattr(cell, "__dict__") else {}
        found |= {f"class {name}": _snapshot(getattr(cell, name)) for name in names}
        found |= {f"global {name}": _snapshot(values[name]) for name, values in scope if name in values}
        return found | {f"variable {name}": _snapshot(variable.cell_contents) for name, variable in enclosing}
    except (TypeError, ValueError, AttributeError):
        return None


@functools.cache
def _read_by(kind: type[Cell]) -> tuple[list[str], list[tuple[str, dict[str, Any]]], list[tuple[str, Any]]]:
    """Where the numbers in a cell's equations may come from: attributes of the class, globals, enclosing variables."""
    step = inspect.unwrap(kind.step)
    code = step.__code__
    classes = [c for c in kind.__mro__ if issubclass(c, Cell) and c is not Cell]
    names = {n for c in classes for n, v in vars(c).items() if not n.startswith("_") and _is_number(v)}
    names |= {n for c in classes for n in getattr(c, "__slots__", ())}
    scope = [(name, step.__globals__) for name in code.co_names if _is_number(step.__globals__.get(name))]
    cells = zip(code.co_freevars, step.__closure__ or (), strict=True)
    return sorted(names), scope, [(name, variable) for name, variable in cells if name != "__class__"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | tuple | list) or (isinstance(value, Tensor) and value.numel() == 1)


def _snapshot(value: Any) -> Any:
    """A value that stays as it is. Raises TypeError for what may change unseen."""
    if isinstance(value, int | float | str | Mask | Graph | None):
        return value
    if isinstance(value, tuple | list):
        return tuple(map(_snapshot, value))
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, Mapping):
        return {name: _snapshot(item) for name, item in value.items()}
    if isinstance(value, Cell):
        inner = _constants(value)
        if inner is not None:
            return type(value), inner
    if callable(value):
        return value
    raise TypeError
