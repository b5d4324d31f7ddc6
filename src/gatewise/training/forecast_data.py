"""A table made ready to be forecast: which columns are what, how far back and ahead, the windows of each part."""

from __future__ import annotations

from dataclasses import dataclass

from gatewise.data.table.preparation import Roles
from gatewise.data.table.series_table import SeriesTable
from gatewise.data.table.split import Cuts
from gatewise.data.table.windows import Windows
from gatewise.errors import UserError, nearest
from gatewise.tasks.baselines import season_of
from gatewise.training.forecast_settings import ForecastSettings
from gatewise.training.prepared_table import PreparedTable
from gatewise.training.table_settings import names_in
from gatewise.training.text_settings import AUTO

ALL = "all"

_NO_SEASON = 10
"""Steps to forecast where nobody says how many, and the table has no season."""


def roles_of(table: SeriesTable, settings: ForecastSettings) -> Roles:
    """Which columns of a table are what.

    Raises:
        UserError: a column that is not there or is text; no target, or several that could be meant.
    """
    numbers = tuple(name for name, origin in zip(table.columns, table.origins, strict=True) if name == origin)
    every = tuple(dict.fromkeys(table.origins))
    known = settings.known_columns
    _check(known, every, "--known", table)
    targets = settings.targets
    if targets == (ALL,) and ALL not in every:
        targets = tuple(name for name in numbers if name not in known)
    elif not targets:
        open_ = [name for name in numbers if name not in known]
        if len(open_) != 1:
            raise UserError(f"{table.name}: say which column to forecast, --target NAME or all: {', '.join(open_)}")
        targets = tuple(open_)
    _check(targets, every, "--target", table)
    text = next((name for name in targets if name not in numbers), None)
    if text is not None:
        raise UserError(f"--target {text}: a column of text in {table.name}; forecast numbers, or `train classify`")
    inputs = names_in(settings.inputs)
    _check(inputs, every, "--inputs", table)
    inputs = inputs or tuple(name for name in every if name not in known)
    return Roles(targets, tuple(name for name in every if name in (*inputs, *targets)), known)


def columns_of(settings: ForecastSettings) -> tuple[str, ...]:
    """The columns of the table that matter; () for all."""
    inputs, targets = names_in(settings.inputs), settings.targets
    if not inputs or not targets or targets == (ALL,):
        return ()
    return (*inputs, *(name for name in (*targets, *settings.known_columns) if name not in inputs))


def _check(names: tuple[str, ...], columns: tuple[str, ...], option: str, table: SeriesTable) -> None:
    for name in names:
        if name not in columns:
            raise UserError(f"{option} {name}: {table.name} has no such column; {nearest(name, columns)}")


@dataclass(frozen=True)
class Extent:
    """How far a forecast looks.

    Attributes:
        lookback: steps back.
        horizon: steps ahead.
        season: steps of a season; 1 for none.
    """

    lookback: int
    horizon: int
    season: int

    @classmethod
    def of(cls, settings: ForecastSettings, prepared: PreparedTable) -> Extent:
        """What the settings say, and what goes with the table's frequency where they leave it open.

        Raises:
            UserError: a season that is longer than what is looked back on.
        """
        season = season_of(prepared.series.frequency) if settings.season == AUTO else settings.season
        horizon = settings.horizon
        if horizon == AUTO:
            horizon = season if season > 1 else _NO_SEASON
        lookback = 2 * max(season, horizon) if settings.lookback == AUTO else settings.lookback
        found = cls(lookback, horizon, season)
        if settings.anchor == "seasonal" and season > lookback:
            raise UserError(
                f"--anchor seasonal: a season of {season} steps is longer than --lookback {lookback}; look "
                f"back on {season} at least, or give another --season"
            )
        return found

    def check_season(self, settings: ForecastSettings, prepared: PreparedTable) -> None:
        """Raise if a season is longer than the training part.

        Raises:
            UserError: see above.
        """
        longest = max(cuts.train for cuts in cuts_of(prepared))
        if self.season > longest:
            given = f"--season {self.season}"
            if settings.season == AUTO:
                given = f"{prepared.series.name}: a season of {self.season} steps goes with its time stamps"
            raise UserError(
                f"{given}: the training part has {longest} rows, and seasonal naive looks a season back; give a "
                f"{'shorter ' if settings.season != AUTO else ''}--season, or more rows"
            )


def cuts_of(prepared: PreparedTable) -> list[Cuts]:
    """Where each series is cut."""
    return prepared.preparation.split.of([len(series) for series in prepared.series.series])


def windows_of(prepared: PreparedTable, extent: Extent, part: str) -> Windows:
    """All windows of a part."""
    return Windows(prepared.encoded, extent.lookback, extent.horizon, part)
