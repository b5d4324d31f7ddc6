"""From a table in its own units to what a network takes; all that is learned for it comes from the training rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gatewise.data.series import Standardiser
from gatewise.data.table.calendar import NO_CALENDAR, Calendar
from gatewise.data.table.encoded import Encoded
from gatewise.data.table.filling import POLICIES, Filled
from gatewise.data.table.projection import Projection
from gatewise.data.table.series_table import Series, SeriesTable
from gatewise.data.table.split import WAYS, Split
from gatewise.errors import UserError, nearest

_ROWS_AT_ONCE = 1 << 16

_UNVARYING = 1e300
"""Deviation of a column that is the same in all training rows: nothing is learned of it, and all of it is 0."""


@dataclass(frozen=True)
class Roles:
    """What the columns of a table are there for.

    Attributes:
        targets: to be predicted.
        inputs: known up to the present.
        known: known of the future too.
    """

    targets: tuple[str, ...]
    inputs: tuple[str, ...]
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preparation:
    """Columns chosen, standardised, projected, with the calendar beside them.

    Inputs are the columns ``roles.inputs`` (or their principal components), under ``mask`` two features more for each
    of them, then ``roles.known`` and the calendar, which are known of the past too.

    Attributes:
        roles: which columns are what.
        split: where every series is cut.
        missing: one of :data:`gatewise.data.table.filling.POLICIES`.
        columns: the features of the table that are used.
        origins: the column of the table each came from.
        scale: of these features, mean and deviation of the training rows of all series.
        projection: of the inputs; None without.
        calendar: without cycles where none is asked for.

    Example:
        >>> series = Series("", np.arange(20.0).reshape(10, 2), None, np.arange(2, 12))
        >>> table = SeriesTable("made up", ("a", "b"), ("a", "b"), (series,), None)
        >>> preparation = Preparation.fitted(table, Roles(("b",), ("a", "b")), Split.parse("6,2,2"))
        >>> preparation.scale.mean, preparation.input_size, preparation.known_size
        ((5.0, 6.0), 2, 0)
        >>> preparation.encode(table).targets(np.array([2, 3])).round(3)
        array([[-0.293],
               [ 0.293]], dtype=float32)
    """

    roles: Roles
    split: Split
    missing: str
    columns: tuple[str, ...]
    origins: tuple[str, ...]
    scale: Standardiser
    projection: Projection | None = None
    calendar: Calendar = NO_CALENDAR

    @classmethod
    def fitted(
        cls, table: SeriesTable, roles: Roles, split: Split, missing: str = "error", pca: float | int | None = None,
        calendar: bool = False,
    ) -> Preparation:  # fmt: skip
        """To the training rows of the table's series.

        Args:
            table: the whole table; rows after the training part are looked at for nothing but, under ``error``, gaps.
            roles: which columns are what.
            split: where every series is cut.
            missing: what is done about gaps.
            pca: a share of the variance of the inputs, below 1, or a number of principal components; None: no PCA.
            calendar: whether features of the calendar are added.

        Raises:
            UserError: a column that does not exist or is no number, one without a value in the training rows, a gap
                under ``error``, a calendar without time.
        """
        if missing not in POLICIES:
            raise UserError(f"--missing {missing}: {nearest(missing, POLICIES)}")
        used = _used(table, roles)
        columns, origins = (tuple(names[place] for place in used) for names in (table.columns, table.origins))
        cuts = split.of(list(map(len, table.series)))
        learned = [series.values[: one.train] for series, one in zip(table.series, cuts, strict=True)]
        if not sum(map(len, learned)):
            raise UserError(f"{table.name}: no row is left to learn from; give --split a larger training part")
        scale = _scale(table, used, learned)
        if calendar and table.frequency is None:
            raise UserError(f"{table.name}: has no time column, and features of the calendar were asked for")
        cycles = Calendar.suited(table.frequency) if calendar and table.frequency else NO_CALENDAR
        found = cls(roles, split, missing, columns, origins, scale, None, cycles)
        if missing == "error":
            found.check_complete(table)
        return found if pca is None else found._projected(table, learned, pca)

    def _projected(self, table: SeriesTable, learned: Sequence[np.ndarray], pca: float | int) -> Preparation:
        parts = (Series(one.key, rows, None, one.rows) for one, rows in zip(table.series, learned, strict=True))
        training = SeriesTable(table.name, table.columns, table.origins, tuple(parts), None)
        rows = self.encode(training, complete=False).filled.values[:, self.input_places]
        projection = Projection.fitted(rows[~np.isnan(rows).any(1)], pca)
        parts = (self.roles, self.split, self.missing, self.columns, self.origins, self.scale)
        return Preparation(*parts, projection, self.calendar)

    @cached_property
    def target_places(self) -> list[int]:
        """Where the targets stand in ``columns``."""
        return self._places(self.roles.targets)

    @cached_property
    def input_places(self) -> list[int]:
        """Where the inputs stand, without the known ones."""
        return self._places(self.roles.inputs)

    @cached_property
    def known_places(self) -> list[int]:
        """Where the columns stand that are known of the future."""
        return self._places(self.roles.known)

    @cached_property
    def known_inputs(self) -> list[int]:
        """Where those of them stand that are not among the inputs already."""
        return [place for place in self.known_places if place not in self.input_places]

    @cached_property
    def marked_places(self) -> list[int]:
        """Under ``mask``, the first feature of each input column: all of one column are missing together."""
        if self.missing != "mask":
            return []
        firsts = {self.origins[place]: place for place in reversed(self.input_places)}
        return [firsts[name] for name in self.roles.inputs]

    def _places(self, names: Sequence[str]) -> list[int]:
        return [place for name in names for place, origin in enumerate(self.origins) if origin == name]

    @property
    def unvarying(self) -> tuple[str, ...]:
        """The columns of the table of which every feature is the same in all training rows."""
        varying = {o for o, size in zip(self.origins, self.scale.deviation, strict=True) if size != _UNVARYING}
        return tuple(name for name in dict.fromkeys(self.origins) if name not in varying)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Of the features that a network is given, in order."""
        plain = [self.columns[place] for place in self.input_places]
        if self.projection is not None:
            plain = [f"component {number}" for number in range(1, self.projection.size + 1)]
        marks = [f"{self.origins[p]} ({mark})" for p in self.marked_places for mark in ("observed", "steps since")]
        known = [self.columns[place] for place in self.known_inputs]
        return (*plain, *marks, *known, *self.calendar.names)

    @property
    def input_size(self) -> int:
        return len(self.input_names)

    @property
    def known_size(self) -> int:
        return len(self.known_places) + self.calendar.size

    @property
    def target_names(self) -> tuple[str, ...]:
        return self.roles.targets

    def check_complete(self, table: SeriesTable, targets: bool = True) -> None:
        """Refuse a gap in a used column, naming the first; without ``targets``, of inputs and known ones alone.

        Where something is known of the future, rows after the last target are of the future, and have what is known.
        """
        policies = "drop, interpolate or mask"

        def features(places: Iterable[int]) -> list[int]:
            return _find(table, [self.columns[place] for place in places])

        if not targets:
            table.check_complete(features([*self.input_places, *self.known_inputs]), policies)
        elif not self.known_places:
            table.check_complete(features(range(len(self.columns))), policies)
        else:
            table.check_complete(features(self.known_places), policies)
            ends = table.observed_until(features(self.target_places))
            table.check_complete(features(range(len(self.columns))), policies, ends)

    def encode(self, table: SeriesTable, ahead: int = 0, complete: bool = True) -> Encoded:
        """A table as :class:`Encoded`: its series one after the other, standardised, gaps filled.

        Args:
            table: with the same columns as the one that this was fitted to.
            ahead: rows that every series is continued by, with nothing in them but their time stamps.
            complete: whether ``error`` refuses gaps here too. Without, windows with a gap are left out.

        Raises:
            UserError: a column is missing; a gap under ``error``; a value too far from the training rows to be scaled.
        """
        places = _find(table, self.columns)
        if complete and self.missing == "error":
            self.check_complete(table)
        starts = np.cumsum([0, *(len(series) + ahead for series in table.series)]).tolist()
        values = np.empty((starts[-1], len(places)), dtype=np.float32)
        for series, start in zip(table.series, starts, strict=False):
            values[start + len(series) : start + len(series) + ahead] = np.nan
            for first, scaled in self._standardised(table.name, series, places):
                values[start + first : start + first + len(scaled)] = scaled
        filled = Filled.of(values, self.missing, starts)
        keys, times = tuple(one.key for one in table.series), _times(table, ahead)
        return Encoded(self, filled, tuple(starts), keys, times, self._cycles(times))

    def _cycles(self, times: np.ndarray | None) -> np.ndarray | None:
        """Features of the calendar of all rows; None without."""
        if times is None or not self.calendar.size:
            return None
        found = np.empty((len(times), self.calendar.size), dtype=np.float32)
        for first in range(0, len(times), _ROWS_AT_ONCE):
            found[first : first + _ROWS_AT_ONCE] = self.calendar.encode(times[first : first + _ROWS_AT_ONCE])
        return found

    def _standardised(
        self, name: str, series: Series, places: Sequence[int]
    ) -> Iterator[tuple[int, np.ndarray]]:  # fmt: skip
        """Some rows at a time, and the first of them: a whole series in float64 again would double the memory."""
        for first in range(0, len(series), _ROWS_AT_ONCE):
            raw = series.values[first : first + _ROWS_AT_ONCE, places]
            with np.errstate(over="ignore"):
                scaled = self.scale.encode(raw).numpy()
            lost = ~(np.isfinite(scaled) | np.isnan(raw))
            if lost.any():
                row, place = np.argwhere(lost)[0]
                raise UserError(
                    f"{name}: {series.place(first + row)}, column '{self.columns[place]}': {raw[row, place]:g} is "
                    "too far from the training rows to be scaled; mend the value"
                )
            yield first, scaled

    def decode_targets(self, values: Any) -> np.ndarray:
        """Targets (..., k) in standard deviations to float64 in the table's own units."""
        mean, deviation = (np.array(part)[self.target_places] for part in (self.scale.mean, self.scale.deviation))
        return np.asarray(values, dtype=np.float64) * deviation + mean

    def encode_targets(self, values: np.ndarray) -> np.ndarray:
        """And back: float64 in the table's own units to float32 in standard deviations, the bits of :meth:`encode`."""
        mean, deviation = (np.array(part)[self.target_places] for part in (self.scale.mean, self.scale.deviation))
        return ((values - mean) / deviation).astype(np.float32)

    def to_config(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "targets": list(self.roles.targets), "inputs": list(self.roles.inputs), "known": list(self.roles.known),
            "split": list(self.split.parts), "split_by": self.split.by, "missing": self.missing,
            "columns": list(self.columns), "origins": list(self.origins), "scale": self.scale.to_config(),
            "projection": self.projection.to_config() if self.projection else {},
            "calendar": list(self.calendar.cycles),
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preparation:
        """The inverse of :meth:`to_config`.

        Raises:
            UserError: the description is malformed.
        """
        malformed = UserError("malformed preparation of a table; use another copy, or train anew")
        try:
            roles = Roles(*(tuple(map(str, config[name])) for name in ("targets", "inputs", "known")))
            train, validation, test = map(float, config["split"])
            split = Split((train, validation, test), config["split_by"])
            columns, origins = (tuple(map(str, config[name])) for name in ("columns", "origins"))
            missing, calendar = config["missing"], Calendar(tuple(config["calendar"]))
            scale = Standardiser.from_config(config["scale"])
            projection = Projection.from_config(config["projection"]) if config["projection"] else None
        except UserError:
            raise
        except (KeyError, TypeError, ValueError):
            raise malformed from None
        found = cls(
            roles, split, missing, columns, origins, scale, projection, calendar
        )  # fmt: skip
        named = {*roles.targets, *roles.inputs, *roles.known} <= set(origins)
        width = len(found.input_places) if projection is None else len(projection.mean)
        sizes = len(columns) == len(origins) == scale.size and width == len(found.input_places)
        known = missing in POLICIES and split.by in WAYS
        if not known or not named or not sizes or len(found.target_places) != len(roles.targets):
            raise malformed
        return found


def _used(table: SeriesTable, roles: Roles) -> list[int]:
    """The places of the table's features that have a role, in the table's order."""
    wanted = (*roles.targets, *roles.inputs, *roles.known)
    for name in wanted:
        if name not in table.origins:
            raise UserError(f"{table.name}: has no column '{name}'; {nearest(name, dict.fromkeys(table.origins))}")
    for kind, names in vars(roles).items():
        double = next((name for name in names if names.count(name) > 1), None)
        if double is not None:
            raise UserError(f"column '{double}' is named twice among the {kind}; name it once")
    for name in roles.targets:
        if [table.columns[place] for place in table.places((name,))] != [name]:
            raise UserError(f"{table.name}: the target '{name}' is a column of text; want numbers, or `train classify`")
    if not (roles.inputs or roles.known):
        raise UserError(f"{table.name}: no input is named; say what the targets are predicted from")
    if not roles.targets:
        raise UserError(f"{table.name}: no target is named; say what is to be predicted")
    return [place for place, origin in enumerate(table.origins) if origin in wanted]


def _scale(table: SeriesTable, used: Sequence[int], learned: Sequence[np.ndarray]) -> Standardiser:
    """A column at a time: all at once would copy the table."""
    scales = []
    for place in used:
        column = np.concatenate([rows[:, place] for rows in learned])
        column = column[~np.isnan(column)]
        if not len(column):
            raise UserError(
                f"{table.name}: column '{table.columns[place]}' has no value in the training rows; leave it"
            )
        if not np.isfinite(column).all():
            raise UserError(f"{table.name}: column '{table.columns[place]}' has infinite values; mend them")
        try:
            scales.append(Standardiser.fitted(column[:, None], _UNVARYING))
        except UserError as error:
            raise UserError(f"{table.name}: column '{table.columns[place]}': {error}") from None
    return Standardiser(sum((one.mean for one in scales), ()), sum((one.deviation for one in scales), ()))


def _find(table: SeriesTable, columns: Sequence[str]) -> list[int]:
    """Where these features stand in a table."""
    for column in columns:
        if column not in table.columns:
            raise UserError(f"{table.name}: has no column '{column}', which was there in training")
    return [table.columns.index(column) for column in columns]


def _times(table: SeriesTable, ahead: int) -> np.ndarray | None:
    found: list[np.ndarray] = []
    for series in table.series:
        if series.times is None:
            return None
        found.append(series.times)
        if ahead and table.frequency is not None and len(series):
            found.append(table.frequency.after(series.times[-1], ahead))
    return found[0] if len(found) == 1 else np.concatenate(found)
