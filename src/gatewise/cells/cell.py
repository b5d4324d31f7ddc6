"""A cell: the equations of one time step, and what those equations connect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from gatewise.errors import UserError

_MOST = 1e38
"""Of weights to start with: it, and twice it, is a number of float32."""


@dataclass(frozen=True)
class Mask:
    """Random numbers of 0 and ``scale``, independent from row to row and unit to unit.

    Attributes:
        keep: the probability of ``scale``.
        scale: 1 / keep makes the mean 1.
        per_step: drawn anew at every step; otherwise once for the whole sequence.
    """

    keep: float
    scale: float = 1.0
    per_step: bool = True

    @property
    def mean(self) -> float:
        return self.keep * self.scale


class Cell(ABC):
    """The equations of one time step.

    A subclass names its ``gates`` and writes ``step``. Inside ``step``

    - ``x.<gate>`` is the input's projection ``W x_t + b``, shape ``(batch, hidden)``;
    - ``u.<gate>(value)`` is the recurrent product ``U value + b``, shape ``(batch, hidden)``;
    - ``u.diag.<gate>(value)`` is the diagonal one ``w * value``, without a bias (peepholes);
    - ``u.vector.<name>`` is a learned vector with one number per unit, declared in ``vectors``;
    - ``u.mask.<name>`` is a random mask of shape ``(batch, hidden)``, declared in ``masks``.

    A gate that never uses ``u.<gate>`` gets no recurrent weight, one that never uses ``x.<gate>`` no input weight.
    ``step`` returns the next state, or a tuple with one value per name in ``states``; the first state is the output.
    ``step`` must use every connection on every call: which ones exist is found out by running it once.

    Attributes:
        gates: the gates' names, in the order in which their weights are stacked.
        states: the states' names; ``("h",)`` unless said otherwise.
        vectors: the learned per-unit vectors: a tuple of names (drawn like the weights), or a mapping from the name
            to the initial value (None: drawn).
        masks: the random masks, by name; drawn while training, their mean otherwise.
        biased: whether W x and U h have their biases; False where the equations make them useless.
        diagonal: (low, high), the range that the diagonal weights are drawn from; None draws them like the others.
        name: what messages and run folders call the cell; the class's name unless registered.
        paper: where the equations come from; ``explain`` prints it below the docstring's first line.

    Example:
        >>> import torch, gatewise
        >>> class MinimalGate(gatewise.Cell):
        ...     gates = ("f", "n")
        ...     def step(self, x, u, h):
        ...         f = torch.sigmoid(x.f + u.f(h))
        ...         n = torch.tanh(x.n + u.n(f * h))
        ...         return (1 - f) * h + f * n
        >>> layer = gatewise.Recurrent(MinimalGate, input_size=3, hidden_size=5)
        >>> output, h = layer(torch.zeros(7, 2, 3))
        >>> output.shape, h.shape
        (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))
    """

    gates: ClassVar[tuple[str, ...]] = ()
    states: ClassVar[tuple[str, ...]] = ("h",)
    vectors: ClassVar[tuple[str, ...] | Mapping[str, float | None]] = ()
    masks: ClassVar[Mapping[str, Mask]] = {}
    biased: ClassVar[bool] = True
    diagonal: ClassVar[tuple[float, float] | None] = None
    name: ClassVar[str] = "Cell"
    paper: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__
        for label in ("gates", "states", "vectors"):
            _check_names(cls, label, getattr(cls, label))
        _check_range(cls)

    @abstractmethod
    def step(self, *args: Any, **kwargs: Any) -> Any:
        """One time step, ``step(self, x, u, h, ...)``: the next state, or the tuple of next states."""

    @property
    def written(self) -> Cell:
        """The cell whose ``step`` somebody wrote down: this one, unless it is a transform of another."""
        return self

    def advance(self, x: Any, u: Any, states: tuple[Any, ...]) -> tuple[Any, ...]:
        """``step`` with its result as a tuple of the declared length."""
        result = self.step(x, u, *states)
        following = tuple(result) if isinstance(result, tuple | list) else (result,)
        if len(following) != len(self.states) or any(value is None for value in following):
            some = f"{len(following)} value(s)" + (", None among them" if any(v is None for v in following) else "")
            got = "nothing" if result is None else some
            raise UserError(
                f"cell '{self.name}': step returned {got}, but states = {self.states}; return one value per state"
            )
        return following


def _check_names(cls: type[Cell], label: str, names: Any) -> None:
    if isinstance(names, str) or not all(isinstance(n, str) and n.isidentifier() for n in names):
        raise UserError(f"cell '{cls.name}': {label} = {names!r}; write a tuple of names, such as ('r', 'z', 'n')")
    if len(set(names)) != len(tuple(names)):
        raise UserError(f"cell '{cls.name}': {label} = {names!r} names something twice")
    if label == "gates" and {"diag", "vector", "mask"} & set(names):
        raise UserError(f"cell '{cls.name}': 'diag', 'vector', 'mask' have a meaning of their own; rename that gate")
    if label == "states" and not names:
        raise UserError(f"cell '{cls.name}': states is empty; a recurrent cell has at least one state")


def _check_range(cls: type[Cell]) -> None:
    match cls.diagonal:
        case None:
            return
        case (int() | float() as low, int() | float() as high) if -_MOST <= low <= high <= _MOST:
            return
    raise UserError(f"cell '{cls.name}': diagonal = {cls.diagonal!r}; write the lowest and the highest, such as (0, 1)")


class Named:
    """Attribute access to named things: ``Named(cell, "x", {"r": value}).r``; an unknown name says which there are."""

    def __init__(self, cell: Cell, prefix: str, things: Mapping[str, Any]) -> None:
        self.__dict__.update(things)
        self._cell, self._prefix = cell, prefix

    def __call__(self, *arguments: Any) -> Any:
        prefix = self._prefix
        raise UserError(f"cell '{self._cell.name}': {prefix}(...) is no function; write {prefix}.<gate>(...)")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        declared = {"u.vector": "vectors", "u.mask": "masks"}.get(self._prefix, "gates")
        known = tuple(getattr(self._cell, declared))
        raise UserError(
            f"cell '{self._cell.name}': step uses {self._prefix}.{name}, but {declared} = {known}; add '{name}' there"
        )


@dataclass(frozen=True)
class Connections:
    """Which weights a cell's equations use, each in the order of the cell's declaration.

    Attributes:
        input: gates with an input weight (``x.<gate>`` is used).
        dense: gates with a recurrent matrix (``u.<gate>(...)``).
        diag: gates with a diagonal recurrent weight (``u.diag.<gate>(...)``).
        vector: learned per-unit vectors (``u.vector.<name>``).
        together: ``dense`` in groups: the gates of a group multiply one and the same value, such as h. Told by the
            value's identity: gates that stand apart may multiply equal values, never the other way round.
    """

    input: tuple[str, ...]
    dense: tuple[str, ...]
    diag: tuple[str, ...]
    vector: tuple[str, ...]
    together: tuple[tuple[str, ...], ...] = field(default=(), repr=False)  # follows from the equations: no part of them


class _Recorder(Named):
    """Hands out stand-ins and remembers which names were asked for."""

    def __init__(
        self, cell: Cell, prefix: str, names: Mapping[str, Any] | tuple[str, ...], stand_in: Callable[[str], Any]
    ) -> None:
        super().__init__(cell, prefix, {})
        self._names, self._stand_in, self.used = tuple(names), stand_in, set()

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            return super().__getattr__(name)
        self.used.add(name)
        return self._stand_in(name)


def connections(cell: Cell, hidden_size: int = 4) -> Connections:
    """Run ``step`` once on small stand-in values and see which weights it asks for.

    >>> from gatewise.cells import CELLS
    >>> connections(CELLS["lstm-peephole"]()).diag
    ('i', 'f', 'o')
    """
    value = torch.full((2, hidden_size), 0.5)
    operands: dict[str, Any] = {}

    def product(gate: str) -> Callable[[Any], Any]:
        def multiply(operand: Any) -> Any:
            operands[gate] = operand
            return value.clone()

        return multiply

    x = _Recorder(cell, "x", cell.gates, lambda gate: value)
    dense = _Recorder(cell, "u", cell.gates, product)
    diag = _Recorder(cell, "u.diag", cell.gates, lambda gate: lambda operand: value)
    vector = _Recorder(cell, "u.vector", cell.vectors, lambda name: value[0])
    mask = _Recorder(cell, "u.mask", cell.masks, lambda name: value)
    dense.__dict__.update(diag=diag, vector=vector, mask=mask)
    try:
        cell.advance(x, dense, tuple(value.clone() for _ in cell.states))
    except (RuntimeError, TypeError, AttributeError) as error:
        text = f"{type(error).__name__}: {error}"
        if "positional argument" in text:
            text += f" (with these states, step is: step(self, x, u, {', '.join(cell.states)}))"
        raise UserError(f"cell '{cell.name}': step fails on values of shape (batch, hidden): {text}") from error

    def used(recorder: _Recorder, declared: Any) -> tuple[str, ...]:
        return tuple(name for name in declared if name in recorder.used)

    groups: dict[int, tuple[str, ...]] = {}
    for gate in used(dense, cell.gates):
        operand = id(operands.get(gate, gate))  # all are alive, so that no two have one id
        groups[operand] = (*groups.get(operand, ()), gate)
    found = Connections(
        used(x, cell.gates), used(dense, cell.gates), used(diag, cell.gates), used(vector, cell.vectors),
        tuple(groups.values()),
    )  # fmt: skip
    idle = [g for g in cell.gates if g not in (*found.input, *found.dense, *found.diag)]
    idle += [v for v in cell.vectors if v not in found.vector]
    if idle:
        raise UserError(
            f"cell '{cell.name}': step never uses {', '.join(idle)}; use it or take it out of the declaration"
        )
    return found
