"""A table made ready: its series, what is recorded of its columns, and what a network takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewise.data import Schema, Table
from gatewise.data.table.encoded import Encoded
from gatewise.data.table.preparation import Preparation, Roles
from gatewise.data.table.schema import once
from gatewise.data.table.series_table import SeriesTable, first_of
from gatewise.errors import UserError, nearest
from gatewise.training.checkpoint import read_about
from gatewise.training.run import Run
from gatewise.training.table_settings import TableSettings

_ENOUGH = 20
"""Windows that choose without a caution."""


def _unsaid(line: str) -> None: ...


@dataclass(frozen=True)
class Recorded:
    """What a run must know of its table to read another.

    Attributes:
        schema: which columns there are, and what is made of each.
        preparation: from their own units to a network's, and back.
    """

    schema: Schema
    preparation: Preparation

    def to_config(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"schema": self.schema.to_config(), "preparation": self.preparation.to_config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Recorded:
        """The inverse of :meth:`to_config`; other entries are not looked at.

        Raises:
            UserError: the description is malformed.
        """
        try:
            schema, preparation = config["schema"], config["preparation"]
        except (KeyError, TypeError):
            raise UserError("the weights say nothing of the table they were trained on; use another copy") from None
        return cls(Schema.from_config(schema), Preparation.from_config(preparation))

    def read(
        self, table: Table, ahead: int = 0, complete: bool = True, say: Callable[[str], None] = _unsaid
    ) -> PreparedTable:  # fmt: skip
        """A table, the one that was trained on or a new one.

        Args:
            table: its columns may stand in another order.
            ahead: rows that every series is continued by, with nothing in them but their time stamps.
            complete: without, targets may be absent, whose values then are missing; and under ``error`` windows with a
                gap are left out rather than refused.
            say: is told what differs from the table that was trained on.

        Raises:
            UserError: a column is not there or of another kind, steps of another length, a gap under ``error``.
        """
        roles = self.preparation.roles
        for name in (*roles.inputs, *roles.known):
            if name not in table.frame.columns:
                hint = nearest(name, table.frame.columns)
                raise UserError(f"{table.name}: no column '{name}', which the run predicts from; {hint}")
        series = self.schema.read(table, complete, say=say)
        return PreparedTable(self, series, self.preparation.encode(series, ahead, complete))


@dataclass(frozen=True)
class PreparedTable:
    """A table made ready.

    Attributes:
        recorded: what is recorded of it.
        series: its series in their own units.
        encoded: the same as a network takes them.
    """

    recorded: Recorded
    series: SeriesTable
    encoded: Encoded

    @property
    def preparation(self) -> Preparation:
        return self.recorded.preparation

    @property
    def schema(self) -> Schema:
        return self.recorded.schema


def prepare_table(
    table: Table,
    settings: TableSettings,
    roles: Callable[[SeriesTable], Roles],
    columns: tuple[str, ...] = (),
    calendar: bool = False,
    say: Callable[[str], None] = _unsaid,
) -> PreparedTable:
    """Everything from a table to what a network takes, fitted on the training rows alone.

    Args:
        table: the table.
        settings: what the user asks of it.
        roles: which columns are what, told from the series.
        columns: those that are used; () where ``roles`` chooses among all.
        calendar: whether features of the calendar are added.
        say: is told what was found.

    Raises:
        UserError: the table cannot be used as it is; the message names the first row and column.
    """
    split = settings.parts()
    say = once(say)
    schema = Schema.fitted(table, settings.choice(columns), split, say)
    series = schema.read(table, say=say)
    _check_predicted(table, schema, series, settings)
    preparation = Preparation.fitted(
        series, roles(series), split, settings.missing, settings.components(), calendar
    )  # fmt: skip
    _check_varying(table, preparation, say)
    if preparation.projection is not None:
        shares = preparation.projection.shares
        say(
            f"{len(preparation.input_places)} inputs in {len(shares)} components with {sum(shares):.1%} of the variance"
        )
    return PreparedTable(Recorded(schema, preparation), series, preparation.encode(series))


def _check_predicted(table: Table, schema: Schema, series: SeriesTable, settings: TableSettings) -> None:
    """Refuse to predict a column that says when a row is, or of which series."""
    option, names = settings.predicted()
    parts = dict.fromkeys(schema.time.names if schema.time else (), "says when a row is")
    parts |= {schema.series: "names the series"} if schema.series else {}
    for name in names:
        if name in parts and name not in series.origins:
            others = ", ".join(dict.fromkeys(series.origins))
            raise UserError(f"{option} {name}: in {table.name} this column {parts[name]}; others: {others}")


def _check_varying(table: Table, preparation: Preparation, say: Callable[[str], None]) -> None:
    """Refuse a target that is the same in all training rows; say so of another column."""
    names = preparation.unvarying
    for name in preparation.target_names:
        if name in names:
            raise UserError(
                f"{table.name}: column '{name}', the target, is the same in all training rows: there is nothing to "
                "learn; name another, or give --split a training part in which it changes"
            )
    if names:
        listed = first_of([f"'{name}'" for name in names])
        which = f"column {listed} is" if len(names) == 1 else f"columns {listed} are"
        say(f"{table.name}: {which} the same in all training rows: nothing is learned of that; left at zero")


def few_to_choose(windows: int, settings: TableSettings, *tried: str) -> list[str]:
    """A caution where few validation windows choose the weights and what was ``tried``; no line where they are enough.

    >>> few_to_choose(3, TableSettings(), "anchor")[0].partition(":")[0]
    '3 validation windows choose the anchor and the weights'
    >>> few_to_choose(20, TableSettings(), "anchor")
    []
    """
    chosen = [*tried, *(["weights"] if settings.keep == "best" or settings.patience else [])]
    if not (0 < windows < _ENOUGH and chosen):
        return []
    *others, last = (f"the {name}" for name in chosen)
    listed = f"{', '.join(others)} and {last}" if others else last
    one = "window chooses" if windows == 1 else "windows choose"
    return [f"{windows} validation {one} {listed}: so few may choose badly; give --split a larger second part"]


def prepare_or_recall(
    run: Run | None, table: Table, settings: TableSettings, roles: Callable[[SeriesTable], Roles],
    columns: tuple[str, ...] = (), calendar: bool = False, say: Callable[[str], None] = _unsaid,
) -> PreparedTable:  # fmt: skip
    """As :func:`prepare_table`; a run that was begun keeps what it has fitted, to the bit."""
    if run is not None and run.last_file.exists():
        return Recorded.from_config(read_about(run.last_file)[0]).read(table, say=say)
    return prepare_table(table, settings, roles, columns, calendar, say)
