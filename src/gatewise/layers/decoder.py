"""A decoder: from a latent, or from nothing, to a sequence, a step at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.layers.emission import Emission, Framed
from gatewise.layers.options import Options
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.stepping import evaluating


class SequenceDecoder(nn.Module):
    """p(x | z) = Π_t p(x_t | x_<t, z): a recurrent layer that hears the latent at its start and at every step.

    s_0 = tanh(A z + a) is the initial state (Bowman et al. 2015, arXiv:1511.06349), every state of every layer; the
    input of a step is [x_{t-1}; z], so that nothing of z is forgotten on a long way (Cho et al. 2014, arXiv:1406.1078,
    whose decoder hears its summary at every step); p(x_t | …) is what the emission makes of V h_t + b. With
    ``latent_size`` 0 it is an unconditional model of the same make.

    Args:
        emission: what a sequence is made of.
        cell: name, class or instance of a cell; or a list of them, one a layer.
        hidden_size: units of a layer; or a list, one a layer.
        latent_size: features of z, Z; 0 for none.
        num_layers: recurrent layers; by default as many as are listed, or 1.
        dropout: on what enters the layers and before the head, while training.
        options: of the recurrent layers, as :class:`gatewise.Recurrent` has them.

    Shapes:
        ``decoder(inputs, z) -> output``: inputs (T', B) or (T', B, d), z (B, Z) or None, output
        (T', B, emission.output_size).

    Example:
        >>> from gatewise.layers import TokenEmission
        >>> decoder = SequenceDecoder(TokenEmission(5, 3), "gru", 8, latent_size=2)
        >>> decoder(torch.tensor([[6, 6], [1, 4]]), torch.zeros(2, 2)).shape
        torch.Size([2, 2, 6])
    """

    def __init__(
        self,
        emission: Emission,
        cell: CellLike | Sequence[CellLike],
        hidden_size: int | Sequence[int],
        latent_size: int,
        num_layers: int | None = None,
        dropout: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        self.emission = emission
        self.latent_size = latent_size
        if latent_size:
            options["learned_state"] = False  # the latent says where a sequence starts
        self.recurrent = Recurrent(cell, emission.input_size + latent_size, hidden_size, num_layers, **options)
        self._sizes = [rows * size for _, rows, size in self.recurrent.layout.rows]
        self.initial = nn.Linear(latent_size, sum(self._sizes)) if latent_size else None
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.recurrent.output_size, emission.output_size)

    def initial_state(self, z: Tensor | None) -> Any:
        """tanh(A z + a), as the layer takes it; None, zero, without a latent."""
        if self.initial is None or z is None:
            return None
        parts = torch.tanh(self.initial(z)).split(self._sizes, -1)
        layout = self.recurrent.layout
        shaped = [
            part.view(-1, rows, size).transpose(0, 1).contiguous()
            for part, (_, rows, size) in zip(parts, layout.rows, strict=True)
        ]
        return layout.returned(tuple(shaped))

    def step(self, inputs: Tensor, z: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        """From inputs (T', B, ·) and a state to the output and the state after it."""
        x = self.dropout(self.emission.enter(inputs))
        if z is not None:
            x = torch.cat([x, z.expand(len(x), *z.shape)], -1)
        output, state = self.recurrent(x, state)
        return self.head(self.dropout(output)), state

    def forward(self, inputs: Tensor, z: Tensor | None = None) -> Tensor:
        return self.step(inputs, z, self.initial_state(z))[0]

    def log_likelihood(self, framed: Framed, z: Tensor | None = None, inputs: Tensor | None = None) -> Tensor:
        """log p(x | z), (B,) nats, with the true values before each step as its inputs (teacher forcing).

        Args:
            framed: the sequences.
            z: (B, Z).
            inputs: the inputs, where words were dropped from them.
        """
        output = self(framed.inputs if inputs is None else inputs, z)
        return framed.sum(self.emission.log_probability(output, framed.targets))

    def write(
        self,
        z: Tensor | None,
        most: int,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        count: int = 1,
    ) -> list[Tensor]:
        """Sequences of at most ``most`` steps, one for each row of z, or ``count`` where there is no latent."""
        state = self.initial_state(z)

        def step(values: Tensor) -> Tensor:
            nonlocal state
            output, state = self.step(values, z, state)
            return output[0]

        with torch.no_grad(), evaluating(self):
            start = self.emission.start(count if z is None else len(z), self.head.weight)
            return written(step, self.emission, start, most, temperature, generator)


def written(
    step: Callable[[Tensor], Tensor],
    emission: Emission,
    start: Tensor,
    most: int,
    temperature: float,
    generator: torch.Generator | None,
) -> list[Tensor]:
    """What ``step``, from the values just written (1, B, ·) to an output (B, ·), writes; each up to its end."""
    values, steps, batch = start, [], start.shape[1]
    ended = torch.zeros(batch, dtype=torch.bool)
    lengths = torch.zeros(batch, dtype=torch.long)
    for _ in range(most):
        chosen = emission.choose(step(values), temperature, generator)
        ended |= emission.ended(chosen)
        if bool(ended.all()):
            break
        lengths += ~ended
        steps.append(chosen)
        values = chosen.unsqueeze(0)
    if not steps:
        return [start[0, :0] for _ in range(batch)]
    whole = torch.stack(steps)
    return [whole[:length, row] for row, length in enumerate(lengths.tolist())]
