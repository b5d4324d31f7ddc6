"""Options that every layer has beside those of ``torch.nn``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict

from gatewise.cells import Cell, check_rate, layer_norm, zoneout
from gatewise.errors import UserError
from gatewise.graph import check_kind, recurrent_dropout


@dataclass(frozen=True)
class Transformation:
    """What an option of every layer does to the equations of any cell.

    Attributes:
        equation: what takes the place of what.
        paper: where it comes from.
    """

    equation: str
    paper: str


TRANSFORMATIONS = {
    "zoneout": Transformation(
        "s_t = m ⊙ s'_t + (1 − m) ⊙ s_{t-1}, s' being the cell's", "Krueger et al. 2016, arXiv:1606.01305"
    ),
    "layer_norm": Transformation(
        "LN(W x_t), LN(U v); LN(v) = α ⊙ (v − mean v) / sd v + β", "Ba et al. 2016, arXiv:1607.06450"
    ),
    "recurrent_dropout": Transformation(
        "U (m ⊙ v) + b', one m a sequence; or, semeniuta, m ⊙ n",
        "Gal 2016, arXiv:1512.05287; Semeniuta 2016, arXiv:1603.05118",
    ),
    "weight_drop": Transformation("(M ⊙ U) v + b', one M a call", "Merity et al. 2018, arXiv:1708.02182"),
}
"""By the option's name."""


class Options(TypedDict, total=False):
    """See :class:`gatewise.Recurrent`."""

    zoneout: float | Mapping[str, float]
    layer_norm: bool
    recurrent_dropout: float
    recurrent_dropout_kind: str
    weight_drop: float
    residual: bool
    learned_state: bool
    engine: str
    precision: str | None


@dataclass(frozen=True)
class Given:
    """All the options, given or not."""

    zoneout: float | Mapping[str, float] = 0.0
    layer_norm: bool = False
    recurrent_dropout: float = 0.0
    recurrent_dropout_kind: str = "gal"
    weight_drop: float = 0.0
    residual: bool = False
    learned_state: bool = False
    engine: str = "auto"
    precision: str | None = None

    @staticmethod
    def of(options: Mapping[str, Any]) -> Given:
        """Raises TypeError for an option that does not exist, as a function does for an argument."""
        known = {field.name for field in fields(Given)}
        for name in options:
            if name not in known:
                raise TypeError(f"unexpected keyword argument '{name}'")
        check_rate(options.get("weight_drop", 0.0), "weight_drop")
        check_kind(options.get("recurrent_dropout_kind", "gal"))
        kind = options.get("recurrent_dropout_kind", "gal")
        if kind != "gal" and not options.get("recurrent_dropout"):
            raise UserError(f"recurrent_dropout_kind={kind!r}: nothing is dropped; give recurrent_dropout a rate too")
        for name in ("layer_norm", "residual", "learned_state"):
            if not isinstance(options.get(name, False), bool):
                raise UserError(f"{name}={options[name]!r}: want True or False")
        return Given(**options)

    def transformed(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells with the transforms that are asked for; what is one cell stays one."""
        made = {id(cell): self._transformed(cell) for cell in cells}
        return [made[id(cell)] for cell in cells]

    def _transformed(self, cell: Cell) -> Cell:
        rate, kind = self.recurrent_dropout, self.recurrent_dropout_kind
        if rate and kind == "semeniuta":  # on the equations as they are written, which name their candidate
            cell = recurrent_dropout(cell, rate, kind)
        if self.layer_norm:
            cell = layer_norm(cell)
        if rate and kind == "gal":
            cell = recurrent_dropout(cell, rate, kind)
        if self.zoneout:
            cell = zoneout(cell, self.zoneout)
        return cell
