"""The regressor against its equations in NumPy, and what its options reach."""

import numpy as np
import pytest
import torch

from gatewise import UserError
from gatewise.layers.regressor import REGRESSING, Regressor

L, B, D, K = 7, 3, 4, 2


def made(**more):
    torch.manual_seed(0)
    options = {"cell": "gru", "hidden_size": 5, "engine": "eager"} | more
    return Regressor(D, K, L, **options).double().eval()


def numbers(tensor):
    return tensor.detach().numpy()


@pytest.fixture
def past():
    return torch.randn(L, B, D, dtype=torch.float64)


def gru(model, past):
    """The outputs of one GRU layer, step by step: Cho et al. 2014, reset after the product."""
    w, u, b, c = (
        numbers(getattr(model.layers, f"{name}_l0")) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h, outputs = np.zeros((B, 5)), []
    for x in numbers(past):
        xr, xz, xn = np.split(x @ w.T + b, 3, axis=1)
        ur, uz, un = np.split(h @ u.T + c, 3, axis=1)
        r, z = 1 / (1 + np.exp(-xr - ur)), 1 / (1 + np.exp(-xz - uz))
        h = (1 - z) * np.tanh(xn + r * un) + z * h
        outputs.append(h)
    return np.stack(outputs)


def linear_part(model, past, steps):
    s = numbers(model.linear.weight).reshape(K, steps, D)
    return sum(numbers(past)[L - steps + i] @ s[:, i].T for i in range(steps))


def head(model, state):
    return state @ numbers(model.head.weight).T + numbers(model.head.bias)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_direct_is_the_last_output_and_a_linear_part(past, steps):
    model = made(linear=steps)
    expected = head(model, gru(model, past)[-1])
    if steps:
        expected = expected + linear_part(model, past, steps)
    found = model(past)
    assert found.shape == (1, B, K, 1)
    np.testing.assert_allclose(numbers(found)[0, :, :, 0], expected, atol=1e-12)


def test_attention_weighs_all_outputs_by_what_the_last_asks_for(past):
    model = made(model="attention")
    outputs = gru(model, past)
    query, key, score = (
        numbers(part.weight) for part in (model.attention.query, model.attention.key, model.attention.score)
    )
    context = np.zeros((B, 5))
    for b in range(B):
        e = [score[0] @ np.tanh(query @ outputs[-1, b] + key @ outputs[t, b]) for t in range(L)]
        alpha = np.exp(e) / np.sum(np.exp(e))
        context[b] = sum(a * outputs[t, b] for t, a in enumerate(alpha))
    expected = head(model, np.concatenate([outputs[-1], context], 1)) + linear_part(model, past, 1)
    np.testing.assert_allclose(numbers(model(past))[0, :, :, 0], expected, atol=1e-12)


def test_tpa_looks_at_the_courses_of_the_units(past):
    model = made(model="tpa")
    outputs, own = gru(model, past), model.patterns
    c, wa, wh, wv = (numbers(part.weight) for part in (own.filters, own.score, own.present, own.pattern))
    state = np.zeros((B, 5))
    for b in range(B):
        seen = outputs[:-1, b].T @ c.T  # a unit a row, a filter a column
        alpha = 1 / (1 + np.exp(-(seen @ wa @ outputs[-1, b])))
        state[b] = wh @ outputs[-1, b] + wv @ (alpha @ seen)
    expected = head(model, state) + linear_part(model, past, 1)
    np.testing.assert_allclose(numbers(model(past))[0, :, :, 0], expected, atol=1e-12)


def test_tcn_gives_the_layers_what_convolutions_make_of_the_past(past):
    model = made(model="tcn")
    outputs = gru(model, model.tcn(past))
    expected = head(model, outputs[-1]) + linear_part(model, past, 1)
    np.testing.assert_allclose(numbers(model(past))[0, :, :, 0], expected, atol=1e-12)


def test_two_directions_end_where_each_ends(past):
    model = made(bidirectional=True)
    outputs = numbers(model.layers(past)[0])
    expected = head(model, np.concatenate([outputs[-1, :, :5], outputs[0, :, 5:]], 1)) + linear_part(model, past, 1)
    np.testing.assert_allclose(numbers(model(past))[0, :, :, 0], expected, atol=1e-12)


@pytest.mark.parametrize("model", REGRESSING)
def test_it_begins_with_a_linear_regression_that_is_known(past, model):
    model = made(model=model, linear=2)
    coefficients, intercepts = torch.randn(K, 2 * D, dtype=torch.float64), torch.randn(K, dtype=torch.float64)
    model.begin_linear(coefficients, intercepts)
    rows = numbers(past)[-2:].swapaxes(0, 1).reshape(B, 2 * D)
    expected = rows @ numbers(coefficients).T + numbers(intercepts)
    np.testing.assert_allclose(numbers(model(past))[0, :, :, 0], expected, atol=1e-12)
    model(past).sum().backward()
    gradient = model.head.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0  # and from there the network learns
    with pytest.raises(UserError, match="has no linear part"):
        made(linear=0).begin_linear(coefficients, intercepts)


def test_the_layers_get_all_their_options(past):
    model = made(
        cell=["lstm", "gru"], hidden_size=[6, 5], dropout=0.3, zoneout=0.1, layer_norm=True, learned_state=True,
        weight_drop=0.2,
    )  # fmt: skip
    assert [shape.cell.written.name for shape in model.layers.shapes] == ["lstm", "gru"]
    assert (model.layers.dropout, model.dropout.p, model.layers.weight_drop) == (0.3, 0.3, 0.2)
    assert all("zoneout" in shape.cell.name and "layer-norm" in shape.cell.name for shape in model.layers.shapes)
    assert model.layers.learned_state
    assert model(past).isfinite().all()
    assert not torch.equal(model.train()(past), model(past))


@pytest.mark.parametrize("model", REGRESSING)
def test_what_is_before_and_what_is_in_the_window_matter(past, model):
    model = made(model=model)
    for step in (0, L - 1):
        changed = past.clone()
        changed[step] += 1
        assert (model(changed) - model(past)).abs().min() > 1e-6


def test_what_cannot_be_is_refused(past):
    for options, message in (
        ({"model": "tp"}, "no model of regression is called 'tp': did you mean 'tpa'?"),
        ({"model": "tpa", "bidirectional": True}, "read in one direction"),
        ({"linear": L + 1}, "linear: want a number of steps from 0 to the window's 7, got 8"),
        ({"linear": -1}, "linear: want"),
        ({"cell": "gruu"}, "did you mean 'gru'"),
    ):
        with pytest.raises(UserError, match=message.replace("?", r"\?")):
            made(**options)
    with pytest.raises(UserError, match="read in one direction"):
        Regressor(D, K, 1, "tpa")
    for wrong in (past[1:], past[..., 1:], past[0]):
        with pytest.raises(UserError, match=r"past: want \(steps, batch, features\) = \(7, B, 4\), got"):
            made()(wrong)
