"""Cell -> cell: the same equations with noise or normalisation in them, on any cell and any engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gatewise.cells.cell import Cell, Mask, Named, connections
from gatewise.cells.registry import resolve
from gatewise.errors import UserError

CellLike = str | type[Cell] | Cell


class Transform(Cell):
    """A cell made of another: its gates, states, vectors and masks are the other's, and more."""

    def __init__(self, cell: CellLike, suffix: str) -> None:
        inner = resolve(cell)
        self.inner = inner
        self._set(
            gates=inner.gates, states=inner.states, vectors=_with_values(inner), masks=inner.masks, biased=inner.biased,
            diagonal=inner.diagonal, name=f"{inner.name}+{suffix}", paper=inner.paper,
        )  # fmt: skip

    @property
    def written(self) -> Cell:
        return self.inner.written

    def _set(self, **attributes: Any) -> None:
        """What belongs to a class elsewhere belongs to an instance here."""
        for name, value in attributes.items():
            setattr(self, name, value)

    def _add(self, **more: Mapping[str, Any]) -> None:
        """Further vectors or masks."""
        for label, things in more.items():
            taken = set(getattr(self, label)) & set(things)
            if taken:
                raise UserError(f"cell '{self.name}': the transform is there already ({', '.join(sorted(taken))})")
            self._set(**{label: {**getattr(self, label), **things}})

    @abstractmethod
    def step(self, x: Any, u: Any, *states: Any) -> tuple[Any, ...]: ...


def _with_values(cell: Cell) -> Mapping[str, float | None]:
    vectors = cell.vectors
    return dict(vectors) if isinstance(vectors, Mapping) else dict.fromkeys(vectors)


def check_rate(rate: float, what: str) -> float:
    """A probability that something is dropped or kept back; 1 would leave nothing."""
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise UserError(f"{what}: want a probability p with 0 <= p < 1, got {rate!r}")
    return float(rate)


def zoneout(cell: CellLike, p: float | Mapping[str, float]) -> Cell:
    """Some units keep their old state (Krueger et al. 2016, arXiv:1606.01305).

    For each state s with the rate p_s, while training: s_t = m ⊙ s'_t + (1 − m) ⊙ s_{t-1}, m ~ Bernoulli(1 − p_s) drawn
    for each unit, row and step, where s'_t is what the cell's equations give; otherwise the mean,
    s_t = (1 − p_s) s'_t + p_s s_{t-1}. Within the step the cell's own equations see s', not s.

    Args:
        cell: a name, a class or an instance.
        p: one rate for all states, or one by state: ``{"c": 0.5, "h": 0.05}`` is the paper's LSTM.

    Raises:
        UserError: a rate outside [0, 1), a state that the cell does not have.

    Example:
        >>> import torch, gatewise
        >>> layer = gatewise.Recurrent(gatewise.zoneout("lstm", {"c": 0.5, "h": 0.05}), 3, 5)
        >>> layer(torch.zeros(7, 2, 3))[0].shape
        torch.Size([7, 2, 5])
    """
    return _Zoneout(cell, p)


class _Zoneout(Transform):
    def __init__(self, cell: CellLike, p: float | Mapping[str, float]) -> None:
        super().__init__(cell, "zoneout")
        rates = p if isinstance(p, Mapping) else dict.fromkeys(self.states, p)
        unknown = set(rates) - set(self.states)
        if unknown:
            raise UserError(f"zoneout of '{self.inner.name}': its states are {self.states}, not {sorted(unknown)}")
        checked = {state: check_rate(rate, f"zoneout of the state '{state}'") for state, rate in rates.items()}
        self._masks = {state: f"zoneout_{state}" for state in self.states if checked.get(state)}
        self._add(masks={mask: Mask(keep=1 - checked[state]) for state, mask in self._masks.items()})

    def step(self, x, u, *states):
        following = list(self.inner.advance(x, u, states))
        for k, state in enumerate(self.states):
            if state in self._masks:
                moves = getattr(u.mask, self._masks[state])
                following[k] = states[k] + moves * (following[k] - states[k])
        return tuple(following)


def layer_norm(cell: CellLike, eps: float = 1e-5) -> Cell:
    """Layer normalisation of both projections (Ba, Kiros and Hinton 2016, arXiv:1607.06450).

    LN(v; α, β) = α ⊙ (v − mean v) / √(mean (v − mean v)² + ε) + β, the means over the units of each row; every W x_t
    becomes LN(W x_t; α_x, β_x) and every U v LN(U v; α_u, β_u), each gate by itself (the paper takes the gates of one
    product together). α starts at 1 and β at 0; they take the place of the biases b and b'.

    Args:
        cell: a name, a class or an instance.
        eps: ε, which keeps a row of equal numbers finite.

    Example:
        >>> import gatewise
        >>> layer = gatewise.Recurrent(gatewise.layer_norm("rnn"), 3, 5)
        >>> [name for name, _ in layer.named_parameters()]
        ['weight_ih_l0', 'weight_hh_l0', 'vector_l0']
    """
    return _LayerNorm(cell, eps)


class _LayerNorm(Transform):
    def __init__(self, cell: CellLike, eps: float) -> None:
        super().__init__(cell, "layer-norm")
        if not 0 < eps < 1:
            raise UserError(f"layer norm: want a small positive eps, got {eps!r}")
        self.eps, used = float(eps), connections(self.inner)
        self._set(biased=False)
        sides = [*(f"x_{gate}" for gate in used.input), *(f"u_{gate}" for gate in used.dense)]
        if not sides:
            raise UserError(f"layer norm of '{self.inner.name}': it has no projection")
        self._add(vectors={f"gain_{s}": 1.0 for s in sides} | {f"shift_{s}": 0.0 for s in sides})

    def step(self, x, u, *states):
        def normalised(side: str, value: Any) -> Any:
            gain, shift = getattr(u.vector, f"gain_{side}"), getattr(u.vector, f"shift_{side}")
            centred = value - value.mean(-1, keepdim=True)
            spread = torch.sqrt((centred * centred).mean(-1, keepdim=True) + self.eps)
            return gain * (centred / spread) + shift

        used = Mapped(x, lambda value, gate: normalised(f"x_{gate}", value))
        products = Mapped(u, lambda multiply, gate: lambda value: normalised(f"u_{gate}", multiply(value)))
        return self.inner.advance(used, products, states)


class Mapped(Named):
    """``x`` or ``u`` with its gates' values changed on their way into the equations; what is no gate stays."""

    def __init__(self, named: Any, change: Callable[..., Any], **instead: Any) -> None:
        self.__dict__.update(instead)
        self._named, self._change = named, change

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._named, name)
        return found if isinstance(found, Named) else self._change(found, name)
