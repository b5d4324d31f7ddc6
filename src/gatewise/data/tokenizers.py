r"""Text to whole numbers and back: characters, words, bytes, and byte-level BPE.

There are two families. Characters and words are *listed*: a text is split into pieces, a list gives each its
number, and a piece outside the list becomes ``<unk>``. Bytes and BPE spell a text in UTF-8: they know every
text, have no ``<unk>``, and a character may span several tokens, which is why decoding a stream needs a
`Decoder`.
"""

import codecs
import difflib
import itertools
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from gatewise.errors import UserError

UNKNOWN = "<unk>"
DEFAULT_BPE_SIZE = 1024

# Half of a UTF-16 pair is no character and has no UTF-8. A file cannot hold one, a command line can.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Decoder(ABC):
    """Turns tokens to text one at a time, for a stream; the pieces joined are what `Tokenizer.decode` gives.

    >>> decoder = fit_tokenizer("byte", "any").decoder()
    >>> [decoder.push(byte) for byte in "né".encode()], decoder.finish()
    (['n', '', 'é'], '')
    """

    @abstractmethod
    def push(self, token_id: int) -> str:
        """The text that this token completes: empty while a character is still unfinished."""

    @abstractmethod
    def finish(self) -> str:
        """What is left at the end of the stream: U+FFFD for a character never finished, else nothing."""


class Tokenizer(ABC):
    """A vocabulary and the two ways through it. Made by `fit_tokenizer` or `tokenizer_from_config`.

    Attributes:
        kind: ``"char"``, ``"word"``, ``"byte"`` or ``"bpe"``.
        tokens: the vocabulary; a token's number is its position. For bytes and BPE, in GPT-2's visible
            letters, one a byte (a blank is ``Ġ``).
        unk_id: the number of ``<unk>``, or None where every text is known.

    >>> tokenizer = fit_tokenizer("char", "banana")
    >>> tokenizer.tokens, tokenizer.size
    (('<unk>', 'a', 'n', 'b'), 4)
    >>> tokenizer.encode("nab!")
    tensor([2, 1, 3, 0])
    >>> tokenizer.decode([2, 1, 3, 0]), tokenizer.unknown("nab!")
    ('nab<unk>', (3, '!'))
    """

    kind: ClassVar[str]
    config_fields: ClassVar[tuple[str, ...]] = ()
    unk_id: int | None = None

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = tuple(tokens)

    @classmethod
    @abstractmethod
    def fit(cls, text: str, vocabulary_size: int | None, min_frequency: int) -> Self:
        """The tokenizer of this kind for ``text``; see `fit_tokenizer`."""

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The inverse of `to_config`; see `tokenizer_from_config`."""

    @abstractmethod
    def to_config(self) -> dict[str, Any]:
        """Everything needed to build this tokenizer again, in JSON's types."""

    @abstractmethod
    def encode(self, text: str) -> Tensor:
        """The tokens of ``text``: a LongTensor of shape ``(N,)``."""

    @abstractmethod
    def unknown(self, text: str) -> tuple[int, str] | None:
        """Position and text of the first piece that `encode` cannot keep, or None if all is known."""

    @abstractmethod
    def decoder(self) -> Decoder:
        """A fresh `Decoder`, for text that is shown while it is generated."""

    @property
    def size(self) -> int:
        """How many tokens the vocabulary has."""
        return len(self.tokens)

    def decode(self, ids: Iterable[int] | Tensor) -> str:
        """The text of these tokens; bytes that are not UTF-8 become U+FFFD.

        Raises:
            UserError: a number outside the vocabulary.
        """
        decoder = self.decoder()
        numbers = ids.tolist() if isinstance(ids, Tensor) else ids
        return "".join(map(decoder.push, numbers)) + decoder.finish()

    def __repr__(self) -> str:
        return f"<{self.kind} tokenizer, {self.size} tokens>"


class _ListedTokenizer(Tokenizer):
    """Pieces of text numbered by a list, ``<unk>`` first, then by falling frequency."""

    config_fields = ("tokens",)
    unk_id = 0

    @staticmethod
    @abstractmethod
    def split(text: str) -> list[str]:
        """The pieces of a text; joined they are the text."""

    @classmethod
    def fit(cls, text: str, vocabulary_size: int | None, min_frequency: int) -> Self:
        if vocabulary_size is not None and vocabulary_size < 2:
            raise UserError(
                f"a vocabulary of {vocabulary_size} has no room for {UNKNOWN} and one {cls.kind}: give 2 or more"
            )
        counts = Counter(piece for piece in cls.split(text) if not _LONE_SURROGATE.search(piece))
        # most_common keeps the order of first appearance among equals.
        tokens = [UNKNOWN] + [piece for piece, count in counts.most_common() if count >= min_frequency]
        if len(tokens) == 1:
            raise UserError(f"no {cls.kind} occurs {min_frequency} times in the text: lower the minimum frequency")
        return cls(tokens[:vocabulary_size])

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        tokens = config["tokens"]
        if not isinstance(tokens, list | tuple) or not all(isinstance(token, str) for token in tokens):
            raise _malformed("'tokens' is not a list of strings")
        if len(tokens) < 2 or tokens[0] != UNKNOWN:
            raise _malformed(f"'tokens' is not a list that begins with {UNKNOWN} and goes on")
        if len(set(tokens)) < len(tokens):
            raise _malformed("'tokens' has a token twice")
        for token in tokens[1:]:
            if cls.split(token) != [token] or _LONE_SURROGATE.search(token):
                raise _malformed(f"'tokens' has {token[:40]!r}, which is not one {cls.kind}")
        return cls(tokens)

    def to_config(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokens": list(self.tokens)}

    @cached_property
    def _number_of(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str) -> Tensor:
        number_of = self._number_of
        return torch.tensor([number_of.get(piece, 0) for piece in self.split(text)], dtype=torch.long)

    def unknown(self, text: str) -> tuple[int, str] | None:
        position = 0
        for piece in self.split(text):
            if piece not in self._number_of:
                return position, piece
            position += len(piece)
        return None

    def decoder(self) -> Decoder:
        return _WholePieces(self.tokens)


class CharTokenizer(_ListedTokenizer):
    """One token a Unicode character (code point)."""

    kind = "char"

    @staticmethod
    def split(text: str) -> list[str]:
        return list(text)

    def encode(self, text: str) -> Tensor:
        table = self._number_of_code_point
        # Whatever lies beyond the largest known character shares the last entry, which is <unk>.
        within = np.minimum(_code_points(text), len(table) - 1)
        return torch.from_numpy(table[within])

    @cached_property
    def _number_of_code_point(self) -> np.ndarray:
        known = _code_points("".join(self.tokens[1:]))
        table = np.zeros(int(known.max()) + 2, dtype=np.int64)
        table[known] = np.arange(1, self.size)
        return table


class WordTokenizer(_ListedTokenizer):
    """One token a word, a run of whitespace, a punctuation mark, or a character of a script without spaces.

    Whitespace is kept, so nothing is lost; an apostrophe inside a word belongs to it. Chinese characters and
    Japanese kana stand alone, since no space says where a word ends.

    >>> WordTokenizer.split("Don't stop,\\n门 开了。")
    ["Don't", ' ', 'stop', ',', '\\n', '门', ' ', '开', '了', '。']
    """

    kind = "word"

    # Han with its extensions and iteration marks, hiragana, katakana (full and half width).
    _CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
    _PIECE = re.compile(rf"\s+|[^\W{_CJK}]+(?:['’][^\W{_CJK}]+)*|.", re.DOTALL)

    @staticmethod
    def split(text: str) -> list[str]:
        return WordTokenizer._PIECE.findall(text)


class _Utf8Tokenizer(Tokenizer):
    """Tokens that are strings of bytes, written in visible letters."""

    def unknown(self, text: str) -> tuple[int, str] | None:
        surrogate = _LONE_SURROGATE.search(text)
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
            raise _malformed("'tokenizer' is not the JSON of a BPE tokenizer") from None
        if not is_ours:
            raise _malformed("'tokenizer' is not a byte-level BPE without normaliser")
        if not numbers_in_order or any(type(number) is not int for number in numbers.values()):
            raise _malformed("'tokenizer' does not number its vocabulary 0, 1, 2, ...")
        if not set(_LETTERS) <= set(numbers) or letters_in_vocabulary != set(_LETTERS):
            raise _malformed("'tokenizer' is not made of the 256 bytes")
        _bpe_library()  # so that a missing library is not taken for a malformed file
        try:
            return cls(numbers, merges)
        except Exception as error:  # the library raises nothing more precise
            raise _malformed(f"'tokenizer' is refused by the tokenizers library ({error})") from None

    def to_config(self) -> dict[str, Any]:
        return {"kind": self.kind, "tokenizer": self._library_tokenizer.to_str()}

    def encode(self, text: str) -> Tensor:
        ids: list[int] = []
        stretches = _stretches(_well_formed(text))
        while group := list(itertools.islice(stretches, 64)):
            for encoding in self._library_tokenizer.encode_batch_fast(group):
                ids += encoding.ids
        return torch.tensor(ids, dtype=torch.long)


_TOKENIZERS: dict[str, type[Tokenizer]] = {
    tokenizer.kind: tokenizer for tokenizer in (CharTokenizer, WordTokenizer, ByteTokenizer, BPETokenizer)
}
KINDS = tuple(_TOKENIZERS)


def fit_tokenizer(kind: str, text: str, *, vocabulary_size: int | None = None, min_frequency: int = 1) -> Tokenizer:
    """The tokenizer of a kind whose vocabulary comes from ``text``.

    Args:
        kind: ``"char"``, ``"word"``, ``"byte"`` or ``"bpe"`` (needs the extra ``gatewise[bpe]``).
        text: what to learn the vocabulary from. Characters and words stand by falling frequency behind
            ``<unk>``, equals in the order of their first appearance.
        vocabulary_size: at most so many tokens, ``<unk>`` included. Default: all characters or words, 1024
            for BPE.
        min_frequency: characters and words that occur less often become ``<unk>``; for BPE, pairs stay apart.

    Raises:
        UserError: unknown kind, empty text, a size or frequency that makes no sense, or a missing extra.

    >>> fit_tokenizer("word", "to be, or not to be", vocabulary_size=4).tokens
    ('<unk>', ' ', 'to', 'be')
    """
    tokenizer = _class_of(kind)
    if not text:
        raise UserError(f"the text is empty: a {kind} vocabulary needs a text to come from")
    if min_frequency < 1:
        raise UserError(f"the minimum frequency of a token is {min_frequency}: give 1 or more")
    return tokenizer.fit(text, vocabulary_size, min_frequency)


def tokenizer_from_config(config: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `Tokenizer.to_config` described; it is checked, nothing in it is executed.

    Raises:
        UserError: the description is malformed, of an unknown kind, or needs a missing extra.

    >>> tokenizer_from_config({"kind": "char", "tokens": ["<unk>", "b", "a"]}).decode([1, 2])
    'ba'
    """
    if not isinstance(config, Mapping) or not isinstance(config.get("kind"), str):
        raise _malformed("it is not a table with a 'kind'")
    tokenizer = _class_of(config["kind"])
    expected = {"kind", *tokenizer.config_fields}
    if set(config) != expected:
        raise _malformed(f"a {tokenizer.kind} tokenizer has {sorted(expected)}, this has {sorted(map(str, config))}")
    return tokenizer.from_config(config)


def _class_of(kind: str) -> type[Tokenizer]:
    if kind in _TOKENIZERS:
        return _TOKENIZERS[kind]
    near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.5)
    suggestion = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(f"unknown tokenizer {kind!r}: {suggestion}There are {', '.join(KINDS)}")


def _malformed(what: str) -> UserError:
    return UserError(
        f"malformed tokenizer configuration: {what}; restore the file that holds it, or train again to write a new one"
    )


class _WholePieces(Decoder):
    """Tokens that are text already."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self._tokens = tokens

    def push(self, token_id: int) -> str:
        _check_within(token_id, len(self._tokens))
        return self._tokens[token_id]

    def finish(self) -> str:
        return ""


class _Utf8Pieces(Decoder):
    """Tokens that are bytes: text comes out whenever a character is complete."""

    def __init__(self, bytes_of: list[bytes]) -> None:
        self._bytes_of = bytes_of
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        _check_within(token_id, len(self._bytes_of))
        return self._utf8.decode(self._bytes_of[token_id])

    def finish(self) -> str:
        return self._utf8.decode(b"", final=True)


def _check_within(token_id: int, size: int) -> None:
    if not 0 <= token_id < size:  # a negative number would silently count from the end
        raise UserError(
            f"token {token_id} is outside the vocabulary of {size} (0 to {size - 1}): "
            "decode with the tokenizer that the tokens come from"
        )


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _well_formed(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", text)


def _visible_letters() -> tuple[str, ...]:
    """GPT-2's letter for each byte: itself if visible in Latin-1, else the next free one from U+0100 on."""
    visible = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    free = itertools.count(0x100)
    return tuple(chr(byte if byte in visible else next(free)) for byte in range(256))


_LETTERS = _visible_letters()
_BYTE_OF_LETTER = {letter: byte for byte, letter in enumerate(_LETTERS)}


def _bpe_library() -> Any:
    """The `tokenizers` library, imported when it is needed: it is an extra."""
    try:
        import tokenizers
    except ImportError:
        raise UserError(
            'BPE needs the tokenizers library, which is not installed: pip install "gatewise[bpe]"'
        ) from None
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
