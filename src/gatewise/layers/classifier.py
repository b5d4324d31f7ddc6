"""Sequences in, classes out: recurrent layers, what they put out over time taken together, one product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.errors import UserError, nearest
from gatewise.layers.checks import check_lengths
from gatewise.layers.options import Options
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.shapes import depth

POOLINGS = ("last", "mean", "attention", "statistics")
"""How a sequence's outputs become one vector; see :class:`Pooling`."""


class Pooling(nn.Module):
    """The outputs h_1 ... h_T of a sequence as one vector; steps behind its end do not count.

    ``last``: h_T, of a second direction h_1, where it ends. ``mean``: Σ h_t / T. ``attention``: Σ a_t h_t with
    a = softmax(vᵀ tanh(W h_t + b)) (Bahdanau et al. 2015, arXiv:1409.0473, without a query). ``statistics``: mean and
    deviation side by side (Snyder et al. 2017), which tell a steady signal from one that swings about the same mean.

    Args:
        kind: one of :data:`POOLINGS`.
        size: features of the outputs, both directions together.
        bidirectional: whether the second half of them runs from the end.

    Shapes:
        ``pooling(outputs, lengths)``: (T, B, size), (B,) -> (B, pooling.output_size).

    Example:
        >>> import torch
        >>> pooling = Pooling("mean", 1)
        >>> pooling(torch.tensor([[[1.0], [1.0]], [[3.0], [9.0]]]), torch.tensor([2, 1])).tolist()
        [[2.0], [1.0]]
    """

    def __init__(self, kind: str, size: int, bidirectional: bool = False) -> None:
        super().__init__()
        if kind not in POOLINGS:
            raise UserError(f"pooling '{kind}': {nearest(kind, POOLINGS)}")
        self.kind, self.bidirectional = kind, bidirectional
        self.output_size = 2 * size if kind == "statistics" else size
        if kind == "attention":
            self.inner, self.score = nn.Linear(size, size), nn.Linear(size, 1, bias=False)

    def forward(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """One vector a sequence."""
        lengths = lengths.to(outputs.device)
        if self.kind == "last":
            last = outputs[lengths - 1, torch.arange(outputs.shape[1], device=outputs.device)]
            half = outputs.shape[-1] // 2
            return torch.cat([last[:, :half], outputs[0, :, half:]], -1) if self.bidirectional else last
        inside = (torch.arange(len(outputs), device=outputs.device)[:, None] < lengths).unsqueeze(-1)
        if self.kind == "attention":
            return (self.weights(outputs, lengths).unsqueeze(-1) * outputs).sum(0)
        steps = lengths.unsqueeze(-1)
        mean = torch.where(inside, outputs, 0.0).sum(0) / steps
        if self.kind == "mean":
            return mean
        variance = torch.where(inside, (outputs - mean) ** 2, 0.0).sum(0) / steps
        return torch.cat([mean, (variance + _LEAST_VARIANCE).sqrt()], -1)

    def weights(self, outputs: Tensor, lengths: Tensor) -> Tensor:
        """a, (T, B), of ``attention``: 0 behind a sequence's end."""
        scores = self.score(torch.tanh(self.inner(outputs))).squeeze(-1)
        inside = torch.arange(len(outputs), device=outputs.device)[:, None] < lengths.to(outputs.device)
        return scores.masked_fill(~inside, -torch.inf).softmax(0)


_LEAST_VARIANCE = 1e-5  # under the root, whose slope at 0 has no end


class SequenceClassifier(nn.Module):
    """The class of a sequence: logits = V dropout(pool(h_1 ... h_T)) + a, with h the outputs of recurrent layers.

    Several members are as many such networks side by side, which differ in the weights they begin with and in what is
    drawn while they are trained; the probability of a class is the mean of theirs (Lakshminarayanan et al. 2017,
    arXiv:1612.01474).

    Args:
        input_size: features of a step, d.
        classes: how many, C.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer, H; or a list, one a layer.
        num_layers: recurrent layers; by default as many as are listed, or 1.
        bidirectional: whether a second run goes from the end to the start.
        pooling: how the outputs become one vector, see :class:`Pooling`.
        members: networks side by side.
        dropout: between layers and before V, while training.
        channel_dropout: probability that an input is 0 for all of a sequence, the others 1 / (1 − p) as large, while
            training: no class can then rest on one channel alone (Tompson et al. 2015, arXiv:1411.4280).
        input_noise: deviation of what is added to every input while training: N(0, input_noise²) (Bishop 1995).
        options: of the recurrent layers, as :class:`gatewise.Recurrent` has them.

    Shapes:
        ``model(x, lengths)``: (T, B, d), (B,) whole numbers in 1..T -> logits (B, C), of several members the logarithms
        of their mean probabilities; ``model.each(x, lengths)``: a list of each member's logits.

    Raises:
        UserError: fewer than two classes, no member, a pooling that does not exist, bad lengths.

    Example:
        >>> import torch
        >>> model = SequenceClassifier(12, 9, "gru", hidden_size=16, bidirectional=True, pooling="attention", members=2)
        >>> model(torch.zeros(29, 4, 12), torch.tensor([29, 7, 13, 20])).shape
        torch.Size([4, 9])
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        cell: CellLike | Sequence[CellLike] = "gru",
        hidden_size: int | Sequence[int] = 64,
        num_layers: int | None = None,
        bidirectional: bool = False,
        pooling: str = "last",
        members: int = 1,
        dropout: float = 0.0,
        channel_dropout: float = 0.0,
        input_noise: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        for name, value, least in (("classes", classes, 2), ("members", members, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"{name}: want a whole number of at least {least}, got {value!r}")
        count = depth(cell, hidden_size, num_layers)
        between = dropout if count > 1 else 0.0

        def member() -> _Member:
            layers = Recurrent(
                cell, input_size, hidden_size, count, bidirectional=bidirectional, dropout=between, **options
            )
            return _Member(layers, Pooling(pooling, layers.output_size, bidirectional), dropout, classes)

        self.members = nn.ModuleList(member() for _ in range(members))
        self.channel_dropout, self.input_noise = nn.Dropout(channel_dropout), input_noise

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Logits."""
        found = self.each(x, lengths)
        if len(found) == 1:
            return found[0]
        return torch.stack([logits.log_softmax(-1) for logits in found]).logsumexp(0) - math.log(len(found))

    def each(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        """The logits of each member, (B, C)."""
        lengths = check_lengths(lengths, *x.shape[:2])
        return [member(self._disturbed(x), lengths) for member in self.members]

    def _disturbed(self, x: Tensor) -> Tensor:
        """What a member is trained on."""
        if self.training and self.channel_dropout.p:
            x = x * self.channel_dropout(x.new_ones(1, *x.shape[1:]))
        if self.training and self.input_noise:
            x = x + self.input_noise * torch.randn_like(x)
        return x


class _Member(nn.Module):
    """One network of a classifier."""

    def __init__(self, layers: Recurrent, pooling: Pooling, dropout: float, classes: int) -> None:
        super().__init__()
        self.layers, self.pooling, self.dropout = layers, pooling, nn.Dropout(dropout)
        self.head = nn.Linear(pooling.output_size, classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        even = bool((lengths == len(x)).all())
        outputs, _ = self.layers(x, lengths=None if even else lengths)
        return self.head(self.dropout(self.pooling(outputs, lengths)))
