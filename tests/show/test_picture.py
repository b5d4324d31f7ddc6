"""Pictures are written whole, in both kinds, and with the letters of any language for which there is a font."""

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from gatewise.show import picture
from gatewise.show.picture import save, save_both


def figure(title: str) -> Figure:
    made = Figure(figsize=(2, 1))
    made.add_subplot().set_title(title)
    return made


@pytest.fixture
def fresh():
    """As if no picture had been written in this process."""
    picture._families.cache_clear()
    picture._tell_of_fonts.cache_clear()
    yield
    picture._families.cache_clear()
    picture._tell_of_fonts.cache_clear()


def test_text_stays_text_and_a_picture_is_the_same_twice(tmp_path):
    first = save_both(figure("油温 $x_1"), tmp_path, "a")
    assert [path.name for path in first] == ["a.svg", "a.png"]
    assert "油温 $x_1" in first[0].read_text(encoding="utf-8")
    assert "<dc:date>" not in first[0].read_text()
    pixels = np.asarray(Image.open(first[1]))
    assert pixels.shape == (150, 300, 4)
    again = save_both(figure("油温 $x_1"), tmp_path, "b")
    assert np.array_equal(np.asarray(Image.open(again[1])), pixels)


def test_chinese_letters_are_drawn_where_there_is_a_font(tmp_path, fresh, capsys):
    if len(picture._families()) == 1:
        pytest.skip("no font with Chinese letters on this machine")
    oil, warm = (np.asarray(Image.open(save(figure(title), tmp_path / "a.png")[0])) for title in ("油", "温"))
    assert not np.array_equal(oil, warm)  # two boxes would look alike
    assert capsys.readouterr().err == ""


def test_without_such_a_font_one_line_says_so_once(tmp_path, fresh, capsys, monkeypatch):
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans"])
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    for name in "ab":
        save_both(figure("油温"), tmp_path, name)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Noto Sans CJK" in said
    save_both(figure("oil"), tmp_path, "c")
    assert capsys.readouterr().err == ""


def test_a_font_that_matplotlib_has_not_seen_yet_is_found(fresh, monkeypatch):
    added = []
    names = iter((["DejaVu Sans"], ["DejaVu Sans", "SimHei"]))
    monkeypatch.setattr(font_manager, "get_font_names", lambda: next(names))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["/fonts/simhei.ttf"])
    monkeypatch.setattr(font_manager.fontManager, "addfont", added.append)
    assert picture._families() == ["DejaVu Sans", "SimHei"]
    assert added == ["/fonts/simhei.ttf"]
