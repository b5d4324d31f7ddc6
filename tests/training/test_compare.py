"""Cells beside each other: equal sizes, equal budgets, runs that are not trained twice."""

import json
import math
import statistics
from dataclasses import replace

import pytest

from gatewise import LanguageModel
from gatewise.data import fit_tokenizer, read_text
from gatewise.errors import UserError
from gatewise.training import Source, Watch, text_settings
from gatewise.training.compare import Result, compare_text, parse, variants

SETTINGS = text_settings(hidden=12, batch=4, steps=8, threads=1, epochs=2, embedding=0)


@pytest.fixture
def source(text_file) -> Source:
    return Source(text_file)


def parameters(label: str, hidden: int, source: Source) -> int:
    assert source.path is not None
    text = read_text(source.path, "utf-8")
    size = fit_tokenizer("char", text[: len(text) - int(len(text) * 0.1)]).size
    return sum(p.numel() for p in LanguageModel(size, label, hidden).parameters())


def test_sizes_are_matched_as_nearly_as_whole_units_allow(source):
    first, *others = variants(["gru", "rnn", "lstm", "mgu"], source, SETTINGS, "params")
    assert first.settings.hidden == 12
    for variant in others:
        (hidden,) = variant.settings.sizes
        off = {h: abs(parameters(variant.label, h, source) - first.parameters) for h in range(1, 40)}
        assert off[hidden] == min(off.values())
        assert variant.parameters == parameters(variant.label, hidden, source)


def test_or_the_hidden_size_is(source):
    assert {v.settings.hidden for v in variants(["gru", "rnn", "gru:hidden=5"], source, SETTINGS, "hidden")} == {12, 5}


def pretend(costs):
    """A step that takes cost * hidden², and a list of what was asked for."""
    asked = []

    def ratio(first, other, task, vocabulary_size):
        asked.append((other.cell, other.hidden))
        one, two = (costs[s.cell] * s.sizes[0] ** 2 for s in (first, other))
        return two / one

    return ratio, asked


def test_or_the_time_of_a_step(source, tmp_path):
    ratio, asked = pretend({"gru": 4.0, "rnn": 1.0, "lstm": 16.0})
    said = []
    cells = ["gru", "rnn", "lstm", "rnn:hidden=5"]
    settings = replace(SETTINGS, hidden=120)
    found = variants(cells, source, settings, "time", tmp_path, said.append, ratio)
    sizes = [v.settings.sizes[0] for v in found]
    assert sizes[0] == 120
    assert sizes[1] == pytest.approx(240, rel=1 / 32)
    assert sizes[2] == pytest.approx(60, rel=1 / 32)
    assert sizes[3] == 5
    assert [v.step_ratio for v in found[:1]] == [None]
    assert found[1].step_ratio == pytest.approx(sizes[1] ** 2 / 240**2)
    assert said[0] == f"rnn: hidden {sizes[1]}: a training step takes {found[1].step_ratio:.2f} times as long as gru's"
    assert len(said) == 2
    assert len(set(asked)) == len(asked)  # nothing is measured twice
    assert not list(tmp_path.iterdir())


def test_sizes_found_by_time_are_measured_once(source, tmp_path, monkeypatch):
    """An interrupted comparison that measured again on another day would compare other models."""
    cells, settings = ["gru", "rnn"], replace(SETTINGS, epochs=1)
    ratio, _ = pretend({"gru": 4.0, "rnn": 1.0})
    contestants = variants(cells, source, settings, "time", tmp_path, ratio=ratio)
    with monkeypatch.context() as patch:
        patch.setattr("gatewise.training.compare.train_text", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            compare_text(source, contestants, 1, tmp_path, Watch())
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert [(e["label"], e["hidden"], e["losses"]) for e in written] == [
        ("gru", 12, []), ("rnn", contestants[1].settings.hidden, [])
    ]  # fmt: skip

    said = []
    slower, asked = pretend({"gru": 1.0, "rnn": 9.0})
    again = variants(cells, source, settings, "time", tmp_path, said.append, slower)
    assert again == contestants
    assert asked == []
    assert "as it was measured when this comparison began" in said[0]
    found = compare_text(source, again, 1, tmp_path, Watch())
    assert found[1].hidden == contestants[1].settings.hidden
    assert variants(cells, source, settings, "time", tmp_path, ratio=slower) == contestants
    other = variants(cells, source, replace(settings, hidden=60), "time", tmp_path, ratio=slower)
    assert other[1].settings.hidden == pytest.approx(20, rel=1 / 16)  # of another comparison: measured
    (tmp_path / "comparison.json").write_text("[{}]")
    with pytest.raises(UserError, match="is damaged"):
        variants(cells, source, settings, "time", tmp_path, ratio=slower)


def test_stacks_are_contestants(source):
    label, settings = parse("lstm+gru:hidden=8+6:learned-state", SETTINGS)
    assert label == "lstm+gru:hidden=8+6:learned-state"
    assert (settings.cells, settings.sizes, settings.layers, settings.learned_state) == (
        ("lstm", "gru"),
        (8, 6),
        2,
        True,
    )
    one, two = variants(["gru", "lstm+gru"], source, SETTINGS, "params")
    assert abs(two.parameters / one.parameters - 1) < 0.2


def test_a_variant_has_settings_of_its_own():
    label, settings = parse(" gru:zoneout=0.25:layer-norm:layers=2 ", SETTINGS)
    assert label == "gru:zoneout=0.25:layer-norm:layers=2"
    assert (settings.cell, settings.zoneout, settings.layer_norm, settings.layers) == ("gru", 0.25, True, 2)
    assert settings.hidden == SETTINGS.hidden


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["gru"], "want two different ones"),
        (["gru", "gru"], "want two different ones"),
        (["gru", "lstmm"], "did you mean 'lstm'"),
        (["gru", "lstm:zoneot=0.1"], "did you mean 'zoneout'"),
        (["gru", "lstm:zoneout=much"], "zoneout=much: want a number"),
        (["gru", "lstm:zoneout=2"], "--zoneout 2.0: want a share"),
    ],
)
def test_bad_cells(source, cells, message):
    with pytest.raises(UserError, match=message):
        variants(cells, source, SETTINGS, "hidden")


def test_figures_are_those_of_the_runs_and_nothing_is_trained_twice(source, tmp_path, monkeypatch):
    contestants = variants(["rnn", "gru:zoneout=0.1"], source, SETTINGS, "hidden")
    seen = []
    found = compare_text(source, contestants, 2, tmp_path, Watch(), lambda results: seen.append(len(results)))
    assert seen == [1, 2, 2, 2]
    for result, folder in zip(found, ("rnn", "gru_zoneout_0.1"), strict=True):
        losses = [
            json.loads((tmp_path / f"{folder}-seed{k}" / "summary.json").read_text())["heldout_loss"] for k in range(2)
        ]
        assert result.losses == losses
        assert losses[0] != losses[1]
        assert result.loss == pytest.approx(statistics.fmean(losses))
        assert result.spread == pytest.approx(abs(losses[0] - losses[1]) / math.sqrt(2))
    written = json.loads((tmp_path / "comparison.json").read_text())
    assert [one["losses"] for one in written] == [result.losses for result in found]

    monkeypatch.setattr("gatewise.training.compare.train_text", lambda *_: pytest.fail("trained again"))
    assert compare_text(source, contestants, 2, tmp_path, Watch()) == found
    other = variants(["rnn", "gru:zoneout=0.1"], source, replace(SETTINGS, hidden=13), "hidden")
    with pytest.raises(UserError, match="a run with other settings is there"):
        compare_text(source, other, 2, tmp_path, Watch())


def test_one_seed_has_no_spread():
    result = Result("gru", 3, 10, [1.0], [2.0])
    assert math.isnan(result.spread)
    assert result.to_dict()["spread"] is None


@pytest.mark.parametrize(("value", "wanted"), [("", True), ("=YES", True), ("=1", True), ("=no", False), ("=0", False)])
def test_yes_and_no(value, wanted):
    assert parse(f"gru:layers=2:residual{value}", SETTINGS)[1].residual is wanted


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("gru:layers=2:residual=ture", "residual=ture: want yes or no"),
        ("gru:layer-norm=2", "layer-norm=2: want yes or no"),
        ("gru:zoneout=much", "zoneout=much: want a number"),
        ("gru:recurrent-dropout-kind=semeniuta", "--recurrent-dropout-kind semeniuta: nothing is dropped"),
    ],
)
def test_what_would_silently_be_something_else_is_refused(label, message):
    with pytest.raises(UserError, match=message):
        parse(label, SETTINGS)
