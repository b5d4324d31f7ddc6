"""Quantiles in order, whatever the network says."""

import math

import torch

from gatewise.layers.forecasting import increasing, middle


def test_each_is_the_one_beside_it_and_a_gap():
    raw = torch.tensor([[0.3, -2.0, 1.5, -0.1, 4.0]], dtype=torch.float64)
    softplus = [math.log(1 + math.exp(r)) for r in raw[0].tolist()]
    centre = 1.5
    wanted = [
        centre - softplus[1] - softplus[0],
        centre - softplus[1],
        centre,
        centre + softplus[3],
        centre + softplus[3] + softplus[4],
    ]
    torch.testing.assert_close(increasing(raw)[0], torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-12)


def test_they_never_cross():
    values = increasing(100 * torch.randn(50, 8, dtype=torch.float64))
    assert (values.diff(dim=-1) >= 0).all()


def test_one_number_stays_what_it_is():
    raw = torch.randn(4, 1)
    assert increasing(raw).equal(raw)
    assert middle(torch.arange(10.0).reshape(2, 5)).tolist() == [2.0, 7.0]
    assert middle(torch.arange(4.0).reshape(1, 4)).tolist() == [2.0]
