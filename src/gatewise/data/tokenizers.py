r"""Text to whole numbers and back: characters, words, bytes, and byte-level BPE.

There are two families. Characters and words are *listed*: a text is split into pieces, a list gives each its
number, and a piece outside the list becomes ``<unk>``. Bytes and BPE spell a text in UTF-8: they know every
text, have no ``<unk>``, and a character may span several tokens, which is why decoding a stream needs a
`Decoder`.
"""

from collections.abc import Mapping
from typing import Any

from gatewise.data.listed import CharTokenizer, WordTokenizer
from gatewise.data.tokenizer import Tokenizer, malformed
from gatewise.data.utf8 import BPETokenizer, ByteTokenizer
from gatewise.errors import UserError, nearest

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
        raise malformed("it is not a table with a 'kind'")
    tokenizer = _class_of(config["kind"])
    expected = {"kind", *tokenizer.config_fields}
    if set(config) != expected:
        raise malformed(f"a {tokenizer.kind} tokenizer has {sorted(expected)}, this has {sorted(map(str, config))}")
    return tokenizer.from_config(config)


def _class_of(kind: str) -> type[Tokenizer]:
    if kind in _TOKENIZERS:
        return _TOKENIZERS[kind]
    raise UserError(f"no tokens are called {kind!r}: {nearest(kind, KINDS)}")
