"""Attention over the encoder's states against Bahdanau's equations in NumPy."""

import numpy as np
import pytest
import torch
from forecasting_oracle import double, gru, gru_step, numpy_of, small_model, window


def by_hand(model, past, history, known):
    """Row by row, state by state."""
    p = numpy_of(model)
    decoder = {name.removeprefix("decoder."): value for name, value in p.items() if name.startswith("decoder.")}
    x = np.concatenate([past, history], -1)
    h, s = gru(x, p, "encoder."), None
    if model.encoder.bidirectional:
        backward = gru(x[::-1], p, "encoder.", "_l0_reverse")[::-1]
        ends = np.concatenate([h[-1], backward[0]], -1)
        h = np.concatenate([h, backward], -1)
        s = np.tanh(ends @ p["bridge.maps.0.0.weight"].T + p["bridge.maps.0.0.bias"])
    forecast = np.empty((len(known), *history.shape[1:]))
    for b in range(history.shape[1]):
        state, value = (h[-1] if s is None else s)[b], history[-1, b]
        for t in range(len(known)):
            e = [
                p["attention.score.weight"][0]
                @ np.tanh(p["attention.query.weight"] @ state + p["attention.key.weight"] @ one)
                for one in h[:, b]
            ]
            weights = np.exp(e) / np.exp(e).sum()
            context = sum(weight * one for weight, one in zip(weights, h[:, b], strict=True))
            state = gru_step(np.concatenate([value, known[t, b], context])[None], state[None], decoder)[0]
            value = p["head.weight"] @ np.concatenate([state, context, value]) + p["head.bias"]
            forecast[t, b] = value
    return forecast


@pytest.mark.parametrize("bidirectional", [True, False])
def test_is_the_papers_encoder_attention_and_decoder(bidirectional):
    model = double(small_model("attention", bidirectional=bidirectional, attention_size=3))
    past, history, known, _ = window(model.sizes)
    wanted = by_hand(model, past.numpy(), history.numpy(), known.numpy())
    np.testing.assert_allclose(model(past, history, known)[..., 0].detach().numpy(), wanted, rtol=0, atol=1e-10)


def test_of_several_layers_the_top_one_asks():
    model = double(small_model("attention", cell=["gru", "lstm"], hidden_size=[3, 4], num_layers=2))
    past, history, known, _ = window(model.sizes)
    asked = []
    model.attention.register_forward_pre_hook(lambda layer, given: asked.append(given[0]))
    model(past, history, known)
    _, state = model.encoder(torch.cat([past, history], -1))
    lower, (top, memory) = model.bridge(state)
    assert torch.equal(asked[0], top[0])
    assert lower.shape == (1, 3, 3)
    assert memory.shape == (1, 3, 4)
