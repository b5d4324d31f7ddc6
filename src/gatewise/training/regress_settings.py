"""The settings of ``train regress``: what it has beside those of every training on a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gatewise.data.table.preparation import Roles
from gatewise.data.table.series_table import SeriesTable
from gatewise.errors import UserError, nearest
from gatewise.layers.regressor import REGRESSING
from gatewise.tasks.forecast import LOSSES
from gatewise.training.settings import setting
from gatewise.training.table_settings import TableSettings, names_in
from gatewise.training.text_settings import AUTO

_MOST_LINEAR = 4096
"""Features of the linear part, where nobody says how many steps it is of."""


@dataclass(frozen=True)
class RegressSettings(TableSettings):
    """Everything that decides a run of ``gatewise train regress``, besides the table itself."""

    lr: float = setting(0.001, "Peak learning rate", positive=True)
    targets: str = setting("", "What to predict: a column, or several as `a,b`", "Data", default="has none: say which")
    window: int = setting(
        24, "Steps that are looked at, the last of them the one to be predicted", "Data", positive=True, most=1_000_000
    )
    calendar: bool = setting(False, "Also tell the network the hour, the day of the week, the time of the year", "Data")
    allow_leak: bool = setting(False, "Let a target be an input too: at the very step that is to be predicted", "Data")
    model: str = setting(
        "direct", "`direct`; `attention` over the window; `tpa`, over its patterns; `tcn`, convolutions first", "Model",
        choices=REGRESSING,
    )  # fmt: skip
    bidirectional: bool = setting(False, "Read the window from its end too", "Model")
    linear: int = setting(
        AUTO, "Last steps of the window that a linear regression is on, which the network adds to and begins with; 0: "
        "none", "Model", most=1_000_000, apart=AUTO, default="all, as far as they have 4,096 features",
    )  # fmt: skip
    loss: str = setting("mse", "What is made small: `mse`, `mae` or `huber`", choices=tuple(LOSSES))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.target_names:
            raise UserError("--targets: say which column to predict, or several as in --targets a,b")
        both = [name for name in self.target_names if name in self.input_names]
        if both and not self.allow_leak:
            raise UserError(
                f"--inputs {both[0]}: is a target, and at the step to be predicted it is the answer; leave it out, or "
                "give --allow-leak"
            )
        if self.linear > self.window:
            raise UserError(
                f"--linear {self.linear}: the window has {self.window} steps; give fewer, or a larger --window"
            )
        if self.model == "tpa" and (self.bidirectional or self.window < 2):
            what = "--bidirectional" if self.bidirectional else "--window 1"
            raise UserError(f"{what}: --model tpa looks from the last step at those before; leave it out")

    def predicted(self) -> tuple[str, tuple[str, ...]]:
        return "--targets", self.target_names

    @property
    def target_names(self) -> tuple[str, ...]:
        return names_in(self.targets, "--targets")

    @property
    def input_names(self) -> tuple[str, ...]:
        """Those that are named."""
        return names_in(self.inputs)

    def columns(self) -> tuple[str, ...]:
        """The table's columns that are used; () where the inputs are all there are."""
        named = self.input_names
        return (*named, *(name for name in self.target_names if name not in named)) if named else ()

    def roles(self, table: SeriesTable) -> Roles:
        """Which columns of a table are what.

        Raises:
            UserError: a column that is not there, a target that is text, no inputs.
        """
        columns = tuple(dict.fromkeys(table.origins))
        for option, names in (("--targets", self.target_names), ("--inputs", self.input_names)):
            for name in names:
                if name not in columns:
                    raise UserError(f"{option} {name}: {table.name} has no such column; {nearest(name, columns)}")
        for name in self.target_names:
            if name not in table.columns:
                raise UserError(
                    f"--targets {name}: a column of text in {table.name}; predict numbers, or `train classify`"
                )
        inputs = self.input_names or tuple(name for name in columns if name not in self.target_names)
        if not inputs:
            raise UserError(f"{table.name}: has no column but the targets; there is nothing to predict them from")
        # In the table's order, so that the same columns make the same network.
        return Roles(self.target_names, tuple(name for name in columns if name in inputs))

    def model_options(self, features: int) -> dict[str, Any]:
        """Of the model itself, for so many features of a step."""
        suited = min(self.window, max(1, _MOST_LINEAR // features))
        linear = suited if self.linear == AUTO else self.linear
        return {"model": self.model, "bidirectional": self.bidirectional, "linear": linear}
