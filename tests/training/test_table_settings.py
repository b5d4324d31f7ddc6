"""The settings of trainings on tables: what is refused, and in whose words."""

import pytest

from gatewise import UserError
from gatewise.data import Choice
from gatewise.training.settings import settings_from
from gatewise.training.table_settings import TableSettings, names_in


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"missing": "interpolat"}, "--missing interpolat: did you mean 'interpolate'?"),
        ({"split": "0.7,0.2"}, "--split 0.7,0.2: want training, validation and test"),
        ({"split": "0.7,0.2,0.2"}, "--split 0.7,0.2,0.2: the shares add up to 1.1"),
        ({"pca": "2.5"}, "--pca 2.5: want a share"),
        ({"split": "0.8,0,0.2", "patience": 3}, "--patience 3: nothing is held out to look at; give --split a validat"),
        ({"heldout": 0.1}, "unknown setting"),
    ],
    ids=str,
)
def test_bad_settings_name_the_option(chosen, message):
    with pytest.raises(UserError) as caught:
        settings_from(TableSettings, chosen)
    assert str(caught.value).startswith(message)


def test_what_they_ask_of_a_table():
    settings = TableSettings(
        time="date", series="id", sort=True, resample="1h", pca="0.9", split="8640,2880,2880", patience=0
    )
    assert settings.choice(("a",)) == Choice("date", "id", ("a",), True, "1h")
    assert settings.components() == 0.9
    assert settings.parts().parts == (8640, 2880, 2880)
    assert TableSettings(split="0.8,0,0.2", patience=0).to_hold_out()


def test_names_in_an_option():
    assert names_in("") == ()
    assert names_in("温度, wind=NW") == ("温度", "wind=NW")
    with pytest.raises(UserError, match="--targets a,,b: a name is missing between two commas"):
        names_in("a,,b", "--targets")
    with pytest.raises(UserError, match="--inputs a,a: 'a' is named twice"):
        names_in("a,a")
