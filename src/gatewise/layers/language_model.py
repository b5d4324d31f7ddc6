"""A language model: tokens in, scores for the next token out, any cell in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.errors import UserError
from gatewise.layers.options import Given, Options
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.shapes import INITIAL, depth

_SEES_THE_FUTURE = (
    "a language model reads in one direction: with bidirectional=True its second direction would see the tokens that "
    "are to be predicted; leave it out"
)


class LanguageModel(nn.Module):
    """Tokens -> embedding or one-hot -> recurrent layers -> dropout -> linear head.

    logits_t = V h_t + a, and P(next token = k | tokens up to t) = softmax(logits_t)_k.

    Args:
        vocabulary_size: number of tokens, V.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer, H; or a list, one a layer.
        num_layers: recurrent layers; by default as many as are listed, or 1.
        embedding_size: features of a learned embedding; 0 feeds the one-hot token, as the textbook does.
        dropout: on the embedding, between layers and before the head, while training.
        options: of the recurrent layers (zoneout, layer_norm, recurrent_dropout, weight_drop, residual,
            learned_state, engine, precision), as :class:`gatewise.Recurrent` has them.

    Raises:
        UserError: ``bidirectional=True``: it would see the tokens it is to predict.

    Shapes:
        ``model(tokens, state=None) -> (logits, state)``: tokens (T, B) whole numbers, logits (T, B, V), state as
        :class:`gatewise.Recurrent` returns it.

    Example:
        >>> import torch, gatewise
        >>> model = gatewise.LanguageModel(28, "gru", hidden_size=16)
        >>> logits, state = model(torch.zeros(5, 2, dtype=torch.long))
        >>> logits.shape, state.shape
        (torch.Size([5, 2, 28]), torch.Size([1, 2, 16]))
    """

    def __init__(
        self,
        vocabulary_size: int,
        cell: CellLike | Sequence[CellLike] = "gru",
        hidden_size: int | Sequence[int] = 256,
        num_layers: int | None = None,
        embedding_size: int = 0,
        dropout: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        if options.get("bidirectional"):
            raise UserError(_SEES_THE_FUTURE)
        Given.of(options)  # nothing else gets through to the layer
        layers = depth(cell, hidden_size, num_layers)
        self.vocabulary_size = vocabulary_size
        self.embedding = nn.Embedding(vocabulary_size, embedding_size) if embedding_size else None
        between = dropout if layers > 1 else 0.0
        self.recurrent = Recurrent(
            cell,
            embedding_size or vocabulary_size,
            hidden_size,
            layers,
            dropout=between,
            **options,
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.recurrent.output_size, vocabulary_size)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Scores for the token after each of ``tokens``, and the state to go on from."""
        if self.embedding is not None and self.training and self.dropout.p > 0:
            # Dropout differs from place to place, so that a token's projection cannot be shared by its places.
            output, state = self.recurrent(self.dropout(self.embedding(tokens)), state)
        else:
            rows = None if self.embedding is None else self.embedding.weight
            output, state = self.recurrent(tokens, state, embedding=rows)
        return self.head(self.dropout(output)), state


def detach(state: Any) -> Any:
    """The same state, cut off from the graph that computed it: truncated backpropagation through time."""
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.detach()
    return tuple(map(detach, state))


def initialise_like_the_book(model: LanguageModel) -> None:
    """Weights from N(0, 0.01), biases zero: the initialisation of *Dive into Deep Learning*, chapter 10."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "bias" in name or INITIAL in name:
                parameter.zero_()
            else:
                parameter.normal_(0.0, 0.01)
