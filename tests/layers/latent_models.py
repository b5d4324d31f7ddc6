"""Latent models in float64, with weights large enough to matter, and what they read."""

import math

import torch

from gatewise.layers import VRNN, SequenceVAE, SeriesEmission, TokenEmission

V = 5
TOKENS = torch.tensor([[0, 4, 2], [3, 1, 2], [2, 2, 0], [1, 0, 0]])
LENGTHS = torch.tensor([4, 2, 1])

MODELS = {"vae": SequenceVAE, "vrnn": VRNN}


def double(model, scale=0.8, seed=3):
    """In float64, all weights drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def of_tokens(kind, cell="gru", layers=1, **options):
    return double(MODELS[kind](TokenEmission(V, 3), cell, 6, 2, layers, engine="eager", **options), 0.6)


def of_series(kind, cell="gru", layers=1, variance="learned", **options):
    return double(MODELS[kind](SeriesEmission(2, variance), cell, 6, 2, layers, engine="eager", **options), 0.4)


def read_by(kind, of, cell="gru", layers=1):
    """A model, a batch, and what may stand in its padding: of "tokens", or of series with a "learned" or "unit" σ."""
    if of == "tokens":
        return of_tokens(kind, cell, layers), TOKENS, 10**9
    series = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    return of_series(kind, cell, layers, of), series, math.nan
