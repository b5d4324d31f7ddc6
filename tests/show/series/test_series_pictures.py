"""Pictures of tables' runs: what they are given is what they show."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from gatewise.show.series import (
    Forecast,
    draw_confusion,
    draw_forecasts,
    draw_horizon,
    draw_observed,
    draw_residuals,
)
from gatewise.show.series.residuals import autocorrelation


def texts(path) -> list[str]:
    found = ElementTree.fromstring(path.read_text(encoding="utf-8")).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()) for text in found]


def polylines(path) -> list[np.ndarray]:
    """The points of every drawn line, in the picture's units, by order of drawing."""
    paths = re.findall(r'<path d="(M [^"]*)" clip-path', path.read_text())
    return [np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", line), dtype=float) for line in paths]


def matching(path, x, y) -> list[np.ndarray]:
    """The drawn lines that are the points (x, y) but for the axes' scale."""
    scaled = np.stack([x, y], -1).astype(float)
    return [
        line
        for line in polylines(path)
        if line.shape == scaled.shape
        and all(abs(np.corrcoef(line[:, k], scaled[:, k])[0, 1]) > 1 - 1e-6 for k in (0, 1))
    ]


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def test_a_forecast_shows_every_line(tmp_path, draw):
    times = np.arange("2014-01-01", "2014-01-03", dtype="datetime64[h]")
    values, predicted, naive = draw.normal(size=48), draw.normal(size=12), draw.normal(size=12)
    past, past_times, ahead, after = values[:36], times[:36], times[36:], values[36:]
    forecast = Forecast(
        past, predicted, past_times, ahead, after, predicted - 1, predicted + 1, {"naive": naive}, "worst"
    )
    svg, png = draw_forecasts([forecast, forecast], tmp_path, "浓度 (µg)", "90 % interval")
    assert {"observed", "forecast", "naive", "90 % interval", "worst", "浓度 (µg)"} <= set(texts(svg))
    assert png.stat().st_size > 10_000
    hours = ahead.astype("datetime64[m]").astype(float)
    for line in (predicted, naive):
        assert len(matching(svg, hours, line)) == 2  # one a panel
    joined = np.concatenate([past[-1:], after])
    assert len(matching(svg, times[35:].astype("datetime64[m]").astype(float), joined)) == 2


def test_a_forecast_of_what_nobody_knows_yet(tmp_path, draw):
    forecast = Forecast(draw.normal(size=5), draw.normal(size=3), np.arange(5), np.arange(5, 8))
    svg, _ = draw_forecasts([forecast], tmp_path, "y")
    assert len(matching(svg, np.arange(5, 8), forecast.predicted)) == 1
    assert "interval" not in texts(svg)


def test_errors_by_horizon_and_coverage(tmp_path, draw):
    errors = {"gru": draw.random(6), "naive": draw.random(6)}
    coverage = draw.random(6)
    svg, _ = draw_horizon(errors, tmp_path, "RMSE", "1h", coverage, 0.9)
    for line in (*errors.values(), coverage):
        assert len(matching(svg, np.arange(6), line)) == 1
    assert {"gru", "naive", "RMSE", "wanted 90%", "steps ahead (1h)"} <= set(texts(svg))


def test_each_target_has_a_panel(tmp_path, draw):
    pairs = {f"y{i}": (draw.normal(size=50), draw.normal(size=50)) for i in range(4)}
    pairs["y0"][0][3] = math.nan
    svg, _ = draw_observed(pairs, tmp_path, {"y1": "R² 0.5"})
    said = texts(svg)
    assert {"y0", "y1: R² 0.5", "y2", "y3"} <= set(said)
    assert said.count("observed") == 4  # and no empty panel


def test_residuals_say_their_mean_and_deviation(tmp_path, draw):
    left = draw.normal(3, 2, 500)
    left[10] = math.nan
    svg, _ = draw_residuals(left, tmp_path, "OT")
    assert f"mean {np.nanmean(left):.3g}, deviation {np.nanstd(left):.3g}" in texts(svg)


def test_residuals_that_are_all_alike_or_unknown_are_drawn(tmp_path):
    assert draw_residuals(np.zeros(20), tmp_path, "y")[0].exists()
    assert draw_residuals(np.full(5, math.nan), tmp_path, "y")[0].exists()


def test_the_autocorrelation_of_a_walk_by_one_formula_and_another(draw):
    values = draw.normal(size=400).cumsum()
    centred = values - values.mean()
    spectrum = np.abs(np.fft.fft(centred, 1024)) ** 2
    wanted = np.fft.ifft(spectrum).real[1:21] / (centred**2).sum()
    np.testing.assert_allclose(autocorrelation([values], 20), wanted, atol=1e-10)


def test_the_autocorrelation_is_of_pairs_that_are_so_many_steps_apart_within_a_series(draw):
    chains = [draw.normal(size=30), draw.normal(size=12)]
    chains[0][[3, 4, 17]] = math.nan
    every = np.concatenate(chains)
    mean, total = np.nanmean(every), np.nansum((every - np.nanmean(every)) ** 2)
    for lag, found in enumerate(autocorrelation(chains, 8), 1):
        pairs = [
            (chain[t] - mean) * (chain[t + lag] - mean)
            for chain in chains
            for t in range(len(chain) - lag)
            if not math.isnan(chain[t] + chain[t + lag])
        ]
        assert found == pytest.approx(sum(pairs) / total, abs=1e-12)
    strided = np.full(20, math.nan)
    strided[::5] = [1.0, -1.0, 1.0, -1.0]
    assert np.isnan(autocorrelation([strided], 10)).tolist() == [lag not in (5, 10) for lag in range(1, 11)]


def test_the_band_is_of_the_residuals_that_the_autocorrelation_is_of(tmp_path, draw):
    """Of 900 residuals a hundred are one step ahead: 1.96 / √100, in the picture between the axes' own ticks."""
    one = draw.normal(size=100)
    svg, _ = draw_residuals(draw.normal(size=900), tmp_path, "OT", None, [one], 12, "one step")
    said = texts(svg)
    assert "autocorrelation, one step ahead (100 residuals)" in said
    assert "OT: residuals of all steps ahead" in said
    assert any(text.startswith("mean ") and text.endswith(" of all steps ahead") for text in said)
    stems = [line for line in polylines(svg) if line.shape == (2, 2) and line[0, 0] == line[1, 0]]
    assert len(stems) >= 24  # two seasons
    zero, tops = stems[0][0, 1], np.array([line[1, 1] for line in stems[-24:]])
    scale = (tops - zero) / -autocorrelation([one], 24)
    np.testing.assert_allclose(scale, scale[0], rtol=1e-3)
    flat = {round(line[0, 1], 3) for line in polylines(svg) if line.shape == (2, 2) and line[0, 1] == line[1, 1]}
    for sign in (-1, 1):
        assert min(abs(y - (zero - sign * 0.196 * scale[0])) for y in flat) < 1e-2


def test_a_confusion_matrix_has_the_counts_of_few_classes_and_shares_of_many(tmp_path):
    counts = np.array([[7, 3], [0, 5]])
    svg, _ = draw_confusion(counts, ["normal", "故障"], tmp_path, "test")
    said = texts(svg)
    assert {"7", "3", "5", "normal", "故障", "predicted", "true", "test"} <= set(said)
    many = np.eye(13, dtype=int) * 3
    many[0, 1] = 1
    svg, _ = draw_confusion(many, [str(i) for i in range(13)], tmp_path, "test")
    assert {"75", "25", "100", "test (numbers in %)"} <= set(texts(svg))
    empty = np.zeros((2, 2), dtype=int)  # a class without a case
    assert draw_confusion(empty, ["a", "b"], tmp_path, "t")[0].exists()
