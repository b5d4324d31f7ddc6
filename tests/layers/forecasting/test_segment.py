"""SegRNN against the paper's equations in NumPy, and channels that know nothing of each other."""

from typing import Any

import numpy as np
import pytest
import torch
from forecasting_oracle import double, gru, gru_step, numpy_of, relu, small_model, window

from gatewise import UserError


def by_hand(model, history, known):
    """One target and one row at a time, segment by segment."""
    p, w = numpy_of(model), model.segment
    L, B, K = history.shape
    H, known_size = model.sizes.horizon, known.shape[-1]
    encoder = {key.removeprefix("encoder."): value for key, value in p.items() if key.startswith("encoder.")}
    forecast = np.empty((H, B, K))
    for b in range(B):
        for k in range(K):
            own = history[:, b, k]
            own = np.concatenate([np.full(-L % w, own[0]), own]) - own[-1]
            e = [relu(p["embedding.weight"] @ own[i : i + w] + p["embedding.bias"]) for i in range(0, len(own), w)]
            s = gru(np.stack(e)[:, None], encoder, "")[-1]
            for j, start in enumerate(range(0, H, w)):
                x = np.concatenate([p["place"][j], p["target"][k]])
                if known_size:
                    covariates = np.zeros((w, known_size))
                    covariates[: len(known[start : start + w])] = known[start : start + w, b]
                    x = x + p["known.weight"] @ covariates.reshape(-1)
                h = gru_step(x[None], s, encoder)
                values = h[0] @ p["head.weight"].T + p["head.bias"] + history[-1, b, k]
                forecast[start : start + w, b, k] = values[: H - start]
    return forecast


@pytest.mark.parametrize(
    ("lookback", "horizon", "segment", "known_size"), [(8, 6, 2, 0), (7, 5, 3, 0), (7, 5, 3, 2), (2, 6, 4, 0)]
)
def test_is_the_papers_encoder_and_its_parallel_decoder(lookback, horizon, segment, known_size):
    """Also where segments do not divide the window: the oldest value repeated, the last segment cut."""
    model = double(
        small_model("segment", segment=segment, lookback=lookback, horizon=horizon, known_size=known_size, input_size=0)
    )
    past, history, known, _ = window(model.sizes)
    wanted = by_hand(model, history.numpy(), known.numpy())
    np.testing.assert_allclose(model(past, history, known)[..., 0].detach().numpy(), wanted, rtol=0, atol=1e-10)


def test_targets_are_independent_of_each_other_and_of_the_inputs():
    model = double(small_model("segment", segment=3))
    past, history, known, _ = window(model.sizes)
    history.requires_grad_()
    model(past, history, known)[:, :, 0].sum().backward()
    assert history.grad is not None
    assert history.grad[..., 0].any()
    assert not history.grad[..., 1].any()
    assert model(past + 1, history, known).equal(model(past, history, known))


def test_a_forecast_moves_with_the_level_of_its_past():
    model = double(small_model("segment", segment=3, outputs=3))
    past, history, known, _ = window(model.sizes)
    level = torch.tensor([10.0, -3.0], dtype=torch.float64)
    moved = model(past, history + level, known) - level.unsqueeze(-1)
    torch.testing.assert_close(moved, model(past, history, known), rtol=0, atol=1e-12)


def test_all_segments_to_come_are_one_call_of_one_step():
    model: Any = double(small_model("segment", segment=2, lookback=8, horizon=6))
    seen = []
    model.encoder.register_forward_hook(lambda layer, given, output: seen.append(tuple(given[0].shape)))
    model(*window(model.sizes)[:3])
    assert seen == [(4, 6, 4), (1, 18, 4)]


def test_a_segment_longer_than_the_window_is_cut_to_it():
    assert small_model("segment", segment=48).segment == 7


@pytest.mark.parametrize("segment", [0, 2.0, True])
def test_a_segment_is_a_whole_number_of_steps(segment):
    with pytest.raises(UserError, match="segment: want a whole number of steps above 0, got"):
        small_model("segment", segment=segment)


def test_an_embedding_of_one_unit_has_no_halves():
    with pytest.raises(UserError, match="hidden_size=1: an embedding has one half for the place"):
        small_model("segment", hidden_size=1)
