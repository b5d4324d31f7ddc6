"""Recipes: written, read, and put beneath what the user chose."""

import dataclasses

import pytest

from gatewise.errors import UserError
from gatewise.training import TextSettings
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.recipe import read_recipe, under, write_recipe
from gatewise.training.settings import settings_from


@pytest.mark.parametrize(
    "settings",
    [
        TextSettings(lr=0.1 + 0.2, hidden=37, epochs=3, minutes=0.0, layer_norm=True),
        TextSettings(cell="lstm,gru", hidden="24,12", layers=2, minutes=0.5),
        TextSettings(minutes=1.0, epochs=7, optimizer="sgd"),
        TextSettings(engine="numpy", cell="gru-before", embedding=0, dropout=0.0, optimizer="sgd", train_tokens=100),
        FramesSettings(kernel=5, hidden=8),
    ],
)
def test_what_is_written_is_read(tmp_path, settings):
    path, task = tmp_path / "best.toml", "text" if isinstance(settings, TextSettings) else "frames"
    write_recipe(path, task, dataclasses.replace(settings, threads=2), "where it comes from")
    assert path.read_text().startswith("# where it comes from\n")
    found = read_recipe(path, task, type(settings))
    assert settings_from(type(settings), under(found, {})) == settings  # threads are the machine's
    assert "threads" not in found
    assert 0 not in [value for name, value in found.items() if name in ("minutes", "epochs")]


def test_what_is_chosen_comes_over_a_recipe():
    recipe = {"lr": 0.5, "epochs": 3, "layers": 2, "hidden": 64, "weight_decay": 0.2}
    assert under(recipe, {}) == recipe
    assert under(recipe, {"lr": 0.1, "hidden": None}) == recipe | {"lr": 0.1}
    by_time = under(recipe, {"minutes": 2.0})
    assert settings_from(TextSettings, by_time).epochs == 0
    assert settings_from(TextSettings, by_time).minutes == 2
    stack = settings_from(TextSettings, under(recipe, {"hidden": "24,12,6"}))
    assert (stack.layers, stack.hidden) == (3, "24,12,6")
    assert "weight_decay" not in under(recipe, {"optimizer": "sgd"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task = ", "cannot be read"),
        ("lr = 0.1", "not a recipe"),
        ('format = 9\ntask = "text"\n[settings]', "newer gatewise"),
        ('format = 1\ntask = "frames"\n[settings]', "of the task 'frames', not of text"),
        ('format = 1\ntask = "text"\n[settings]\nlrr = 0.1', "did you mean 'lr'"),
        ('format = 1\ntask = "text"\n[settings]\nlr = -0.1', "best.toml: --lr -0.1"),
        ('format = 1\ntask = "text"\n[settings]\nlr = "fast"', "want a number"),
        ('format = 1\ntask = "text"\n[settings]\nepochs = 0', "needs a budget"),
    ],
)
def test_recipes_that_are_refused(tmp_path, text, message):
    path = tmp_path / "best.toml"
    path.write_text(text)
    with pytest.raises(UserError) as refused:
        read_recipe(path, "text", TextSettings)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


def test_no_such_recipe(tmp_path):
    with pytest.raises(UserError, match="no such file; `gatewise tune text"):
        read_recipe(tmp_path / "none.toml", "text", TextSettings)


def test_a_cell_of_the_users_own_is_not_asked_for_yet(tmp_path):
    """The file that registers it is run by the command."""
    path = tmp_path / "best.toml"
    path.write_text('format = 1\ntask = "text"\n[settings]\ncell = "of-mine"\n')
    assert read_recipe(path, "text", TextSettings) == {"cell": "of-mine"}
