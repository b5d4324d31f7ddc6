"""Encoder and decoder against the equations in NumPy; what is fed with what while training."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from forecasting_oracle import UNITS, double, gru, gru_step, numpy_of, small_model, window

from gatewise import UserError
from gatewise.layers.forecasting import Forcing


def part(p, prefix):
    return {name.removeprefix(prefix): value for name, value in p.items() if name.startswith(prefix)}


def by_hand(model, past, history, known, forced=None):
    """Step by step, fed with its own last forecast, or with what is ``forced`` where that is no NaN."""
    p = numpy_of(model)
    h = gru(np.concatenate([past, history], -1), p, "encoder.")[-1]
    if "bridge.maps.0.0.weight" in p:
        backward = gru(np.concatenate([past, history], -1)[::-1], p, "encoder.", "_l0_reverse")[-1]
        h = np.tanh(np.concatenate([h, backward], -1) @ p["bridge.maps.0.0.weight"].T + p["bridge.maps.0.0.bias"])
    value, forecast = history[-1], []
    for t in range(len(known)):
        h = gru_step(np.concatenate([value, known[t]], -1), h, part(p, "decoder."))
        value = h @ p["head.weight"].T + p["head.bias"]
        forecast.append(value)
        if forced is not None and t < len(forced):
            value = np.where(np.isnan(forced[t]), value, forced[t])
    return np.stack(forecast)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_each_step_is_fed_with_the_forecast_of_the_one_before(bidirectional):
    model = double(small_model("seq2seq", bidirectional=bidirectional))
    past, history, known, _ = window(model.sizes)
    wanted = by_hand(model, past.numpy(), history.numpy(), known.numpy())
    np.testing.assert_allclose(model(past, history, known)[..., 0].detach().numpy(), wanted, rtol=0, atol=1e-10)


def calls_of(layer: Any):
    seen = []
    layer.register_forward_hook(lambda layer, given, output: seen.append(len(given[0])))
    return seen


def test_the_truth_of_every_step_is_one_call():
    model = double(small_model("seq2seq"))
    past, history, known, targets = window(model.sizes)
    seen = calls_of(model.decoder)
    found = model(past, history, known, 0.0, targets)
    assert seen == [5]
    wanted = by_hand(model, past.numpy(), history.numpy(), known.numpy(), targets.numpy()[:-1])
    np.testing.assert_allclose(found[..., 0].detach().numpy(), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_one_call_and_many_agree_where_the_truth_is_what_the_model_says(cell):
    model = double(small_model("seq2seq", cell=cell, num_layers=2, outputs=3))
    past, history, known, _ = window(model.sizes)
    free = model(past, history, known)
    seen = calls_of(model.decoder)
    forced = model(past, history, known, 0.0, free[..., 1].detach())
    assert seen == [5]
    torch.testing.assert_close(forced, free, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["seq2seq", "attention"])
def test_tosses_are_fed_value_by_value(name, monkeypatch):
    model = double(small_model(name, forcing=1.0))
    past, history, known, targets = window(model.sizes)
    tosses = torch.rand(4, 3, 1)
    monkeypatch.setattr(torch, "rand", lambda *shape, **more: tosses)
    forced = torch.where(tosses < 0.4, targets[:-1], math.nan)
    assert 0 < forced.isnan().sum() < forced.numel()
    found = model(past, history, known, 0.6, targets)
    if name == "seq2seq":
        wanted = by_hand(model, past.numpy(), history.numpy(), known.numpy(), forced.numpy())
        np.testing.assert_allclose(found[..., 0].detach().numpy(), wanted, rtol=0, atol=1e-10)
    free = model(past, history, known, 1.0, targets)
    untouched = forced[0].isnan().all(-1)
    assert torch.equal((found[1] == free[1]).flatten(1).all(1), untouched)
    assert torch.equal(found[0], free[0])


@pytest.mark.parametrize("name", ["seq2seq", "attention"])
def test_the_truth_is_fed_in_training_alone_and_never_where_it_is_missing(name):
    model = double(small_model(name))
    past, history, known, targets = window(model.sizes)
    free = model(past, history, known)
    assert not torch.equal(model(past, history, known, 0.0, targets), free)
    assert torch.equal(model(past, history, known, 0.0, torch.full_like(targets, math.nan)), free)
    assert torch.equal(model(past, history, known, 0.5, targets), free)
    assert torch.equal(model.eval()(past, history, known, 0.0, targets), free)


def test_the_last_truth_is_never_fed():
    model = double(small_model("seq2seq"))
    past, history, known, targets = window(model.sizes)
    other = targets.clone()
    other[-1] += 1
    assert torch.equal(model(past, history, known, 0.0, targets), model(past, history, known, 0.0, other))


def test_the_truth_is_fed_as_often_as_the_schedule_says():
    forcing = Forcing(0.8)
    targets = torch.zeros(1001, 50, 1)
    drawn = forcing.drawn(targets, 0.2)
    assert drawn is not None
    assert drawn.shape == (1000, 50, 1)
    assert (~drawn.isnan()).float().mean().item() == pytest.approx(0.75, abs=0.01)
    assert Forcing(math.inf).chance(0.9) == 1
    assert Forcing(0.0).drawn(targets, 0.0) is None
    with pytest.raises(UserError, match="forcing: want a share of the training"):
        Forcing(1.5)


def test_an_lstm_hands_over_both_states_of_both_layers():
    model = double(small_model("seq2seq", cell="lstm", num_layers=2))
    past, history, known, _ = window(model.sizes)
    _, (h, c) = model.encoder(torch.cat([past, history], -1))
    assert h.shape == c.shape == (2, 3, UNITS)
    output, _ = model.decoder(torch.cat([history[-1], known[0]], -1).unsqueeze(0), (h, c))
    torch.testing.assert_close(model(past, history, known)[0, ..., 0], model.head(output[0]), rtol=0, atol=1e-12)
