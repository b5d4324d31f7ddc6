"""Additive attention in its limits."""

import torch

from gatewise.layers.attention import AdditiveAttention


def test_a_score_of_nothing_asks_for_the_mean():
    attention = AdditiveAttention(3, 4, 5).double()
    torch.nn.init.zeros_(attention.score.weight)
    values = torch.randn(7, 2, 4, dtype=torch.float64)
    context, weights = attention(torch.randn(2, 3, dtype=torch.float64), attention.keys(values), values)
    torch.testing.assert_close(context, values.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(weights, torch.full((7, 2), 1 / 7, dtype=torch.float64), rtol=0, atol=1e-12)


def test_a_large_score_asks_for_one_value():
    attention = AdditiveAttention(1, 2, 1).double()
    for layer, weight in ((attention.query, [[0.0]]), (attention.key, [[1.0, 0.0]]), (attention.score, [[200.0]])):
        layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    values = torch.tensor([[[0.1, 5.0]], [[0.9, 6.0]], [[0.2, 7.0]]], dtype=torch.float64)
    context, weights = attention(torch.zeros(1, 1, dtype=torch.float64), attention.keys(values), values)
    assert weights.argmax().item() == 1
    torch.testing.assert_close(context, values[1], rtol=0, atol=1e-12)
