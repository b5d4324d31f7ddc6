"""Bytes and byte-level BPE: a text is spelled in UTF-8, so every text is known."""

import codecs
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gatewise.data.tokenizer import LONE_SURROGATE, Decoder, Tokenizer, check_within, malformed
from gatewise.errors import UserError

DEFAULT_BPE_SIZE = 1024


def _visible_letters() -> tuple[str, ...]:
    """GPT-2's letter for each byte: itself if visible in Latin-1, else the next free one from U+0100 on."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    free = itertools.count(0x100)
    return tuple(chr(byte if byte in visible else next(free)) for byte in range(256))


_LETTERS = _visible_letters()
_BYTE_OF_LETTER = {letter: byte for byte, letter in enumerate(_LETTERS)}


class _Utf8Tokenizer(Tokenizer):
    """Tokens that are strings of bytes, written in visible letters."""

    def unknown(self, text: str) -> tuple[int, str] | None:
        surrogate = LONE_SURROGATE.search(text)
        return (surrogate.start(), surrogate.group()) if surrogate else None

    def decoder(self) -> Decoder:
        return _Utf8Pieces(self._bytes_of)

    @cached_property
    def _bytes_of(self) -> list[bytes]:
        return [bytes(_BYTE_OF_LETTER[letter] for letter in token) for token in self.tokens]


class ByteTokenizer(_Utf8Tokenizer):
    """The 256 bytes of UTF-8: token and byte are the same number."""

    kind = "byte"

    def __init__(self) -> None:
        super().__init__(_LETTERS)

    @classmethod
    def fit(cls, text: str, vocabulary_size: int | None, min_frequency: int) -> Self:
        if vocabulary_size not in (None, len(_LETTERS)) or min_frequency != 1:
            raise UserError(
                "the byte vocabulary is always the 256 bytes: leave out vocabulary size and minimum "
                "frequency, or use 'bpe'"
            )
        return cls()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls()

    def to_config(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def encode(self, text: str) -> Tensor:
        return torch.from_numpy(np.frombuffer(_well_formed(text).encode(), dtype=np.uint8).astype(np.int64))


class BPETokenizer(_Utf8Tokenizer):
    """Byte-level byte-pair encoding (Sennrich 2016, Radford 2019), through the `tokenizers` library.

    It starts from the 256 bytes and joins the most frequent neighbours, again and again, until the vocabulary
    is full or no pair is left. The configuration holds the library's own JSON.
    """

    kind = "bpe"
    config_fields = ("tokenizer",)

    def __init__(self, numbers: dict[str, int], merges: list[tuple[str, str]]) -> None:
        super().__init__(sorted(numbers, key=numbers.__getitem__))
        self._library_tokenizer = _library_tokenizer(numbers, merges)

    @classmethod
    def fit(cls, text: str, vocabulary_size: int | None, min_frequency: int) -> Self:
        library = _bpe_library()
        size = DEFAULT_BPE_SIZE if vocabulary_size is None else vocabulary_size
        if size < len(_LETTERS):
            raise UserError(f"a BPE vocabulary of {size} cannot hold the 256 bytes it starts from: give 256 or more")
        trainer = library.trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=min_frequency,
            initial_alphabet=list(_LETTERS),
            special_tokens=[],
            show_progress=False,
        )
        blank = _library_tokenizer({}, [])
        blank.train_from_iterator(_stretches(_well_formed(text)), trainer)
        return cls.from_config({"tokenizer": blank.to_str()})

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        try:
            document = json.loads(config["tokenizer"])
            numbers, merges = (
                document["model"]["vocab"],
                [(left, right) for left, right in document["model"]["merges"]],
            )
            kind_of_model = document["model"]["type"]
            kind_of_words = document["pre_tokenizer"]["type"]
            is_ours = (kind_of_model, kind_of_words, document["normalizer"]) == ("BPE", "ByteLevel", None)
            numbers_in_order = sorted(numbers.values()) == list(range(len(numbers)))
            letters_in_vocabulary = set().union(*numbers)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise malformed("'tokenizer' is not the JSON of a BPE tokenizer") from None
        if not is_ours:
            raise malformed("'tokenizer' is not a byte-level BPE without normaliser")
        if not numbers_in_order or any(type(number) is not int for number in numbers.values()):
            raise malformed("'tokenizer' does not number its vocabulary 0, 1, 2, ...")
        if not set(_LETTERS) <= set(numbers) or letters_in_vocabulary != set(_LETTERS):
            raise malformed("'tokenizer' is not made of the 256 bytes")
        _bpe_library()  # so that a missing library is not taken for a malformed file
        try:
            return cls(numbers, merges)
        except Exception as error:  # the library raises nothing more precise
            raise malformed(f"'tokenizer' is refused by the tokenizers library ({error})") from None

    def to_config(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokenizer": self._library_tokenizer.to_str()}

    def encode(self, text: str) -> Tensor:
        ids: list[int] = []
        stretches = _stretches(_well_formed(text))
        while group := list(itertools.islice(stretches, 64)):
            for encoding in self._library_tokenizer.encode_batch_fast(group):
                ids += encoding.ids
        return torch.tensor(ids, dtype=torch.long)


class _Utf8Pieces(Decoder):
    """Tokens that are bytes: text comes out whenever a character is complete."""

    def __init__(self, bytes_of: list[bytes]) -> None:
        self._bytes_of = bytes_of
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        check_within(token_id, len(self._bytes_of))
        return self._utf8.decode(self._bytes_of[token_id])

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


def _well_formed(text: str) -> str:
    return LONE_SURROGATE.sub("\ufffd", text)


def _bpe_library() -> Any:
    """The `tokenizers` library, imported when it is needed: it is an extra."""
    try:
        import tokenizers
    except ImportError:
        raise UserError("BPE needs the tokenizers library, which is not installed: pip install tokenizers") from None
    return tokenizers


def _library_tokenizer(numbers: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    library = _bpe_library()
    tokenizer = library.Tokenizer(library.models.BPE(vocab=numbers, merges=merges))
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    return tokenizer


_CUT = re.compile(r"\n(?=\w)")


def _stretches(text: str, least: int = 1 << 14) -> Iterator[str]:
    r"""The text in stretches, so that the library's 200 bytes of notes a character never exist all at once.

    A cut lies before a ``\n`` that a letter follows: byte-level BPE begins a word at such a ``\n`` anyway, so
    the tokens are those of the whole text.
    """
    start = 0
    while start < len(text):
        cut = _CUT.search(text, start + least)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end
