"""Ranges: what they are by default, how they are said, where a share of them lies."""

import math

import numpy as np
import pytest

from gatewise.errors import UserError
from gatewise.training import TextSettings
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.tune import Looked, Range
from gatewise.training.tune.ranges import parse


def ranges_for(settings, **said) -> list[Range]:
    return Looked.parsed(settings, **said).ranges(settings)


def test_shares_of_a_log_range_are_even_ratios_and_its_ends_are_reached():
    lr = Range("lr", 1e-4, 1e-1, log=True)
    assert [lr.at(share) for share in (0.0, 1 / 3, 2 / 3, 1.0)] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1], rel=1e-12)
    assert Range("dropout", 0.0, 0.5).at(0.3) == pytest.approx(0.15)


@pytest.mark.parametrize("log", [False, True])
def test_every_whole_number_has_its_stretch_of_the_scale(log):
    layers = Range("layers", 1, 4, whole=True, log=log)
    shares = (np.arange(20_000) + 0.5) / 20_000
    values, counts = np.unique([layers.at(share) for share in shares], return_counts=True)
    edges = np.array([0.5, 1.5, 2.5, 3.5, 4.5])
    widths = np.diff(np.log(edges) if log else edges)
    assert values.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(counts / 20_000, widths / widths.sum(), atol=1e-3)
    assert all(isinstance(layers.at(share), int) for share in (0.0, 0.5, 1.0))


def test_a_range_survives_its_configuration():
    wanted = Range("hidden", 16, 256, whole=True, log=True)
    assert Range.from_config(wanted.to_config()) == wanted


def test_default_ranges_lie_around_the_settings_and_leave_out_what_is_given():
    found = {r.name: r for r in ranges_for(TextSettings(hidden=64, steps=16), given=["dropout"])}
    assert list(found) == ["lr", "hidden", "layers", "weight_decay", "steps"]
    assert (found["hidden"].low, found["hidden"].high, found["hidden"].whole) == (16, 128, True)
    assert (found["steps"].low, found["steps"].high) == (4, 32)
    assert found["lr"].log
    assert (found["lr"].low, found["lr"].high) == (1e-4, 3e-2)


def test_what_settings_cannot_have_is_not_looked_for():
    sgd = [r.name for r in ranges_for(TextSettings(optimizer="sgd", lr=1.0))]
    assert "weight_decay" not in sgd
    stack = [r.name for r in ranges_for(TextSettings(cell="lstm,gru", layers=2))]
    assert "layers" not in stack
    by_hand = TextSettings(engine="numpy", cell="gru-before", embedding=0, dropout=0.0, optimizer="sgd")
    assert [r.name for r in ranges_for(by_hand)] == ["lr", "hidden", "steps"]
    assert "steps" not in [r.name for r in ranges_for(FramesSettings())]


def test_only_and_changed_ranges():
    settings = TextSettings()
    (lr, hidden) = ranges_for(settings, only="hidden,lr", changed=["lr=0.001:0.03"])
    assert (lr.name, lr.low, lr.high) == ("lr", 0.001, 0.03)
    assert hidden.name == "hidden"
    more = {r.name: r for r in ranges_for(settings, changed=["zoneout=0:0.3", "weight-decay=0:0.1"])}
    assert not more["zoneout"].log
    assert not more["weight_decay"].log  # nothing below 0 has a logarithm
    assert more["weight_decay"].high == 0.1
    assert [r.name for r in ranges_for(settings, only="zoneout")] == ["zoneout"]
    assert math.isclose(parse("lr=1e-3:1e-1:linear", settings).at(0.5), 0.0505)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("lrr=1:2", "did you mean 'lr'"),
        ("seed=0:5", "'seed' cannot be looked for"),
        ("minutes=1:5", "'minutes' cannot be looked for"),
        ("lr", "want NAME=LOW:HIGH"),
        ("lr=1:2:3", "want NAME=LOW:HIGH"),
        ("lr=2:1", "the smaller end first"),
        ("lr=2:2", "the smaller end first"),
        ("lr=a:2", "'a' is not a number"),
        ("lr=nan:2", "finite"),
        ("hidden=1.5:4", "'1.5' is not a whole number"),
        ("lr=0:1:log", "a log scale has no 0"),
        ("dropout=0:1", "want a share"),
        ("layers=0:3", "above 0"),
        ("hidden=1:99999999999", "too large"),
    ],
)
def test_ranges_that_are_refused(changed, message):
    with pytest.raises(UserError, match="--range") as refused:
        ranges_for(TextSettings(), changed=[changed])
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": "lr,hiden"}, "did you mean 'hidden'"),
        ({"only": "lr,lr"}, "said twice"),
        ({"changed": ["lr=1:2", "lr=1:3"]}, "said twice"),
        ({"changed": ["lr=1:2"], "only": "hidden"}, "not in --only"),
        ({"changed": ["lr=1:2"], "given": ["lr"]}, "a value and a range"),
        ({"only": "lr", "given": ["lr"]}, "a value and a range"),
        ({"given": ["lr", "hidden", "layers", "weight_decay", "dropout", "steps"]}, "nothing is left"),
    ],
)
def test_wishes_that_contradict_themselves(options, message):
    with pytest.raises(UserError, match=message):
        ranges_for(TextSettings(), **options)
