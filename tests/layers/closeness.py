"""Outputs and states, of one part or several, that have to be equal but for rounding."""

import torch


def all_of(state):
    return (state,) if isinstance(state, torch.Tensor) else tuple(state)


def assert_close(got, wanted, tolerance=1e-12):
    for a, b in zip(all_of(got), all_of(wanted), strict=True):
        assert a.shape == b.shape
        assert torch.allclose(a, b, rtol=0, atol=tolerance), (a - b).abs().max()
