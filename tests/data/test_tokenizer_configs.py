"""A tokenizer's description: it survives JSON, and a malformed or damaged one is refused."""

import json

import pytest
import torch
from mixed_text import MIXED

from gatewise.data import KINDS, fit_tokenizer, tokenizer_from_config
from gatewise.errors import UserError


@pytest.mark.parametrize("kind", KINDS)
def test_config_survives_json(kind):
    tokenizer = fit_tokenizer(kind, MIXED)
    again = tokenizer_from_config(json.loads(json.dumps(tokenizer.to_config())))
    assert type(again) is type(tokenizer)
    assert again.tokens == tokenizer.tokens
    assert again.to_config() == tokenizer.to_config()
    assert torch.equal(again.encode(MIXED), tokenizer.encode(MIXED))


@pytest.mark.parametrize(
    "config",
    [
        None,
        [],
        "char",
        {},
        {"kind": 3},
        {"kind": ["char"]},
        {"kind": "char"},
        {"kind": "char", "tokens": "abc"},
        {"kind": "char", "tokens": []},
        {"kind": "char", "tokens": ["<unk>"]},
        {"kind": "char", "tokens": ["a", "<unk>"]},
        {"kind": "char", "tokens": ["<unk>", "a", "a"]},
        {"kind": "char", "tokens": ["<unk>", "ab"]},
        {"kind": "char", "tokens": ["<unk>", ""]},
        {"kind": "char", "tokens": ["<unk>", "\ud800"]},
        {"kind": "char", "tokens": ["<unk>", 7]},
        {"kind": "char", "tokens": ["<unk>", "a"], "more": 1},
        {"kind": "char", "tokens": ["<unk>", "a"], 5: 1},
        {"kind": "word", "tokens": ["<unk>", "two words"]},
        {"kind": "word", "tokens": ["<unk>", "<unk>"]},
        {"kind": "byte", "tokens": []},
        {"kind": "bpe"},
        {"kind": "bpe", "tokenizer": None},
        {"kind": "bpe", "tokenizer": {}},
        {"kind": "bpe", "tokenizer": ""},
        {"kind": "bpe", "tokenizer": "[]"},
        {"kind": "bpe", "tokenizer": "{}"},
        {"kind": "bpe", "tokenizer": "[" * 100_000},
    ],
)
def test_malformed_config(config):
    with pytest.raises(UserError, match=r"malformed tokenizer configuration: .*; restore the file"):
        tokenizer_from_config(config)


def _second_number_twice(document):
    document["model"]["vocab"]["!"] = 1


def _float_number(document):
    document["model"]["vocab"]["!"] = 0.0


def _text_for_a_number(document):
    document["model"]["vocab"]["!"] = "0"


def _byte_missing(document):
    vocabulary = document["model"]["vocab"]
    vocabulary["!!"] = vocabulary.pop("!")


def _foreign_letter(document):
    vocabulary = document["model"]["vocab"]
    vocabulary["时"] = len(vocabulary)


def _merge_of_nothing(document):
    document["model"]["merges"].append(["zq", "zq"])


def _merge_of_three(document):
    document["model"]["merges"].append(["a", "b", "c"])


def _merge_of_numbers(document):
    document["model"]["merges"].append([1, 2])


def _normaliser(document):
    document["normalizer"] = {"type": "Lowercase"}


def _other_model(document):
    document["model"]["type"] = "WordPiece"


def _other_words(document):
    document["pre_tokenizer"] = {"type": "Whitespace"}


@pytest.mark.parametrize(
    "damage",
    [
        _second_number_twice,
        _float_number,
        _text_for_a_number,
        _byte_missing,
        _foreign_letter,
        _merge_of_nothing,
        _merge_of_three,
        _merge_of_numbers,
        _normaliser,
        _other_model,
        _other_words,
    ],
)
def test_damaged_bpe(bpe, damage):
    document = json.loads(bpe.to_config()["tokenizer"])
    damage(document)
    with pytest.raises(UserError, match=r"malformed tokenizer configuration: 'tokenizer'"):
        tokenizer_from_config({"kind": "bpe", "tokenizer": json.dumps(document)})
