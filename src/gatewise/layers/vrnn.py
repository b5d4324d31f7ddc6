"""The variational recurrent network: a latent at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gatewise.cells import CellLike
from gatewise.layers.decoder import written
from gatewise.layers.emission import Emission, Framed
from gatewise.layers.evidence import Gaussian, divergence
from gatewise.layers.latent import Evidence, GaussianHead, LatentModel
from gatewise.layers.options import Options
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.stepping import evaluating


@dataclass(frozen=True)
class _Walk:
    """All steps of a batch, each stacked to (T', B, ·)."""

    prior: Gaussian
    posterior: Gaussian
    z: Tensor
    output: Tensor


class VRNN(LatentModel):
    """The variational recurrent network of Chung et al. 2015, arXiv:1506.02216: a latent at every step.

    With φ features, each a linear layer and a rectifier, and h_t the output of the topmost recurrent layer:

    - prior      p(z_t | x_<t, z_<t) = N(μ_p, σ_p²)(φ(h_{t-1}));
    - decoder    p(x_t | z_≤t, x_<t) = what the emission makes of V φ([φ_z(z_t); h_{t-1}]) + b;
    - encoder    q(z_t | x_≤t, z_<t) = N(μ_q, σ_q²)(φ([φ_x(x_t); h_{t-1}]));
    - recurrence h_t = f([φ_x(x_t); φ_z(z_t)], h_{t-1}), with f any cell.

    ELBO = E_q Σ_t (log p(x_t | z_≤t, x_<t) − KL(q(z_t | …) ‖ p(z_t | …))).

    The steps run in a Python loop: z_t is drawn from a network of h_{t-1} and enters the next step, so that a step is
    more than its cell, and an engine that runs a cell over time has nothing to run ahead of. What depends on no later
    step, φ_x before the loop, prior and decoder behind it, is computed for all steps at once.

    Args:
        hidden_size: as of :class:`LatentModel`; each φ has as many features as the topmost layer has units.
        latent_size: features of z_t, Z.
        dropout: on φ_x before the recurrence and on what the decoder is made from, while training.
        options: what is drawn once a call elsewhere (recurrent_dropout, weight_drop) is drawn once a step here.

    The other arguments, shapes and errors are those of :class:`LatentModel`.

    Example:
        >>> import torch
        >>> from gatewise.layers import VRNN, SeriesEmission
        >>> model = VRNN(SeriesEmission(3), "lstm", hidden_size=8, latent_size=2)
        >>> model.evidence(torch.zeros(7, 2, 3), torch.tensor([7, 3])).kl.shape
        torch.Size([2, 2])
    """

    def __init__(
        self,
        emission: Emission,
        cell: CellLike | Sequence[CellLike] = "gru",
        hidden_size: int | Sequence[int] = 256,
        latent_size: int = 16,
        num_layers: int | None = None,
        dropout: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(latent_size)
        self.emission = emission
        H = hidden_size if isinstance(hidden_size, int) else hidden_size[-1]
        self.recurrent = Recurrent(cell, 2 * H, hidden_size, num_layers, **options)
        self.features_x = _features(emission.input_size, H)
        self.features_z = _features(latent_size, H)
        self.prior = nn.Sequential(_features(H, H), GaussianHead(H, latent_size))
        self.encoder = nn.Sequential(_features(2 * H, H), GaussianHead(H, latent_size))
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Sequential(_features(2 * H, H), nn.Linear(H, emission.output_size))

    def start(self, batch: int) -> tuple[Tensor, Any]:
        """h_0, and the state of all layers: zero, or learned."""
        states = self.recurrent.initial_states(batch, next(self.recurrent.parameters()))
        return self.recurrent.layout.by_layer(states)[-1][0][0], self.recurrent.layout.returned(states)

    def _recur(self, features_x: Tensor, features_z: Tensor, state: Any) -> tuple[Tensor, Any]:
        output, state = self.recurrent(torch.cat([features_x, features_z], -1).unsqueeze(0), state)
        return output[0], state

    def _walk(self, framed: Framed, word_dropout: float, generator: torch.Generator | None) -> _Walk:
        """All steps of q(z | x): the loop has the encoder and the recurrence in it, nothing else."""
        shown = self.features_x(self.emission.enter(framed.targets))
        recalled = shown
        if word_dropout:
            recalled = self.features_x(self.emission.enter(self.emission.drop(framed.targets, word_dropout)))
        h, state = self.start(framed.targets.shape[1])
        before, drawn, features = [], [], []
        posteriors: list[Gaussian] = []
        for at, kept in zip(shown, self.dropout(recalled), strict=True):
            q = self.encoder(torch.cat([at, h], -1))
            z = q.draw(generator)
            before.append(h)
            posteriors.append(q)
            drawn.append(z)
            features.append(self.features_z(z))
            h, state = self._recur(kept, features[-1], state)
        history = torch.stack(before)
        posterior = Gaussian(
            torch.stack([q.mean for q in posteriors]), torch.stack([q.log_variance for q in posteriors])
        )
        output = self.decoder(self.dropout(torch.cat([torch.stack(features), history], -1)))
        return _Walk(self.prior(history), posterior, torch.stack(drawn), output)

    def evidence(
        self, x: Tensor, lengths: Tensor, word_dropout: float = 0.0, generator: torch.Generator | None = None
    ) -> Evidence:
        """As :meth:`LatentModel.evidence`, by one sample of every z_t; the recurrence is what writes."""
        framed = self.emission.frame(x, lengths)
        walk = self._walk(framed, word_dropout, generator)
        own = torch.arange(len(walk.z)).unsqueeze(1) < framed.lengths  # (T', B), on the CPU as lengths are
        kl = torch.where(own.unsqueeze(-1).to(walk.z.device), divergence(walk.posterior, walk.prior), 0.0).sum(0)
        means = (walk.posterior.mean - walk.prior.mean) * (-walk.prior.log_variance / 2).exp()
        return Evidence(framed.sum(self.emission.log_probability(walk.output, framed.targets)), kl, means[own])

    def log_weights(self, x: Tensor, lengths: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Σ_t log p(x_t | z_t, …) + log p(z_t | …) − log q(z_t | …), (K, B); for :func:`importance_bound`."""
        framed = self.emission.frame(x, lengths)
        rows = []
        for _ in range(samples):
            walk = self._walk(framed, 0.0, generator)
            of_z = walk.prior.log_density(walk.z) - walk.posterior.log_density(walk.z)
            rows.append(framed.sum(self.emission.log_probability(walk.output, framed.targets) + of_z))
        return torch.stack(rows)

    def reconstruct(self, x: Tensor, lengths: Tensor, most: int) -> list[Tensor]:
        """The likeliest values under the means of q(z_t | x), each step hearing what the decoder wrote before it.

        There is no z_t behind a sequence's end: what is written has at most as many steps as the sequence, and for
        tokens one more, whatever stands beside it in the batch.
        """
        with torch.no_grad(), evaluating(self):
            framed = self.emission.frame(x, lengths)
            shown = iter(self.features_x(self.emission.enter(framed.targets)))

            def latent(h: Tensor) -> Tensor:
                return self.encoder(torch.cat([next(shown), h], -1)).mean

            texts = self._written(latent, len(lengths), min(most, len(framed.targets)), 0.0, None)
            return [text[:own] for text, own in zip(texts, framed.lengths.tolist(), strict=True)]

    def sample(
        self, count: int, most: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> list[Tensor]:
        """Sequences drawn from the model: z_t from its prior, x_t from the decoder."""
        with torch.no_grad(), evaluating(self):
            return self._written(lambda h: self.prior(h).draw(generator), count, most, temperature, generator)

    def _written(
        self,
        latent: Callable[[Tensor], Tensor],
        batch: int,
        most: int,
        temperature: float,
        generator: torch.Generator | None,
    ) -> list[Tensor]:
        h, state = self.start(batch)
        heard: list[Tensor] = []  # φ_z of the step before; before the first there is none

        def step(values: Tensor) -> Tensor:
            nonlocal h, state
            if heard:  # what was just written enters
                h, state = self._recur(self.features_x(self.emission.enter(values))[0], heard.pop(), state)
            heard.append(self.features_z(latent(h)))
            return self.decoder(torch.cat([heard[-1], h], -1))

        return written(step, self.emission, self.emission.start(batch, h), most, temperature, generator)


def _features(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())
