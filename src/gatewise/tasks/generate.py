"""Writing text with a language model, one token at a time by the carried state, and how much of it is copied."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from gatewise.data import Tokenizer
from gatewise.engines.streaming import Manner, Stream
from gatewise.errors import UserError
from gatewise.layers import LanguageModel
from gatewise.layers.stepping import evaluating, route, start_of
from gatewise.tasks.sampling import ASTRAY, Sampling, choose

_FIRST_CHUNK, _LONGEST_CHUNK = 16, 4096  # tokens
_SECONDS_OF_A_CHUNK = 0.05


def generate_tokens(
    model: LanguageModel, prompt: Tensor, length: int, sampling: Sampling, never: int | None = None
) -> Iterator[int]:
    """``length`` new tokens after the prompt; each costs one step, by the carried state.

    Where the model's engine has a compiled loop, that runs: the same scores and seed give the same tokens either way.

    Args:
        model: the language model.
        prompt: (N,) tokens, N >= 1.
        length: how many tokens to write.
        sampling: how each is chosen.
        never: a token that is not written (``<unk>``).

    Raises:
        UserError: the prompt is empty, or no row of whole numbers; the model reads in both directions.
    """
    if prompt.dim() != 1 or not len(prompt) or prompt.is_floating_point():
        raise UserError(f"a prompt is one token or more, (N,) whole numbers, not {prompt.dtype} {tuple(prompt.shape)}")
    if model.recurrent.bidirectional:
        raise UserError(
            "a model with a bidirectional layer cannot write: its second direction starts at the end of a text that "
            "is not written yet; train one in one direction"
        )
    compiled = route(model).compiled
    if compiled is None:
        return _step_by_step(model, prompt, length, sampling, never)
    stream = compiled(1)
    stream.write(start_of(model, 1))
    return _in_chunks(stream, prompt, length, sampling, never)


def _step_by_step(
    model: LanguageModel, prompt: Tensor, length: int, sampling: Sampling, never: int | None
) -> Iterator[int]:
    """By the module's own call."""
    generator = torch.Generator().manual_seed(sampling.seed)
    tokens, state = prompt.to(model.head.weight.device), None
    for _ in range(length):
        with torch.inference_mode(), evaluating(model):
            logits, state = model(tokens.unsqueeze(1), state)
            scores = logits[-1, 0]
            if never is not None:
                scores[never] = -torch.inf
            token = choose(scores, sampling, generator)
        yield token
        tokens = tokens.new_tensor([token])


def _in_chunks(stream: Stream, prompt: Tensor, length: int, sampling: Sampling, never: int | None) -> Iterator[int]:
    """By the compiled loop, for a twentieth of a second at a time: so long at most is Ctrl-C not heard."""
    generator = torch.Generator().manual_seed(sampling.seed)
    manner = Manner(sampling.temperature, sampling.top_k, sampling.top_p, sampling.is_greedy, never)
    *beginning, given = prompt.long().contiguous().split(_LONGEST_CHUNK)
    for part in beginning:
        stream.generate(part, torch.empty(0, dtype=torch.float64), manner)
    chunk = _FIRST_CHUNK
    while length > 0:
        uniforms = torch.rand(min(chunk, length), dtype=torch.float64, generator=generator)
        start = time.perf_counter()
        tokens, sound = stream.generate(given, uniforms, manner)
        rate = len(uniforms) / max(time.perf_counter() - start, 1e-6)
        yield from tokens.tolist()
        if not sound:
            raise UserError(ASTRAY)
        length -= len(tokens)
        given = tokens[-1:]
        chunk = max(_FIRST_CHUNK, min(2 * chunk, int(rate * _SECONDS_OF_A_CHUNK), _LONGEST_CHUNK))


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
