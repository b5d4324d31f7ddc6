"""Small tables for the tests of forecasts, and small trainings on them."""

from pathlib import Path

import numpy as np
import polars as pl

from gatewise.training import TRAININGS
from gatewise.training.forecast_settings import ForecastSettings
from gatewise.training.lifecycle import train
from gatewise.training.settings import settings_from
from gatewise.training.table_source import TableSource

SMALL = {
    "target": "load", "lookback": 12, "horizon": 4, "season": 6, "hidden": 8, "batch": 16, "epochs": 3, "threads": 1,
    "lr": 0.01, "anchor": "last", "normalise": "off",
}  # fmt: skip


def settings_of(**chosen) -> ForecastSettings:
    return settings_from(ForecastSettings, SMALL | chosen)


def trained_on(path, folder, **chosen):
    return train(TRAININGS["forecast"], TableSource(path), settings_of(**chosen), folder)


def demand(rows: int = 160, start: str = "2024-01-01T00") -> pl.DataFrame:
    """Hourly: a wave of six hours, warmer when the plan says so, some noise; and what it comes from."""
    draw = np.random.default_rng(3)
    plan = draw.integers(0, 2, rows).astype(float)
    wave = np.sin(np.arange(rows) / 6 * 2 * np.pi)
    return pl.DataFrame(
        {
            "time": (np.datetime64(start) + np.arange(rows)).astype("M8[us]"),
            "load": 50 + 10 * wave + 4 * plan + draw.standard_normal(rows),
            "heat": 20 - 5 * wave + draw.standard_normal(rows),
            "plan": plan,
        }
    )


def written(frame: pl.DataFrame, path: Path) -> Path:
    frame.write_csv(path, datetime_format="%Y-%m-%d %H:%M")
    return path
