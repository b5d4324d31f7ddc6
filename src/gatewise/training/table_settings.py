"""The settings of every training on a table."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from gatewise.data import Choice
from gatewise.data.table.filling import POLICIES
from gatewise.data.table.projection import parse_components
from gatewise.data.table.split import WAYS, Split
from gatewise.errors import UserError
from gatewise.training.settings import NetworkSettings, setting


@dataclass(frozen=True)
class ColumnSettings(NetworkSettings):
    """What every task on tables has beside the settings of every task: what is made of the columns."""

    batch: int = setting(64, "Windows, or whole sequences, of a batch", positive=True)
    lr: float = setting(0.003, "Peak learning rate", positive=True)
    weight_decay: float = setting(0.01, "Of AdamW")
    hidden: int | str = setting(
        64, "Units of a layer, or `128,64`: one number a layer", "Model", positive=True, most=1 << 20, listed=True
    )
    inputs: str = setting(
        "", "Columns to predict from, as `a,b`", "Data", default="all of numbers or categories, but the targets"
    )
    time: str = setting(
        "", "The column of time stamps; several as `date,hour`; `none` if rows have no time", "Data",
        default="found by what is in it",
    )  # fmt: skip
    series: str = setting("", "The column that names each row's series", "Data", default="the table is one series")
    sheet: str = setting("", "Of an Excel file, by name", "Data", default="the only one")
    sort: bool = setting(False, "Put the rows in order of time", "Data")
    resample: str = setting("", "Make one row of each so long a step, as `1h`", "Data", default="rows as they are")
    pca: str = setting(
        "", "Principal components in the place of the inputs: a share of their variance as `0.95`, or a number", "Data",
        default="none",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        self.components()

    def components(self) -> float | int | None:
        """What ``pca`` says."""
        return parse_components(self.pca)

    def choice(self, columns: tuple[str, ...] = ()) -> Choice:
        """What is asked of the table; () are all columns."""
        return Choice(self.time, self.series, columns, self.sort, self.resample)


@dataclass(frozen=True)
class TableSettings(ColumnSettings):
    """What ``train forecast`` and ``train regress`` have in common beside that."""

    evaluations: int = setting(30, "How often the validation part is measured during training", positive=True)
    patience: int = setting(8, "Stop when so many of these measurements bring no gain; 0: never")
    keep: str = setting(
        "best", "Which weights the run is left with, `best` (on the validation part) or `last`",
        choices=("best", "last"),
    )  # fmt: skip
    missing: str = setting(
        "error", "What is done about missing values: `error`; `drop` (leave such windows out); `interpolate`; `mask` "
        "(the last value, and the network is told that and how old it is)", "Data", choices=POLICIES,
    )  # fmt: skip
    split: str = setting(
        "0.7,0.1,0.2", "What is learned from, chosen on and measured on, in this order of time: shares, or rows as in "
        "`8640,2880,2880`", "Data",
    )  # fmt: skip
    split_by: str = setting(
        "time", "`time`: every series is cut; `series`: each as a whole is of one part, in the table's order", "Data",
        choices=WAYS,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split_by == "series" and not self.series:
            raise UserError("--split-by series: name the column that tells the series apart, --series COLUMN")

    def predicted(self) -> tuple[str, tuple[str, ...]]:
        """The option that names what is to be predicted, and the columns that it names."""
        return "", ()

    def parts(self) -> Split:
        """Where the series are cut."""
        return Split.parse(self.split, self.split_by)

    def to_hold_out(self) -> str:
        return "" if self.parts().parts[1] > 0 else "give --split a validation part, its second number, or --patience 0"


def names_in(text: str, option: str = "--inputs") -> tuple[str, ...]:
    """Columns that an option names, with commas between; in double quotes a name may have commas.

    Raises:
        UserError: one is named twice, or has no name.

    >>> names_in('a, b,"c, d"')
    ('a', 'b', 'c, d')
    """
    names = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    if "" in names and names != ("",):
        raise UserError(f"{option} {text}: a name is missing between two commas")
    double = next((name for name in names if names.count(name) > 1), "")
    if double:
        raise UserError(f"{option} {text}: '{double}' is named twice; name it once")
    return () if names == ("",) else names
