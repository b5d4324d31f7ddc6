"""Where the rows of a table go: into which series, at which step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gatewise.data.table.arrange import Strand, common_frequency, said, strands_of
from gatewise.data.table.clock import Frequency
from gatewise.data.table.column import Column
from gatewise.data.table.resample import Grid
from gatewise.data.table.series_table import Series
from gatewise.data.table.split import Split
from gatewise.data.table.tables import Table
from gatewise.data.table.time_columns import TimeColumns, times_of
from gatewise.errors import UserError


@dataclass(frozen=True)
class Layout:
    """The series of a table, before their values are read.

    Attributes:
        strands: the rows of each series in order of time.
        grids: the steps these fall into where they are resampled; else none.
        frequency: from one step to the next; None where there is no time.
    """

    strands: list[Strand]
    grids: list[Grid]
    frequency: Frequency | None

    @classmethod
    def of(
        cls,
        table: Table,
        time: TimeColumns | None,
        series: str,
        sort: bool,
        wanted: Frequency | None,
        resample: bool,
        say: Callable[[str], None],
    ) -> Layout:
        """Args:
            table: of all rows.
            time: its columns of times.
            series: its column of series, "" for none.
            sort: put the rows of each series in order of time.
            wanted: the frequency it must have, or is resampled to.
            resample: do that.
            say: is told what becomes of times with an offset.

        Raises:
            UserError: times that are not in order or not regular, with the first such row.
        """
        times = times_of(table, time, say) if time else None
        strands = strands_of(table, times, series, sort)
        if not resample or not wanted:
            return cls(strands, [], common_frequency(table, strands, series, wanted))
        grids = []
        for strand in strands:
            assert strand.times is not None
            place = f"{table.name}, series '{strand.key}'" if strand.key else table.name
            if len(strand.times) > 1 and np.median(np.diff(strand.times).astype(np.int64)) > wanted.longest:
                step = Frequency.fixed(int(np.median(np.diff(strand.times).astype(np.int64))))
                raise UserError(
                    f"{place}: --resample {wanted}: most rows stand farther apart ({step}); give longer steps"
                )
            grids.append(Grid.of(strand.times, wanted, place))
        return cls(strands, grids, wanted)

    def steps(self, number: int) -> int:
        """Of a series."""
        return len(self.grids[number]) if self.grids else len(self.strands[number].order)

    def training(self, split: Split) -> np.ndarray:
        """The places in the table of all rows that are learned from."""
        cuts = split.of([self.steps(number) for number in range(len(self.strands))])
        return np.concatenate([self._until(number, one.train) for number, one in enumerate(cuts)])

    def _until(self, number: int, cut: int) -> np.ndarray:
        order = self.strands[number].order
        if self.grids:
            grid = self.grids[number]
            within = int(np.searchsorted(grid.numbers, cut))
            cut = int(grid.begin[within]) if within < len(grid.begin) else len(order)
        return order[:cut]

    def values(
        self, table: Table, columns: tuple[Column, ...], present: tuple[Column, ...], say: Callable[[str], None]
    ) -> np.ndarray:
        """(rows, d) of the whole table, series after series; NaN for columns that are not present."""
        order = (
            np.concatenate([strand.order for strand in self.strands])
            if len(self.strands) > 1
            else self.strands[0].order
        )
        as_it_stands = bool((np.diff(order) == 1).all())
        values = np.empty((table.frame.height, sum(len(column.features) for column in columns)))
        begin = 0
        for column in columns:
            end = begin + len(column.features)
            if column in present:
                found = column.read(table, say).reshape(len(order), end - begin)
                values[:, begin:end] = found if as_it_stands else found[order]
            else:
                values[:, begin:end] = np.nan
            begin = end
        return values

    def series(self, number: int, values: np.ndarray, columns: tuple[Column, ...], first_row: int) -> Series:
        """One series of these values; a view of them where nothing is resampled."""
        strand = self.strands[number]
        begin = sum(len(before.order) for before in self.strands[:number])
        own, rows = values[begin : begin + len(strand.order)], strand.order + first_row
        if not self.grids:
            return Series(strand.key, own, strand.times, rows)
        grid = self.grids[number]
        found, place = np.empty((len(grid), values.shape[1])), 0
        for column in columns:
            size = len(column.features)
            part = own[:, place : place + size]
            found[:, place : place + size] = (
                grid.commonest(part) if column.categories else grid.means(part[:, 0])[:, None]
            )
            place += size
        return Series(strand.key, found, grid.times, grid.rows(rows))

    def described(self, name: str, time: TimeColumns | None) -> str:
        """What was found, in words."""
        steps = sum(self.steps(number) for number in range(len(self.strands)))
        parts = f"{len(self.strands)} series, " if len(self.strands) > 1 else ""
        if not time:
            return f"{name}: {parts}{steps:,} rows"
        listed = ", ".join(f"'{column}'" for column in time.names)
        begin = min(strand.times[0] for strand in self.strands if strand.times is not None)
        end = max(strand.times[-1] for strand in self.strands if strand.times is not None)
        every = f" every {self.frequency}" if self.frequency else ""
        line = f"{name}: {parts}{steps:,} steps{every} from {said(begin)} to {said(end)}, by {listed}"
        if self.grids:
            rows = sum(len(strand.order) for strand in self.strands)
            empty = steps - sum(len(grid.numbers) for grid in self.grids)
            line += f"; means of {rows:,} rows, {empty:,} steps without one"
        return line
