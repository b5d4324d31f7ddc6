"""Dropout inside the recurrence, of two kinds: on what is read from the state, or on what is added to it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch

from gatewise.cells import Cell, CellLike, Mapped, Mask, Transform, check_rate, connections
from gatewise.errors import UserError, nearest
from gatewise.graph.evaluate import pointwise
from gatewise.graph.graph import Graph
from gatewise.graph.trace import Symbol, trace

KINDS_OF_RECURRENT_DROPOUT = ("gal", "semeniuta")


def recurrent_dropout(cell: CellLike, p: float, kind: str = "gal") -> Cell:
    """Dropout inside the recurrence.

    "gal" (Gal and Ghahramani 2016, arXiv:1512.05287, where it is called variational; it has nothing to do with
    variational autoencoders): while training, every ``u.<gate>(v)`` becomes U (m ⊙ v) + b', m ~ Bernoulli(1 − p) /
    (1 − p) drawn once for each row and unit and the same for all gates and steps. A cell without dense recurrent
    products has its diagonal ones dropped instead.

    "semeniuta" (Semeniuta, Severyn and Barth 2016, arXiv:1603.05118): while training, the candidate n (g in an LSTM) is
    m ⊙ n wherever it is used, m ~ Bernoulli(1 − p) / (1 − p) drawn for each row, unit and step: c_t = f ⊙ c_{t-1} +
    i ⊙ m ⊙ g, and what is remembered already is not lost. The candidate is what the equations call n or g: a value of
    that name that is no sigmoid, or ``x.n``, ``x.g`` itself where it comes in as it is. The numbers in the cell's
    equations are those of the time when this is called.

    Otherwise m = 1 in both.

    Args:
        cell: a name, a class or an instance.
        p: the rate, in [0, 1).
        kind: "gal" or "semeniuta".

    Raises:
        UserError: a rate outside [0, 1), an unknown kind, a cell without a recurrent product ("gal"), without a
            candidate or with equations that cannot be traced ("semeniuta").

    Example:
        >>> import gatewise
        >>> gatewise.recurrent_dropout("gru", 0.2).name
        'gru+recurrent-dropout'
        >>> gatewise.recurrent_dropout("rnn", 0.2, kind="semeniuta")
        Traceback (most recent call last):
        gatewise.errors.UserError: recurrent dropout of 'rnn': it has no candidate n or g; take the kind 'gal'
    """
    check_kind(kind)
    return _InputDropout(cell, p) if kind == "gal" else _CandidateDropout(cell, p)


def check_kind(kind: str) -> None:
    if kind not in KINDS_OF_RECURRENT_DROPOUT:
        raise UserError(f"recurrent dropout of the kind '{kind}': {nearest(str(kind), KINDS_OF_RECURRENT_DROPOUT)}")


class _RecurrentDropout(Transform):
    def __init__(self, cell: CellLike, p: float, per_step: bool) -> None:
        super().__init__(cell, "recurrent-dropout")
        self._rate = check_rate(p, "recurrent dropout")
        if self._rate:
            self._add(masks={"recurrent_dropout": Mask(1 - self._rate, 1 / (1 - self._rate), per_step)})

    def step(self, x, u, *states):
        if not self._rate:
            return self.inner.advance(x, u, states)
        return self._dropped(x, u, states, u.mask.recurrent_dropout)

    @abstractmethod
    def _dropped(self, x: Any, u: Any, states: tuple[Any, ...], kept: Any) -> tuple[Any, ...]:
        """The step with what is ``kept`` of the values that this kind of dropout acts on."""


class _InputDropout(_RecurrentDropout):
    def __init__(self, cell: CellLike, p: float) -> None:
        super().__init__(cell, p, per_step=False)
        used = connections(self.inner)
        self._diagonal = not used.dense
        if not used.dense and not used.diag:
            raise UserError(f"recurrent dropout of '{self.inner.name}': it has no recurrent product")

    def _dropped(self, x: Any, u: Any, states: tuple[Any, ...], kept: Any) -> tuple[Any, ...]:
        def dropped(multiply: Any, gate: str) -> Any:
            return lambda value: multiply(value * kept)

        diagonal = Mapped(u.diag, dropped) if self._diagonal else u.diag
        return self.inner.advance(x, Mapped(u, dropped, diag=diagonal), states)


class _CandidateDropout(_RecurrentDropout):
    def __init__(self, cell: CellLike, p: float) -> None:
        super().__init__(cell, p, per_step=True)
        self._graph = trace(self.inner)
        self._candidate = _candidate(self._graph)

    def _dropped(self, x: Any, u: Any, states: tuple[Any, ...], kept: Any) -> tuple[Any, ...]:
        values: list[Any] = []
        for node in self._graph.nodes:
            args = [values[i] for i in node.args]
            match node.op:
                case "constant":
                    value = torch.tensor(node.parameters[0], dtype=torch.float64)  # it takes the type of what it meets
                case "state":
                    value = states[self.states.index(node.of)]
                case "input":
                    value = getattr(x, node.of)
                case "vector" | "mask":
                    value = getattr(getattr(u, node.op), node.of)
                case "dense":
                    value = getattr(u, node.of)(*args)
                case "diag":
                    value = getattr(u.diag, node.of)(*args)
                case "mean":
                    value = args[0].mean(-1, keepdim=True)
                case _:
                    value = pointwise(node, args)
            values.append(value * kept if len(values) == self._candidate else value)
        if isinstance(kept, Symbol):
            kept.tracer.named |= {name: values[i] for i, name in self._graph.names}
        return tuple(values[i] for i in self._graph.results)


def _candidate(graph: Graph) -> int:
    """The node of the candidate; see :func:`recurrent_dropout`."""
    named = {node for node, name in graph.names if name in ("n", "g") and graph.nodes[node].op != "sigmoid"}
    used = graph.connections
    for i, node in enumerate(graph.nodes):
        if node.op == "input" and node.of in ("n", "g") and node.of not in (*used.dense, *used.diag):
            users = {other.op for other in graph.nodes if i in other.args}
            named |= {i} if not named and users <= {"add", "sub", "mul"} else set()
    if len(named) != 1:
        what = "no candidate n or g" if not named else "both n and g, of which one alone can be the candidate"
        raise UserError(f"recurrent dropout of '{graph.cell}': it has {what}; take the kind 'gal'")
    return named.pop()
