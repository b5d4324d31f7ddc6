"""The settings of ``train classify``: what it has beside those of every task."""

from __future__ import annotations

from dataclasses import dataclass

from gatewise.data.recordings.channel_features import FEATURES, MOVING, PLAIN, REACH, parse_features
from gatewise.data.recordings.examples import POLICIES, SCALES
from gatewise.errors import UserError
from gatewise.layers.classifier import POOLINGS
from gatewise.tasks.class_baselines import FEATURES as BASELINE_FEATURES
from gatewise.training.settings import setting
from gatewise.training.table_settings import ColumnSettings, names_in

AUTO = -1
"""A window that depends on the data."""

STEPS = 60
"""Of a window, where labels change within a recording and nobody says."""


@dataclass(frozen=True)
class ClassifySettings(ColumnSettings):
    """Everything that decides a run of ``gatewise train classify``, besides where the data lie."""

    heldout: float = setting(
        0.2, "Share of the training part that chooses the weights: the ends of its recordings, or, of whole ones, the "
        "last of each class", "Data", share=True,
    )  # fmt: skip
    minutes: float = setting(1.0, "Wall-clock budget")
    keep: str = setting(
        "last", "Which weights the run is left with, `last` or `best` (by validation loss)", choices=("best", "last")
    )
    dropout: float = setting(0.5, "Dropout between layers and before the last product", "Model", share=True)
    members: int = setting(
        3, "Networks side by side, whose probabilities are averaged (Lakshminarayanan 2017)", "Model", positive=True,
        most=1000,
    )  # fmt: skip
    input_noise: float = setting(0.5, "Deviation of what is added to the inputs while training (Bishop 1995)", "Model")
    channel_dropout: float = setting(
        0.0, "Probability that an input is blanked out for a whole sequence while training", "Model", share=True
    )
    directions: str = setting(
        "both", "`both`: a second run of the layers goes from an example's end to its start; or `forward` alone",
        "Model", choices=("both", "forward"),
    )  # fmt: skip
    pooling: str = setting(
        "last", "What is taken of the outputs over time: `last`, `mean`, `attention`, or `statistics`: mean and spread",
        "Model", choices=POOLINGS,
    )  # fmt: skip
    class_weights: str = setting(
        "none", "`balanced`: the loss of rare classes weighs more; or `none`", choices=("none", "balanced")
    )
    smoothing: float = setting(0.05, "Label smoothing (Szegedy 2016)", share=True)
    label: str = setting("", "Of a table: the column with the label of each row", "Data", default="none")
    inputs: str = setting(
        "", "Of a table: the columns to learn from, as `a,b`", "Data", default="all others of numbers"
    )
    label_from: str = setting(
        "", r"Of a folder: a regular expression whose group is the label in a file's name, as `d(\d\d)`", "Data",
        default="none",
    )  # fmt: skip
    normal: str = setting("", "The label of normal operation: all others are faults", "Data", default="none")
    onset: int = setting(0, "First rows of every test recording that are normal, whatever its label", "Data")
    leave_out: str = setting("", "Classes whose recordings are left out, as `a,b`", "Data", default="none")
    window: int = setting(
        AUTO, "Rows of a window", "Data", positive=True, most=1 << 20, apart=AUTO,
        default=f"whole recordings; where labels change within one, or each class has one alone, {STEPS}",
    )  # fmt: skip
    stride: int = setting(1, "Rows from one window to the next", "Data", positive=True, most=1 << 20)
    missing: str = setting(
        "error", "Missing values: `error`, `interpolate`, or `mask`: the last value, whether it is one, how old it is",
        "Data", choices=POLICIES,
    )  # fmt: skip
    scale: str = setting(
        "robust", "`robust` (by how much a channel varies within a recording), or `standard` (mean and deviation)",
        "Data", choices=SCALES,
    )  # fmt: skip
    features: str = setting(
        "", f"What is given of each channel: some of `{','.join(FEATURES)}`; level is the mean of the last {REACH} "
        f"values, spread the logarithm of their deviation, unrest that of the last {REACH} changes", "Data",
        default=f"{','.join(PLAIN)}; of windows {','.join(MOVING)}",
    )  # fmt: skip
    pca: str = setting(
        "", "Principal components of the features of all channels, in their place: a share of their variance as "
        "`0.95`, or a number", "Data", default="none",
    )  # fmt: skip
    false_alarms: float = setting(
        0.0, "Share of normal operation that may be taken for a fault, which 1 − p(normal) must then be above a limit "
        "for, set on what is held out; 0: the most probable class is taken", "Data", share=True,
    )  # fmt: skip
    alarm: int = setting(3, "Windows in a row that raise an alarm", "Data", positive=True, most=1 << 20)
    report_without: str = setting(
        "", "Classes without which the figures are given too, as `a,b`", "Data", default="none"
    )
    baselines: str = setting(
        "all", "What is trained on the same examples to be printed beside it: `all`, that is logistic regression and a "
        "random forest; or `none`", choices=("all", "none"),
    )  # fmt: skip
    baseline_features: str = setting(
        "summary", "What the baselines are given: `summary` (seven figures an input) or `flat` (all values)",
        choices=BASELINE_FEATURES,
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for read in (lambda: self.columns, lambda: self.without, lambda: self.left_out):
            read()
        if self.features:
            parse_features(self.features)
        if self.onset and not self.normal:
            raise UserError(f"--onset {self.onset}: say which label is normal, --normal LABEL")
        if self.false_alarms and not self.normal:
            raise UserError(f"--false-alarms {self.false_alarms:g}: say which label is normal, --normal LABEL")
        for option in ("series", "time", "sort", "resample"):
            value = getattr(self, option)
            if value and not self.label:
                given = f"--{option}" if value is True else f"--{option} {value}"
                raise UserError(f"{given}: is of a table; name the column of its labels too, --label COLUMN")
        if self.label and self.label_from:
            raise UserError("--label is of a table and --label-from of a folder; give one of them")

    def kinds(self, windows: bool) -> tuple[str, ...]:
        """What is given of each channel, of windows or of whole recordings."""
        if self.features:
            return parse_features(self.features)
        return MOVING if windows else PLAIN

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table that are learned from; none where all others are."""
        return names_in(self.inputs)

    @property
    def left_out(self) -> tuple[str, ...]:
        """The classes whose recordings are not used."""
        return names_in(self.leave_out, "--leave-out")

    @property
    def without(self) -> tuple[str, ...]:
        """The classes without which figures are given too."""
        return names_in(self.report_without, "--report-without")

    def to_hold_out(self) -> str:
        return "" if self.heldout else "give --heldout above 0, or --patience 0"
