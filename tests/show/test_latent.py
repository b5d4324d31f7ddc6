"""The pictures of an autoencoder's run say what is in the figures."""

import re

import numpy as np
import pytest

from gatewise.show.curve import draw_curve
from gatewise.show.latent import draw_bound, draw_plane, draw_series


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_plane_of_latents_says_what_share_it_shows(tmp_path, size):
    draw = np.random.default_rng(0)
    means = draw.normal(size=(300, size)) * [10.0, 5.0, 3.0, 2.0, 1.0][:size]
    draw_plane(means, [int(n) for n in draw.integers(2, 30, 300)], tmp_path, "run $1: gru")
    variances = np.linalg.eigvalsh(np.atleast_2d(np.cov(means.T)))[::-1]
    wanted = variances[:2].sum() / variances.sum()
    assert (tmp_path / "latent.png").stat().st_size > 5000
    text = (tmp_path / "latent.svg").read_text()
    assert f"{wanted:.0%} of the variance" in text
    assert "run $1: gru" in text


def test_the_curve_shows_what_is_known(tmp_path):
    rows = [
        {"step": "1", "heldout_elbo": "-90.5", "heldout_reconstruction": "88", "heldout_kl": "2.5"},
        {"step": "2", "heldout_elbo": "-80.25", "heldout_reconstruction": "70", "heldout_kl": "nan"},
    ]
    draw_bound(rows, tmp_path, "run")
    labels = re.findall(r">([−\w.]+)</text>", (tmp_path / "curve.svg").read_text())
    assert {"80.2", "70.0", "2.5", "−ELBO", "KL"} <= set(labels)
    draw_bound([{"step": "1"}], tmp_path, "run")  # nothing was held out
    assert "−ELBO" not in (tmp_path / "curve.svg").read_text()


def test_a_bound_above_zero_is_drawn_below_it(tmp_path):
    rows = [
        {"step": str(step), "heldout_elbo": str(elbo), "heldout_reconstruction": str(-elbo - 3), "heldout_kl": "3"}
        for step, elbo in ((1, -20.0), (2, 40.5))
    ]
    draw_bound(rows, tmp_path, "run")
    labels = re.findall(r">([−\w.-]+)</text>", (tmp_path / "curve.svg").read_text())
    assert {"-40.5", "-43.5", "3.0"} <= set(labels)  # −ELBO, the reconstruction, the KL
    assert "−40" in labels  # the axis goes down to it
    rows[1] |= {"heldout_elbo": "-10", "heldout_reconstruction": "7"}
    draw_bound(rows, tmp_path, "run")
    assert not re.findall(r">([−-]\d[\w.]*)</text>", (tmp_path / "curve.svg").read_text())


def test_steps_are_whole_numbers(tmp_path):
    """Of a run of three steps matplotlib's own marks would be 1.00, 1.25, 1.50."""
    rows = [{"step": str(step), "heldout_elbo": "-9", "train_loss": "2", "heldout_loss": "1"} for step in (1, 2, 3)]
    for draw in (draw_bound, draw_curve):
        draw(rows, tmp_path, "run")
        along = (tmp_path / "curve.svg").read_text().partition('id="matplotlib.axis_2"')[0]
        assert re.findall(r">([\d.]+)</text>", along) == ["1", "2", "3"]


def test_series_and_pairs_are_drawn(tmp_path):
    one = np.sin(np.arange(20.0))[:, None]
    assert draw_series([one] * 20, tmp_path, "a", "samples") == [tmp_path / "a.svg", tmp_path / "a.png"]
    assert "samples, 12 of 20" in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "a.png").stat().st_size > 5000
    draw_series([np.stack([one, one + 1])] * 2, tmp_path, "b", "pairs")
    labels = re.findall(r">([^<]+)</text>", (tmp_path / "b.svg").read_text())
    assert [label for label in labels if label.startswith("series")] == ["series 1", "series 2"]
    assert "reconstruction" in (tmp_path / "b.svg").read_text()
    assert "reconstruction" not in (tmp_path / "a.svg").read_text()
