"""A variational autoencoder of sequences: one latent for a whole sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from gatewise.cells import CellLike
from gatewise.layers.decoder import SequenceDecoder
from gatewise.layers.emission import Emission
from gatewise.layers.evidence import Gaussian, divergence
from gatewise.layers.latent import Evidence, GaussianHead, LatentModel
from gatewise.layers.options import Options
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.stepping import evaluating


class SequenceVAE(LatentModel):
    """A variational autoencoder on gated recurrent networks (Bowman et al. 2015, arXiv:1511.06349).

    q(z | x) = N(μ(s), diag σ²(s)) with s the encoder's outputs at its ends; z = μ + σ ε; p(z) = N(0, I);
    p(x | z) = Π_t p(x_t | x_<t, z), the :class:`SequenceDecoder`. Trained on
    ELBO = E_q[log p(x | z)] − KL(q(z | x) ‖ p(z)) <= log p(x).

    It has nothing to do with Gal's "variational dropout": that is the option ``recurrent_dropout`` of a layer.

    Args:
        num_layers: recurrent layers of encoder and decoder each.
        bidirectional: whether the encoder reads from both ends.

    The other arguments, shapes and errors are those of :class:`LatentModel`.

    Example:
        >>> import torch
        >>> from gatewise.layers import SequenceVAE, TokenEmission
        >>> model = SequenceVAE(TokenEmission(28, 8), "gru", hidden_size=16, latent_size=4)
        >>> found = model.evidence(torch.zeros(7, 2, dtype=torch.long), torch.tensor([7, 3]))
        >>> found.elbo.shape, found.kl.shape, len(model.sample(3, most=20))
        (torch.Size([2]), torch.Size([2, 4]), 3)
    """

    def __init__(
        self,
        emission: Emission,
        cell: CellLike | Sequence[CellLike] = "gru",
        hidden_size: int | Sequence[int] = 256,
        latent_size: int = 16,
        num_layers: int | None = None,
        bidirectional: bool = True,
        dropout: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(latent_size)
        self.encoder = Recurrent(
            cell, emission.input_size, hidden_size, num_layers, bidirectional=bidirectional, **options
        )
        self.head = GaussianHead(self.encoder.output_size, latent_size)
        self.decoder = SequenceDecoder(emission, cell, hidden_size, latent_size, num_layers, dropout, **options)

    @property
    def emission(self) -> Emission:  # type: ignore[override]  (held once, by the decoder: a file names each weight once)
        return self.decoder.emission

    def posterior(self, x: Tensor, lengths: Tensor) -> Gaussian:
        """q(z | x), (B, Z)."""
        values = self.emission.frame(x, lengths).targets[: len(x)]
        output, _ = self.emission.read(self.encoder, values, lengths)
        last = output[lengths.to(output.device) - 1, torch.arange(len(lengths), device=output.device)]
        if self.encoder.bidirectional:
            half = output.shape[-1] // 2
            last = torch.cat([last[:, :half], output[0, :, half:]], -1)
        return self.head(last)

    def log_likelihood(self, x: Tensor, lengths: Tensor, z: Tensor, word_dropout: float = 0.0) -> Tensor:
        """log p(x | z), (B,) nats, by teacher forcing."""
        framed = self.emission.frame(x, lengths)
        inputs = framed.inputs
        if word_dropout:  # what stands before the first step is no word
            inputs = torch.cat([inputs[:1], self.emission.drop(inputs[1:], word_dropout)])
        return self.decoder.log_likelihood(framed, z, inputs)

    def evidence(
        self, x: Tensor, lengths: Tensor, word_dropout: float = 0.0, generator: torch.Generator | None = None
    ) -> Evidence:
        """As :meth:`LatentModel.evidence`; the decoder is what writes."""
        q = self.posterior(x, lengths)
        kl = divergence(q, Gaussian.standard_like(q.mean))
        return Evidence(self.log_likelihood(x, lengths, q.draw(generator), word_dropout), kl, q.mean)

    def log_weights(self, x: Tensor, lengths: Tensor, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """log p(x | z_k) + log p(z_k) − log q(z_k | x), (K, B); for :func:`importance_bound`."""
        q = self.posterior(x, lengths)
        p = Gaussian.standard_like(q.mean)
        rows = []
        for _ in range(samples):
            z = q.draw(generator)
            rows.append(self.log_likelihood(x, lengths, z) + p.log_density(z) - q.log_density(z))
        return torch.stack(rows)

    def reconstruct(self, x: Tensor, lengths: Tensor, most: int) -> list[Tensor]:
        """What the decoder writes from the posterior's mean, always the likeliest value next."""
        with torch.no_grad(), evaluating(self):
            return self.decoder.write(self.posterior(x, lengths).mean, most)

    def sample(
        self, count: int, most: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> list[Tensor]:
        """What the decoder writes from z ~ N(0, I)."""
        like = self.head.linear.weight.detach()
        z = Gaussian.standard_like(like.new_zeros(count, self.latent_size)).draw(generator)
        return self.decoder.write(z, most, temperature, generator)
