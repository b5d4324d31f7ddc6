"""The picture of a search: every trial, the best so far, a panel a setting."""

import itertools
import math

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gatewise.show import tuning
from gatewise.show.tuning import draw_search

VALUES = [3.0, 2.0, math.inf, 1.0, 2.5, 400.0]
PRUNED = [False, False, False, False, True, False]
LR = [1e-3, 1e-2, 1.0, 3e-2, 1e-4, 0.5]


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    figures: list[Figure] = []

    def save(figure, folder, name):
        figures.append(figure)
        return real(figure, folder, name)

    real = tuning.save_both
    monkeypatch.setattr(tuning, "save_both", save)
    paths = draw_search(
        range(1, 7), VALUES, PRUNED, {"lr": LR, "hidden": [8, 16, 32, 64, 8, 16]}, {"lr": "log", "hidden": "linear"},
        tmp_path, "a search",
    )  # fmt: skip
    return figures[0], paths


def test_files_are_there(drawn, tmp_path):
    assert drawn[1] == [tmp_path / "study.svg", tmp_path / "study.png"]
    assert "best so far" in (tmp_path / "study.svg").read_text()


def test_every_trial_is_a_point_and_the_best_so_far_goes_down(drawn):
    course, lr, hidden = drawn[0].axes
    points = sorted(tuple(p) for collection in course.collections for p in collection.get_offsets().tolist())
    assert [x for x, _ in points] == [1, 2, 3, 4, 5, 6]
    ys = dict(points)
    assert (ys[1], ys[2], ys[4], ys[5]) == (3.0, 2.0, 1.0, 2.5)
    assert ys[3] == ys[6] <= 10  # diverged, and too far off: at the upper edge
    (line,) = course.lines
    assert line.get_ydata().tolist() == [3.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    assert lr.get_xscale() == "log"
    assert hidden.get_xscale() == "linear"
    assert sorted(x for c in lr.collections for x, _ in c.get_offsets().tolist()) == sorted(LR)
    assert lr.lines[0].get_xydata().tolist() == [[0.03, 1.0]]  # the best is marked
    labels = {text.get_text() for text in course.get_legend().get_texts()}
    assert labels == {"complete", "pruned", "diverged", "off the picture", "best so far"}


@pytest.mark.parametrize(
    "tried", [[1.6e-4, 7e-3, 0.027], [2.8e-5, 8e-4, 0.08], [18, 30, 107], [0.004, 0.02, 0.1]], ids=str
)
def test_what_is_written_under_a_logarithmic_axis_does_not_overlap(tmp_path, monkeypatch, tried):
    figures: list[Figure] = []
    monkeypatch.setattr(tuning, "save_both", lambda figure, *_: figures.append(figure))
    draw_search([1, 2, 3], [3.0, 2.0, 1.0], [False] * 3, {"a": tried}, {"a": "log"}, tmp_path, "a search")
    FigureCanvasAgg(figures[0]).draw()
    axes = figures[0].axes[1]
    left, right = axes.get_xlim()
    shown = [label for label in axes.get_xticklabels() if left <= label.get_position()[0] <= right and label.get_text()]
    boxes = [label.get_window_extent() for label in shown]
    assert len(boxes) >= 2
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_where_nothing_came_to_a_value(tmp_path):
    for values in ([], [math.inf, math.inf]):
        n = len(values)
        draw_search(range(1, n + 1), values, [False] * n, {"lr": [0.1] * n}, {"lr": "log"}, tmp_path, "nothing")
    assert (tmp_path / "study.png").exists()
