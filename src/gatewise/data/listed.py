"""Characters and words: a text is split into pieces, and a list gives each its number."""

import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gatewise.data.tokenizer import LONE_SURROGATE, UNKNOWN, Decoder, Tokenizer, check_within, malformed
from gatewise.errors import UserError


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
                f"a vocabulary of {vocabulary_size} has no room for {UNKNOWN} and one {cls.kind}: "
                "give 2 or more (--vocabulary)"
            )
        counts = Counter(piece for piece in cls.split(text) if not LONE_SURROGATE.search(piece))
        # most_common keeps the order of first appearance among equals.
        tokens = [UNKNOWN] + [piece for piece, count in counts.most_common() if count >= min_frequency]
        if len(tokens) == 1:
            raise UserError(f"no {cls.kind} occurs {min_frequency} times in the text: lower the minimum frequency")
        return cls(tokens[:vocabulary_size])

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        tokens = config["tokens"]
        if not isinstance(tokens, list | tuple) or not all(isinstance(token, str) for token in tokens):
            raise malformed("'tokens' is not a list of strings")
        if len(tokens) < 2 or tokens[0] != UNKNOWN:
            raise malformed(f"'tokens' is not a list that begins with {UNKNOWN} and goes on")
        if len(set(tokens)) < len(tokens):
            raise malformed("'tokens' has a token twice")
        for token in tokens[1:]:
            if cls.split(token) != [token] or LONE_SURROGATE.search(token):
                raise malformed(f"'tokens' has {token[:40]!r}, which is not one {cls.kind}")
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


class _WholePieces(Decoder):
    """Tokens that are text already."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self._tokens = tokens

    def push(self, token_id: int) -> str:
        check_within(token_id, len(self._tokens))
        return self._tokens[token_id]

    def finish(self) -> str:
        return ""


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
