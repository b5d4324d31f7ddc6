"""The settings of ``train forecast``: what it has beside those of every training on a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gatewise.errors import UserError
from gatewise.layers.forecasting import ANCHORS, FORECASTING, options_of
from gatewise.tasks.forecast import LOSSES
from gatewise.tasks.intervals import parse_quantiles
from gatewise.training.settings import setting
from gatewise.training.table_settings import TableSettings, names_in
from gatewise.training.text_settings import AUTO

_MODEL_OPTIONS = {
    "bidirectional": "bidirectional", "forcing": "forcing", "attention_size": "attention_size", "filters": "filters",
    "autoregressive": "autoregressive", "channels": "channels", "blocks": "levels", "kernel": "kernel_size",
    "segment": "segment",
}  # fmt: skip
"""Settings that some models have, and what the models call them."""

_OWN: dict[str, Any] = {"positive": True, "most": 100_000, "apart": AUTO}


@dataclass(frozen=True)
class ForecastSettings(TableSettings):
    """Everything that decides a run of ``gatewise train forecast``, besides the table itself."""

    inputs: str = setting(
        "", "Columns that are known of the past, as `a,b`; the targets always are", "Data",
        default="all of numbers or categories",
    )  # fmt: skip
    target: str = setting(
        "", "What to forecast: a column, several as `a,b`, or `all`", "Data", default="the only column of numbers"
    )
    lookback: int = setting(
        AUTO, "Steps that a forecast looks back on", "Data", positive=True, most=1_000_000, apart=AUTO,
        default="two seasons, at least twice the horizon",
    )  # fmt: skip
    horizon: int = setting(
        AUTO, "Steps to forecast", "Data", positive=True, most=1_000_000, apart=AUTO,
        default="a season; 10 where there is none",
    )  # fmt: skip
    known: str = setting(
        "", "Columns known of the future too, with commas between: a price list, a plan", "Data", default="none"
    )
    calendar: bool = setting(False, "Also tell the network the hour, the day of the week, the time of the year", "Data")
    season: int = setting(
        AUTO, "Steps of a season", "Data", positive=True, most=1_000_000, apart=AUTO,
        default="that of the table's frequency: 24 of hours, 7 of days, 12 of months ...",
    )  # fmt: skip
    model: str = setting(
        "direct", "`direct`, from the last state to all steps; `seq2seq`, step by step; `attention`, over the past; "
        "`tpa`, over its patterns; `tcn`, convolutions first; `segment`, in and out by segments", "Model",
        choices=tuple(FORECASTING),
    )  # fmt: skip
    bidirectional: str = setting(
        "auto", "Read the past from its end too: `on`, `off`", "Model", choices=("auto", "on", "off"),
        default="`on` for `attention`, `off` for other models",
    )  # fmt: skip
    forcing: float = setting(
        float(AUTO), "Of `seq2seq` and `attention`: share of the training after which the truth is fed no more",
        "Model", most=1.0, apart=AUTO, default="0.5",
    )  # fmt: skip
    attention_size: int = setting(AUTO, "Of `attention`: its units", "Model", **_OWN, default="the top layer's")
    filters: int = setting(AUTO, "Of `tpa`: temporal patterns", "Model", **_OWN, default="32")
    autoregressive: int = setting(
        AUTO, "Of `tpa`: steps of its linear part; 0: none", "Model", most=100_000, apart=AUTO, default="24"
    )
    channels: int = setting(AUTO, "Of `tcn`: of a convolution", "Model", **_OWN, default="the first layer's units")
    blocks: int = setting(
        AUTO, "Of `tcn`: residual blocks", "Model", **_OWN, default="as many as see the whole lookback, at most 4"
    )
    kernel: int = setting(AUTO, "Of `tcn`: steps of a kernel", "Model", **_OWN, default="3")
    segment: int = setting(AUTO, "Of `segment`: steps of a segment", "Model", **_OWN, default="48")
    anchor: str = setting(
        "auto", "What forecasts are the distance from: `last` value, `seasonal` (last season's), `mean` of the window, "
        "`none`", "Model", choices=("auto", *ANCHORS),
        default="`last` or `seasonal`, by a short trial of each; `none` of `segment`, which has its own",
    )  # fmt: skip
    normalise: str = setting(
        "auto", "Standardise every window by its own mean and deviation (Kim 2022): `on`, `off`", "Model",
        choices=("auto", "on", "off"), default="by a short trial of each, `on` where it is a tie; `off` of `segment`",
    )  # fmt: skip
    loss: str = setting(
        "auto", f"What is made small: {', '.join(f'`{loss}`' for loss in (*LOSSES, 'pinball'))}",
        choices=("auto", *LOSSES, "pinball"), default="`mse`; with quantiles `pinball`",
    )  # fmt: skip
    weigh: str = setting(
        "balanced", "How steps of the horizon count in the loss: `balanced`, by 1 over the error of the last value as "
        "their forecast, or `equal`", choices=("balanced", "equal"),
    )  # fmt: skip
    quantiles: str = setting(
        "", "Forecast quantiles, as in `0.1,0.5,0.9`; the middle one, 0.5, is the forecast", default="none"
    )
    interval: float = setting(
        0.9, "Share of the truth that intervals are to cover, fitted on the validation part; 0: none", share=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        quantiles = self.levels
        if quantiles and (len(quantiles) % 2 == 0 or quantiles[len(quantiles) // 2] != 0.5):
            raise UserError(
                f"--quantiles {self.quantiles}: want 0.5, which stands for the forecast, and as many below as above, "
                "as in 0.1,0.5,0.9"
            )
        if quantiles and self.loss not in ("auto", "pinball"):
            raise UserError(f"--loss {self.loss}: quantiles are learned by pinball; leave out --loss or --quantiles")
        if self.loss == "pinball" and not quantiles:
            raise UserError("--loss pinball: is of quantiles; give them too, --quantiles 0.1,0.5,0.9")
        double = next((name for name in self.known_columns if name in self.targets), None)
        if double is not None:
            raise UserError(f"--known {double}: is a target, whose future is not known; leave it out of one of the two")
        if self.interval and not self.parts().parts[1] > 0:
            raise UserError(
                f"--split {self.split}: intervals are fitted on the validation part, its second number; give one, or "
                "--interval 0"
            )
        self.model_options()

    def predicted(self) -> tuple[str, tuple[str, ...]]:
        return "--target", self.targets

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns named; none where the table says, ("all",) for all."""
        return names_in(self.target, "--target")

    @property
    def known_columns(self) -> tuple[str, ...]:
        """The columns that are known of the future."""
        return names_in(self.known, "--known")

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles; none of a point forecast."""
        return parse_quantiles(self.quantiles)

    @property
    def criterion(self) -> str:
        """The loss's name."""
        if self.loss != "auto":
            return self.loss
        return "pinball" if self.quantiles else "mse"

    def model_options(self) -> dict[str, Any]:
        """The options of the model itself that were given.

        Raises:
            UserError: one that this model does not have.
        """
        given = {name: value for name in _MODEL_OPTIONS if (value := getattr(self, name)) not in (AUTO, "auto")}
        for name in given:
            if _MODEL_OPTIONS[name] not in options_of(self.model):
                able = [model for model in FORECASTING if _MODEL_OPTIONS[name] in options_of(model)]
                raise UserError(
                    f"--{name.replace('_', '-')}: --model {self.model} has none; leave it out, or take --model "
                    f"{' or '.join(able)}"
                )
        return {_MODEL_OPTIONS[name]: {"on": True, "off": False}.get(value, value) for name, value in given.items()}
