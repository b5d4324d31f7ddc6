"""What every tokenizer is: text to whole numbers and back, whole or as a stream."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from torch import Tensor

from gatewise.errors import UserError

UNKNOWN = "<unk>"

# Half of a UTF-16 pair is no character and has no UTF-8. A file cannot hold one, a command line can.
LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Decoder(ABC):
    """Turns tokens to text one at a time, for a stream; the pieces joined are what `Tokenizer.decode` gives.

    >>> from gatewise.data import fit_tokenizer
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

    >>> from gatewise.data import fit_tokenizer
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


def malformed(what: str) -> UserError:
    return UserError(
        f"malformed tokenizer configuration: {what}; restore the file that holds it, or train again to write a new one"
    )


def check_within(token_id: int, size: int) -> None:
    if not 0 <= token_id < size:  # a negative number would silently count from the end
        raise UserError(
            f"token {token_id} is outside the vocabulary of {size} (0 to {size - 1}): "
            "decode with the tokenizer that the tokens come from"
        )
