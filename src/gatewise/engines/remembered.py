"""What an engine makes of a cell is made once, and again when a number in the cell's equations is another."""

from __future__ import annotations

import dis
import functools
import types
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
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


_TRUSTED = {"builtins", "gatewise", "math", "numpy", "torch"}
"""Packages whose modules, functions and classes stay as they are."""

_ELSEWHERE = {"eval", "exec", "globals", "locals", "vars"}
"""Functions through which a step reads what its code does not name."""

_HARMLESS = {"__init__", "__repr__", "__str__", "__eq__", "__hash__", "__init_subclass__"}
"""Functions of a cell's class that its equations do not call."""


def _constants(cell: Cell) -> dict[str, Any] | None:
    """What the equations may read beside their arguments; None where it may change unseen, so that the cell has to be
    traced on every call.

    Seen are a cell's attributes and those of its class, the globals and the enclosing variables of ``step`` and of the
    functions it may call. Unseen are the inside of objects, other classes and other modules. What is gatewise's or
    torch's own is trusted.
    """
    try:
        found = {name: _snapshot(value) for name, value in getattr(cell, "__dict__", {}).items()}
        for kind, slots, attributes, functions in _written_by_users(type(cell)):
            found |= {f"{kind.__qualname__}.{name}": _snapshot(getattr(cell, name)) for name in slots}
            found |= {f"{kind.__qualname__}.{name}": _snapshot(vars(kind)[name]) for name in attributes}
            found |= {f"{kind.__qualname__}.{name}()": _of_function(function) for name, function in functions}
    except (TypeError, ValueError, AttributeError, KeyError):
        return None
    return found


_Written = tuple[type, list[str], list[str], list[tuple[str, Any]]]


@functools.cache
def _written_by_users(cell: type[Cell]) -> list[_Written]:
    """Of each of a cell's classes that is not gatewise's: its slots, its other attributes, its functions."""
    return [
        _parts(kind)
        for kind in cell.__mro__
        if kind not in (Cell, Generic) and kind.__module__ != "abc" and not _trusted(kind.__module__)
    ]


def _parts(kind: type) -> _Written:
    slots: list[str] = []
    attributes: list[str] = []
    functions: list[tuple[str, Any]] = []
    for name, value in vars(kind).items():
        if isinstance(value, types.MemberDescriptorType):
            slots.append(name)
        elif isinstance(value, property):
            functions.append((name, value.fget))
        elif isinstance(value, classmethod | staticmethod):
            functions.append((name, value.__func__))
        elif isinstance(value, types.FunctionType) or hasattr(value, "__get__"):
            if name not in _HARMLESS and not _is_constant(value):
                functions.append((name, value))
        elif not name.startswith("__") and name != "_abc_impl":
            attributes.append(name)
    return kind, slots, attributes, functions


def _of_function(function: Any, around: tuple[Any, ...] = ()) -> dict[str, Any]:
    """What a function reads by its own names, ``around`` which those that are looked into already stand.

    Raises TypeError, and AttributeError where it is not a plain function.
    """
    if hasattr(function, "__wrapped__"):  # the wrapper reads what it likes
        raise TypeError
    names = _globals_of(function.__code__)
    if names is None:
        raise TypeError
    around = (*around, function)
    values = function.__globals__
    found = {"code": function.__code__, "defaults": _snapshot(function.__defaults__, around)}
    found["named defaults"] = _snapshot(function.__kwdefaults__, around)
    found |= {f"global {name}": _snapshot(values[name], around) for name in names if name in values}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    enclosed = {name: cell.cell_contents for name, cell in cells if name != "__class__"}
    return found | {f"variable {name}": _snapshot(value, around) for name, value in enclosed.items()}


@functools.cache
def _globals_of(code: types.CodeType) -> frozenset[str] | None:
    """Names that code, and the functions written inside it, look up as globals; None where it may read others."""
    names: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("IMPORT"):
            return None
        if instruction.opname.startswith(("LOAD_GLOBAL", "LOAD_NAME")):
            names.add(instruction.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            more = _globals_of(inner)
            if more is None:
                return None
            names |= more
    return None if names & _ELSEWHERE else frozenset(names)


@functools.cache
def _trusted(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] in _TRUSTED


def _is_constant(value: Any) -> bool:
    """Whether it is a module, a function or a class that stays as it is."""
    if isinstance(value, types.ModuleType):
        return _trusted(value.__name__)
    if isinstance(value, types.BuiltinFunctionType):  # of a module or a class, not of an object
        return isinstance(value.__self__, types.ModuleType | type | None)
    return isinstance(value, types.FunctionType | type) and _trusted(value.__module__)


def _snapshot(value: Any, around: tuple[Any, ...] = ()) -> Any:
    """A value that stays as it is. Raises TypeError for what may change unseen."""
    if isinstance(value, int | float | complex | str | Mask | Graph | torch.dtype | torch.device | None):
        return value
    if isinstance(value, tuple | list | set | frozenset):
        return tuple(_snapshot(item, around) for item in value)
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, Mapping):
        return {name: _snapshot(item, around) for name, item in value.items()}
    if isinstance(value, Cell):
        inner = _constants(value)
        if inner is not None:
            return type(value), inner
    if _is_constant(value) or any(value is function for function in around):
        return value
    if isinstance(value, types.FunctionType):
        return _of_function(value, around)
    raise TypeError
