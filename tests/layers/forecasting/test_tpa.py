"""Temporal pattern attention against the paper's equations in NumPy."""

import numpy as np
import pytest
from forecasting_oracle import double, gru, horizon_head, numpy_of, sigmoid, small_model, window

from gatewise import UserError


def by_hand(model, past, history, known):
    p = numpy_of(model)
    states = gru(np.concatenate([past, history], -1), p, "encoder.")
    w, (_, B, m), k = len(states) - 1, states.shape, p["attention.filters.weight"].shape[0]
    attended = np.empty((B, m))
    for b in range(B):
        present, H = states[-1, b], states[:-1, b].T  # (m, w)
        seen = np.zeros((m, k))
        for i in range(m):
            for j in range(k):
                seen[i, j] = sum(H[i, step] * p["attention.filters.weight"][j, step] for step in range(w))
        alpha = [sigmoid(seen[i] @ p["attention.score.weight"] @ present) for i in range(m)]
        v = sum(alpha[i] * seen[i] for i in range(m))
        attended[b] = p["attention.present.weight"] @ present + p["attention.pattern.weight"] @ v
    forecast = horizon_head(attended, known, p, model.sizes.forecast)[..., 0]
    if model.linear is not None:
        for t in range(len(known)):
            for i in range(model.autoregressive):
                forecast[t] += p["linear.weight"][t, -1 - i] * history[-1 - i]
            forecast[t] += p["linear.bias"][t]
    return forecast


@pytest.mark.parametrize("autoregressive", [0, 3, 24])
@pytest.mark.parametrize("known_size", [0, 2])
def test_is_the_papers_model(autoregressive, known_size):
    model = double(small_model("tpa", filters=3, autoregressive=autoregressive, known_size=known_size))
    past, history, known, _ = window(model.sizes)
    wanted = by_hand(model, past.numpy(), history.numpy(), known.numpy())
    np.testing.assert_allclose(model(past, history, known)[..., 0].detach().numpy(), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"lookback": 1}, "lookback=1: temporal pattern attention looks at states before the last"),
        ({"filters": 0}, "filters: want a whole number from 1 up, got 0"),
        ({"autoregressive": -1}, "autoregressive: want a whole number from 0 up, got -1"),
    ],
)
def test_what_cannot_be_is_refused(network, message):
    with pytest.raises(UserError, match=message):
        small_model("tpa", **network)
