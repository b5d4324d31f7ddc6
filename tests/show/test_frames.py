"""What the pictures of a frames run show: read back from the figure and the film."""

import numpy as np
import pytest
import torch
from PIL import Image

from gatewise.show import frames as shown
from gatewise.training.trained_frames import Examples


@pytest.fixture
def examples() -> Examples:
    """Two sequences of three given frames and two to come, 16 x 20 pixels, each frame of its own brightness."""

    def bright(first: float, count: int):
        numbers = first + torch.arange(count * 2).reshape(count, 2, 1, 1, 1) / 64
        return numbers.expand(-1, -1, 1, 16, 20)

    return Examples(bright(0.1, 3), bright(0.4, 2), bright(0.7, 2))


def test_each_row_shows_what_its_label_says(examples, tmp_path, monkeypatch):
    figures = []

    class Kept(shown.Figure):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            figures.append(self)

    monkeypatch.setattr(shown, "Figure", Kept)
    shown.draw_strip(examples, [tmp_path / "frames.png"], "a title")
    (figure,) = figures
    assert len(figure.axes) == 2
    for n, axes in enumerate(figure.axes):
        (image,) = axes.images
        sheet = np.asarray(image.get_array())[..., 0]
        rows = {
            "given": examples.given[:, n], "truth": examples.truth[:, n], "forecast": examples.predicted[:, n],
            "last frame again": examples.given[-1:, n].expand(2, -1, -1, -1),
        }  # fmt: skip
        assert [label.get_text() for label in axes.get_yticklabels()] == list(rows)
        for place, frames in zip(axes.get_yticks(), rows.values(), strict=True):
            middles = [1 + 10 + 21 * column for column in range(3)]
            expected = [*frames[:, 0, 0, 0].tolist(), *[1.0] * (3 - len(frames))]  # white where there is no frame
            np.testing.assert_allclose(sheet[round(place), middles], expected, atol=1e-6)
    assert (tmp_path / "frames.png").stat().st_size > 1000


def test_the_film_shows_truth_on_the_left_and_the_forecast_on_the_right(examples, tmp_path):
    shown.film(examples, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert getattr(film, "n_frames", 1) == 5
        for t, (left, right) in enumerate(
            [*zip(examples.given, examples.given, strict=True), *zip(examples.truth, examples.predicted, strict=True)]
        ):
            film.seek(t)
            sheet = np.asarray(film.convert("L")) / 255
            wide, high = 160, 128
            for n in range(2):
                y = 20 + n * (high + 8) + high // 2
                for side, x in ((left, 8 + wide // 2), (right, 16 + wide + wide // 2)):
                    assert abs(sheet[y, x] - side[n, 0, 0, 0].item()) < 0.01


@pytest.mark.parametrize(
    ("size", "drawn"),
    [((20, 16), (160, 128)), ((90, 30), (90, 30)), ((160, 10), (160, 10)), ((400, 300), (160, 120))],
)
def test_a_film_is_of_about_one_size_whatever_the_frames(size, drawn, tmp_path):
    width, height = size
    frames = torch.linspace(0, 1, width).expand(2, 1, height, width)
    shown.film_of(frames, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as film:
        assert film.size == drawn
        assert abs(np.asarray(film.convert("L")).mean() / 255 - 0.5) < 0.02
