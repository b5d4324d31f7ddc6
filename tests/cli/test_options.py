"""Every setting is an option, and its help says what the settings say."""

import dataclasses
import re
import tomllib

import pytest

from gatewise.training import TRAININGS, TextSettings
from gatewise.training.settings import about


@pytest.mark.parametrize("task", TRAININGS)
def test_the_help_of_a_training_has_every_setting_with_its_default(gatewise_, monkeypatch, task):
    monkeypatch.setenv("COLUMNS", "200")
    answer = gatewise_("train", task, "--help")
    assert answer.code == 0
    page = re.sub(r"[│\s]+", " ", answer.out)
    for field in dataclasses.fields(TRAININGS[task].settings):
        option = f"--{field.name.replace('_', '-')}"
        rules = about(field)
        words = rules.default or (field.default if isinstance(field.default, str) else f"{field.default:g}")
        default = "" if type(field.default) is bool else f" (default: {words})"
        assert re.search(rf"{option} (STR |INT |FLOAT )?{re.escape(plain(rules.help + default))}\.", page), option


def test_the_help_names_whatever_a_setting_may_be():
    for task, training in TRAININGS.items():
        for field in dataclasses.fields(training.settings):
            rules = about(field)
            said = f"{rules.help} {rules.default}"
            missing = [choice for choice in rules.choices if choice != "auto" and f"`{choice}`" not in said]
            assert not missing, (task, field.name)


def plain(text: str) -> str:
    """As the page shows it."""
    return text.replace("`", "")


def test_what_is_given_arrives_and_nothing_else(gatewise_, tmp_path, text_file, small):
    run, noise = tmp_path / "run", ("--layer-norm", "--zoneout", 0.25)
    answer = gatewise_("train", "text", text_file, *small, "--epochs", 1, *noise, "--out", run)
    assert answer.code == 0, answer
    given = {"hidden": 12, "batch": 4, "steps": 8, "threads": 1, "lr": 0.01, "epochs": 1, "minutes": 0}
    wanted = dataclasses.asdict(TextSettings()) | given | {"zoneout": 0.25, "layer_norm": True}
    assert tomllib.loads((run / "config.toml").read_text())["settings"] == wanted
