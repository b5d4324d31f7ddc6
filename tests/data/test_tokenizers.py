"""Tokenizers: nothing is lost, the vocabulary stands in order, senseless requests are refused."""

import builtins
import json
import time
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mixed_text import MIXED

from gatewise.data import KINDS, UNKNOWN, fit_tokenizer, python_reference, tokenizer_from_config
from gatewise.data.listed import WordTokenizer
from gatewise.data.utf8 import _stretches
from gatewise.errors import UserError

texts = st.text(st.characters(codec="utf-8"), min_size=1)
any_text = st.text(st.characters(), min_size=1)  # lone surrogates too


def visible_bytes():
    """GPT-2's own function, as published: byte -> letter."""
    bs = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    cs = bs[:]
    n = 0
    for b in range(256):
        if b not in bs:
            bs.append(b)
            cs.append(256 + n)
            n += 1
    return dict(zip(bs, map(chr, cs), strict=True))


# --- round trips ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_text_comes_back(kind):
    tokenizer = fit_tokenizer(kind, MIXED)
    ids = tokenizer.encode(MIXED)
    assert ids.dtype == torch.long
    assert ids.dim() == 1
    assert tokenizer.decode(ids) == MIXED
    assert tokenizer.decode(ids.tolist()) == MIXED
    assert tokenizer.unknown(MIXED) is None
    assert tokenizer.kind == kind
    assert tokenizer.size == len(tokenizer.tokens) > int(ids.max())


@given(texts)
def test_listed_kinds_lose_nothing(text):
    for kind in ("char", "word"):
        tokenizer = fit_tokenizer(kind, text)
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.unknown(text) is None


@given(text=texts)
def test_utf8_kinds_know_every_text(bpe, text):
    for tokenizer in (fit_tokenizer("byte", "x"), bpe):
        assert tokenizer.unk_id is None
        assert tokenizer.unknown(text) is None
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=texts)
def test_bytes_are_bytes(text):
    assert fit_tokenizer("byte", "x").encode(text).tolist() == list(text.encode())


@given(known=texts, text=any_text)
def test_char_encoding_against_a_dictionary(known, text):
    tokenizer = fit_tokenizer("char", known)
    numbers = {token: number for number, token in enumerate(tokenizer.tokens)}
    assert tokenizer.encode(text).tolist() == [numbers.get(char, 0) for char in text]


@pytest.mark.parametrize("kind", KINDS)
def test_empty_text_has_no_tokens(kind):
    tokenizer = fit_tokenizer(kind, "abc")
    ids = tokenizer.encode("")
    assert ids.shape == (0,)
    assert ids.dtype == torch.long
    assert tokenizer.decode(ids) == ""
    assert tokenizer.unknown("") is None


# --- vocabulary -----------------------------------------------------------------------------------


@given(texts)
def test_order_of_the_vocabulary(text):
    expected = [UNKNOWN] + [char for char, _ in Counter(text).most_common()]
    tokenizer = fit_tokenizer("char", text)
    assert list(tokenizer.tokens) == expected
    assert tokenizer.unk_id == 0
    words = WordTokenizer.split(text)
    counts, first = Counter(words), {word: words.index(word) for word in words}
    by_hand = sorted(counts, key=lambda word: (-counts[word], first[word]))
    assert list(fit_tokenizer("word", text).tokens) == [UNKNOWN, *by_hand]


def test_size_and_frequency_limit_the_vocabulary():
    text = "aaaa bbb cc d"
    assert fit_tokenizer("char", text, vocabulary_size=3).tokens == (UNKNOWN, "a", " ")
    assert fit_tokenizer("char", text, vocabulary_size=999).size == 6
    assert fit_tokenizer("char", text, min_frequency=3).tokens == (UNKNOWN, "a", " ", "b")
    limited = fit_tokenizer("word", "x y x y z", min_frequency=2, vocabulary_size=3)
    assert limited.tokens == (UNKNOWN, " ", "x")
    assert limited.decode(limited.encode("x y")) == "x <unk>"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("don't — 'quoted' rock'n'roll", ["don't", " ", "—", " ", "'", "quoted", "'", " ", "rock'n'roll"]),
        ("a  b\n\n c", ["a", "  ", "b", "\n\n ", "c"]),
        ("wait...", ["wait", ".", ".", "."]),
        ("时间旅行者x9说", ["时", "间", "旅", "行", "者", "x9", "说"]),
        ("カタカナ한국어 人々", ["カ", "タ", "カ", "ナ", "한국어", " ", "人", "々"]),
        ("<unk>", ["<", "unk", ">"]),
        ("𠀀𠀁", ["𠀀", "𠀁"]),
        ("snake_case über", ["snake_case", " ", "über"]),
    ],
)
def test_words(text, pieces):
    assert WordTokenizer.split(text) == pieces


@given(any_text)
def test_words_joined_are_the_text(text):
    assert "".join(WordTokenizer.split(text)) == text


def test_unknown_pieces():
    char, word = fit_tokenizer("char", "the cat"), fit_tokenizer("word", "the cat's hat")
    assert char.unknown("the chat, the cat") == (8, ",")
    assert char.unknown("tea时") == (3, "时")
    assert char.encode("tx🕰").tolist() == [1, 0, 0]
    assert char.decode([1, 0]) == "t<unk>"
    assert word.unknown("hat the dog hat bird") == (8, "dog")
    assert word.unknown("the cat") == (4, "cat")
    assert word.encode("the cat")[-1] == word.unk_id


@pytest.mark.parametrize("kind", KINDS)
def test_lone_surrogates_are_unknown_and_harmless(kind):
    tokenizer = fit_tokenizer(kind, "abc\ud800 abc")
    assert tokenizer.unknown("abc\ud800abc \udfff") == (3, "\ud800")
    shown = tokenizer.decode(tokenizer.encode("abc\udc80abc"))
    assert shown.encode()
    assert ("\ufffd" if tokenizer.unk_id is None else UNKNOWN) in shown
    json.dumps(tokenizer.to_config(), ensure_ascii=False).encode()


def test_visible_letters_are_gpt2s(bpe):
    letters = visible_bytes()
    assert fit_tokenizer("byte", "x").tokens == tuple(letters[byte] for byte in range(256))
    assert "Ġthe" in bpe.tokens
    assert bpe.size == 320


def test_bpe_agrees_with_the_library(bpe):
    import tokenizers

    library = tokenizers.Tokenizer.from_str(bpe.to_config()["tokenizer"])
    long = (python_reference()[:90_000] + MIXED + "\n\n\n  x\n\ty\n" + "一行\n二行\n" * 9_000 + "\n ").replace(
        "a", "\u00e4"
    )
    assert bpe.encode(long).tolist() == library.encode(long).ids  # cut into stretches, and yet the same
    assert bpe.decode(bpe.encode(long)) == library.decode(bpe.encode(long).tolist()) == long


@given(text=st.text("a1_!' \n\t\u3000\x1c\u0301时é"), least=st.integers(1, 4))
def test_stretches_end_where_words_do(text, least):
    from tokenizers.pre_tokenizers import ByteLevel

    def words(part):
        return [word for word, _ in ByteLevel(add_prefix_space=False).pre_tokenize_str(part)]

    stretches = list(_stretches(text, least))
    assert "".join(stretches) == text
    assert [word for stretch in stretches for word in words(stretch)] == words(text)


def test_bpe_is_the_same_every_time():
    text = python_reference()[:100_000]
    first, again = (fit_tokenizer("bpe", text, vocabulary_size=400) for _ in range(2))
    assert first.to_config() == again.to_config()
    assert len(first.encode(text)) < len(text) / 1.5
    assert fit_tokenizer("bpe", text).size == 1024


def test_characters_are_fast():
    text = (python_reference() * 3)[:1_000_000]
    tokenizer = fit_tokenizer("char", text + "时🕰")
    tokenizer.encode(text)
    start = time.perf_counter()
    tokenizer.encode(text)
    assert time.perf_counter() - start < 0.3


# --- streaming ------------------------------------------------------------------------------------


def streamed(tokenizer, ids):
    decoder = tokenizer.decoder()
    return [decoder.push(number) for number in ids] + [decoder.finish()]


@given(st.binary(max_size=40))
def test_any_bytes_stream_like_python_decodes(data):
    tokenizer = fit_tokenizer("byte", "x")
    assert "".join(streamed(tokenizer, data)) == data.decode("utf-8", "replace") == tokenizer.decode(data)


@given(data=st.data())
def test_bpe_tokens_stream_like_python_decodes(bpe, data):
    ids = data.draw(st.lists(st.integers(0, bpe.size - 1), max_size=30))
    of_letter = {letter: byte for byte, letter in visible_bytes().items()}
    spelled = bytes(of_letter[letter] for number in ids for letter in bpe.tokens[number])
    assert "".join(streamed(bpe, ids)) == spelled.decode("utf-8", "replace") == bpe.decode(ids)


@given(data=st.data())
def test_listed_tokens_stream(data):
    for kind in ("char", "word"):
        tokenizer = fit_tokenizer(kind, MIXED)
        ids = data.draw(st.lists(st.integers(0, tokenizer.size - 1), max_size=30))
        pieces = [tokenizer.tokens[number] for number in ids]
        assert streamed(tokenizer, ids) == [*pieces, ""]
        assert tokenizer.decode(torch.tensor(ids, dtype=torch.long)) == "".join(pieces)


def test_a_character_appears_when_it_is_complete():
    tokenizer = fit_tokenizer("byte", "x")
    assert streamed(tokenizer, "a🕰b".encode()) == ["a", "", "", "", "🕰", "b", ""]
    assert streamed(tokenizer, "时".encode()[:2]) == ["", "", "\ufffd"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [-1, 100_000])
def test_numbers_outside_the_vocabulary(kind, number):
    tokenizer = fit_tokenizer(kind, "abc")
    with pytest.raises(UserError, match=f"token {number} is outside the vocabulary of {tokenizer.size}"):
        tokenizer.decode([number])


# --- mistakes -------------------------------------------------------------------------------------


def test_unknown_kind_names_the_nearest():
    with pytest.raises(UserError, match=r"'chars': did you mean 'char'\?"):
        fit_tokenizer("chars", "text")
    with pytest.raises(UserError, match=r"'zzz': known: char, word, byte, bpe"):
        tokenizer_from_config({"kind": "zzz"})


@pytest.mark.parametrize(
    ("kind", "text", "options", "message"),
    [
        ("char", "", {}, "text is empty"),
        ("bpe", "", {}, "text is empty"),
        ("char", "abc", {"min_frequency": 0}, "minimum frequency of a token is 0: give 1 or more"),
        ("word", "a b c", {"min_frequency": 9}, "no word occurs 9 times.*lower the minimum"),
        ("char", "abc", {"vocabulary_size": 1}, "give 2 or more"),
        ("word", "abc", {"vocabulary_size": -5}, "give 2 or more"),
        ("byte", "abc", {"vocabulary_size": 100}, "always the 256 bytes"),
        ("byte", "abc", {"min_frequency": 2}, "always the 256 bytes"),
        ("bpe", "abc", {"vocabulary_size": 255}, "give 256 or more"),
    ],
)
def test_senseless_requests(kind, text, options, message):
    with pytest.raises(UserError, match=message):
        fit_tokenizer(kind, text, **options)


def test_bpe_without_its_extra(bpe, monkeypatch):
    config = bpe.to_config()
    original = builtins.__import__

    def without_extra(name, *rest):
        if name == "tokenizers":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_extra)
    for make in (lambda: fit_tokenizer("bpe", "text"), lambda: tokenizer_from_config(config)):
        with pytest.raises(UserError, match=r"pip install tokenizers"):
            make()
    assert fit_tokenizer("char", "text").size == 4
