"""Writing text with a language model, one token at a time by the carried state, and how much of it is copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewise.data import Tokenizer
from gatewise.errors import UserError
from gatewise.layers import LanguageModel


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen from P(k) = softmax(logits / temperature)_k.

    Attributes:
        temperature: below 1 sharpens, above 1 flattens; 0 is greedy.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: keep the smallest set of likeliest tokens with at least this probability together (nucleus sampling,
            Holtzman et al. 2020, arXiv:1904.09751); 1 keeps all.
        greedy: always the likeliest token.
        seed: of the drawing.

    Raises:
        UserError: a value outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    greedy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"--temperature {self.temperature}: want a number of at least 0")
        if self.top_k < 0:
            raise UserError(f"--top-k {self.top_k}: want a whole number of at least 0 (0 keeps all tokens)")
        if not 0 < self.top_p <= 1:
            raise UserError(f"--top-p {self.top_p}: want a number above 0 and at most 1")
        if abs(self.seed) >= 1 << 63:
            raise UserError(f"--seed {self.seed}: want a whole number below 2^63")


def choose(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """The next token for scores of shape (V,).

    Raises:
        UserError: a score is not a number: the model's training went astray.

    >>> choose(torch.tensor([0.0, 3.0, 1.0]), Sampling(greedy=True), torch.Generator())
    1
    """
    if logits.isnan().any():
        raise UserError("the model's scores are not numbers: its training went astray; train again with a lower --lr")
    if sampling.greedy or sampling.temperature == 0:
        return int(logits.argmax())
    # The largest becomes 0, which no temperature, however small, makes infinite.
    logits = (logits.double() - logits.max()) / sampling.temperature
    if 0 < sampling.top_k < len(logits):
        # A tie at the border must not let more than k through, so the k are taken by position.
        keep = logits.topk(sampling.top_k).indices
        logits = torch.full_like(logits, -torch.inf).scatter(0, keep, logits[keep])
    probabilities = logits.softmax(0)
    if sampling.top_p < 1:
        ordered, order = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(0) - ordered
        probabilities = probabilities.scatter(0, order[before >= sampling.top_p], 0.0)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def generate_tokens(
    model: LanguageModel, prompt: Tensor, length: int, sampling: Sampling, never: int | None = None
) -> Iterator[int]:
    """``length`` new tokens after the prompt; each costs one step, by the carried state.

    Args:
        model: the language model.
        prompt: (N,) tokens, N >= 1.
        length: how many tokens to write.
        sampling: how each is chosen.
        never: a token that is not written (``<unk>``).
    """
    generator = torch.Generator().manual_seed(sampling.seed)
    training = model.training
    model.eval()
    try:
        tokens, state = prompt, None
        for _ in range(length):
            with torch.inference_mode():
                logits, state = model(tokens.unsqueeze(1), state)
                scores = logits[-1, 0]
                if never is not None:
                    scores[never] = -torch.inf
                token = choose(scores, sampling, generator)
            yield token
            tokens = torch.tensor([token])
    finally:
        model.train(training)


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> Tensor:
    """The prompt's tokens.

    Raises:
        UserError: the prompt is empty, or has a character or word that the training text did not have.
    """
    unknown = tokenizer.unknown(prompt)
    if unknown is not None:
        position, piece = unknown
        raise UserError(
            f"--prompt, position {position}: {piece!r} does not occur in the text this model learned; leave it out"
        )
    ids = tokenizer.encode(prompt)
    if not len(ids):
        raise UserError("--prompt is empty: give at least one character to start from")
    return ids


def generate(
    model: LanguageModel, tokenizer: Tokenizer, prompt: str, length: int, sampling: Sampling | None = None
) -> Iterator[str]:
    """Write on from ``prompt``, piece by piece as it comes; the pieces together are ``length`` tokens of text.

    Example:
        >>> import gatewise
        >>> from gatewise.data import fit_tokenizer
        >>> tokenizer = fit_tokenizer("char", "to be or not to be")
        >>> model = gatewise.LanguageModel(tokenizer.size, "gru", hidden_size=8)
        >>> len("".join(generate(model, tokenizer, "to", length=12)))
        12
    """
    if length < 0:
        raise UserError(f"--length {length}: want a whole number of at least 0")
    tokens = generate_tokens(model, encode_prompt(tokenizer, prompt), length, sampling or Sampling(), tokenizer.unk_id)
    return _pieces(tokenizer, tokens)


def _pieces(tokenizer: Tokenizer, tokens: Iterator[int]) -> Iterator[str]:
    decoder = tokenizer.decoder()
    for token in tokens:
        piece = decoder.push(token)
        if piece:
            yield piece
    rest = decoder.finish()
    if rest:
        yield rest


def longest_copy(text: str, source: str) -> str:
    """The longest passage of ``text`` that stands word for word, character for character, in ``source``.

    >>> longest_copy("we saw the morlocks come", "as the morlocks came")
    ' the morlocks c'
    """
    best = ""
    for start in range(len(text)):
        while start + len(best) < len(text) and text[start : start + len(best) + 1] in source:
            best = text[start : start + len(best) + 1]
    return best
