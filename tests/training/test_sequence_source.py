"""What is held out tells nothing to what is learned: neither its scale nor its words."""

import numpy as np
import pytest

from gatewise.training import AutoencodeSettings
from gatewise.training.sequence_source import prepare_sequences
from gatewise.training.settings import settings_from

SERIES = settings_from(AutoencodeSettings, {"window": 8})
WORDS = settings_from(AutoencodeSettings, {"tokens": "word"})


def test_the_scale_of_series_is_that_of_what_is_learned():
    values = np.random.default_rng(0).normal(size=(200, 2))
    shifted = values.copy()
    shifted[180:] += 1000.0  # what is held out
    one, other = (prepare_sequences(some, SERIES).codec for some in (values, shifted))
    assert one == other
    assert one.mean == pytest.approx(values[:180].mean(0), abs=0.1)  # type: ignore[union-attr]


def test_a_word_of_what_is_held_out_is_unknown():
    text = "\n".join(["the king went home"] * 18 + ["the zebra went home"] * 2)
    prepared = prepare_sequences(text, WORDS)
    tokenizer = prepared.codec
    assert [tokenizer.decode(one).count("<unk>") for one in prepared.task.heldout] == [1, 1]  # type: ignore[arg-type]


def test_a_tokenizer_that_is_there_is_not_fitted_again(monkeypatch):
    text = "\n".join(["the king went home"] * 20)
    codec = prepare_sequences(text, WORDS).codec
    monkeypatch.setattr("gatewise.training.sequence_source.fit_tokenizer", None)
    assert prepare_sequences(text, WORDS, codec).codec is codec
