"""Gradients derived by hand against finite differences; the whole model against torch autograd."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gatewise.scratch import (
    GRU,
    clip_global_norm,
    cross_entropy,
    greedy,
    log_softmax,
    one_hot,
    predict,
    sgd,
    sigmoid,
    train_step,
)

T, B, I, H, V = 6, 3, 5, 7, 4
NAMES = ["W_xr", "W_hr", "b_r", "W_xz", "W_hz", "b_z", "W_xh", "W_hh", "b_h", "W_hq", "b_q"]


def random_model(seed=1):
    """Every parameter N(0, 0.6²), biases too: gates far from 1/2, nothing symmetric, nothing zero."""
    model, rng = GRU(I, H, V), np.random.default_rng(seed)
    for parameter in model.parameters.values():
        parameter[...] = rng.normal(0, 0.6, parameter.shape)
    return model


def random_inputs(seed=2):
    """X, H0, and the loss's gradients by the logits and by H_T."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in ((T, B, I), (B, H), (T, B, V), (B, H))]


def torch_forward(p, X, h):
    """The chapter's equations once more, for autograd."""
    outputs = []
    for x in X:
        r = torch.sigmoid(x @ p["W_xr"] + h @ p["W_hr"] + p["b_r"])
        z = torch.sigmoid(x @ p["W_xz"] + h @ p["W_hz"] + p["b_z"])
        n = torch.tanh(x @ p["W_xh"] + (r * h) @ p["W_hh"] + p["b_h"])
        h = z * h + (1 - z) * n
        outputs.append(h @ p["W_hq"] + p["b_q"])
    return torch.stack(outputs), h


def numerical_gradient(loss, array, eps=1e-5):
    """(L(a + eps) − L(a − eps)) / (2 eps) for each element a of an array, changed in place and restored."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + eps
        above = loss()
        array[index] = kept - eps
        below = loss()
        array[index] = kept
        gradient[index] = (above - below) / (2 * eps)
    return gradient


def relative_error(a, b):
    return np.linalg.norm(a - b) / (np.linalg.norm(a) + np.linalg.norm(b))


def copied(parameters):
    return {name: value.copy() for name, value in parameters.items()}


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", [*NAMES, "X", "H0"])
@pytest.mark.parametrize("with_dH_T", [False, True])
def test_gradient_equals_central_differences(name, with_dH_T):
    model, (X, H0, dlogits, dH_T) = random_model(), random_inputs()
    if not with_dH_T:
        dH_T = np.zeros_like(dH_T)

    def loss():
        logits, H_T, _ = model.forward(X, H0)
        return np.sum(dlogits * logits) + np.sum(dH_T * H_T)

    _, _, cache = model.forward(X, H0)
    hand = model.backward(cache, dlogits, dH_T if with_dH_T else None)[name]
    numerical = numerical_gradient(loss, {**model.parameters, "X": X, "H0": H0}[name])
    assert np.linalg.norm(hand) > 0.1
    assert relative_error(hand, numerical) <= 1e-6


def test_gradient_of_cross_entropy_equals_central_differences():
    rng = np.random.default_rng(3)
    logits, targets = rng.normal(0, 2, (T, B, V)), rng.integers(0, V, (T, B))
    numerical = numerical_gradient(lambda: cross_entropy(logits, targets)[0], logits)
    assert relative_error(cross_entropy(logits, targets)[1], numerical) <= 1e-6


def test_model_equals_torch_autograd():
    model, (X, H0, dlogits, dH_T) = random_model(), random_inputs()
    leaves = {
        name: torch.tensor(value, requires_grad=True) for name, value in {**model.parameters, "X": X, "H0": H0}.items()
    }
    expected, expected_H_T = torch_forward(leaves, leaves["X"], leaves["H0"])
    ((torch.tensor(dlogits) * expected).sum() + (torch.tensor(dH_T) * expected_H_T).sum()).backward()

    logits, H_T, cache = model.forward(X, H0)
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(H_T, expected_H_T.detach().numpy(), rtol=0, atol=1e-10)
    gradients = model.backward(cache, dlogits, dH_T)
    assert set(gradients) == {*NAMES, "X", "H0"}
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        np.testing.assert_allclose(gradients[name], leaf.grad.numpy(), rtol=0, atol=1e-10, err_msg=name)


def test_initial_state_defaults_to_zero():
    model, (X, H0, *_) = random_model(), random_inputs()
    default, zeros, other = (model.forward(X, state)[0] for state in (None, np.zeros((B, H)), H0))
    assert np.array_equal(default, zeros)
    assert not np.allclose(default, other)


def test_chunks_with_carried_state_equal_the_whole():
    model, (X, H0, *_) = random_model(), random_inputs()
    whole, whole_H_T, _ = model.forward(X, H0)
    state, chunks = H0, []
    for chunk in (X[:1], X[1:4], X[4:]):
        logits, state, _ = model.forward(chunk, state)
        chunks.append(logits)
    np.testing.assert_allclose(np.concatenate(chunks), whole, rtol=0, atol=1e-14)
    np.testing.assert_allclose(state, whole_H_T, rtol=0, atol=1e-14)


def test_chunk_gradients_chain_through_dH0():  # noqa: N802
    model, (X, H0, dlogits, dH_T) = random_model(), random_inputs()
    whole = model.backward(model.forward(X, H0)[2], dlogits, dH_T)
    _, middle, first = model.forward(X[:2], H0)
    second_gradients = model.backward(model.forward(X[2:], middle)[2], dlogits[2:], dH_T)
    first_gradients = model.backward(first, dlogits[:2], second_gradients["H0"])
    np.testing.assert_allclose(first_gradients["H0"], whole["H0"], rtol=0, atol=1e-12)
    for name in NAMES:
        total = first_gradients[name] + second_gradients[name]
        np.testing.assert_allclose(total, whole[name], rtol=0, atol=1e-12, err_msg=name)


def test_backward_survives_a_change_of_the_returned_state_and_changes_no_argument():
    model, (X, H0, dlogits, dH_T) = random_model(), random_inputs()
    expected = model.backward(model.forward(X, H0)[2], dlogits, dH_T)
    _, H_T, cache = model.forward(X, H0)
    H_T[...] = 0
    given = copied({"X": X, "H0": H0, "dlogits": dlogits, "dH_T": dH_T})
    assert same(model.backward(cache, dlogits, dH_T), expected)
    assert same({"X": X, "H0": H0, "dlogits": dlogits, "dH_T": dH_T}, given)


def test_initial_weights():
    book = GRU(50, 60, 70, scale=0.01).parameters
    assert list(book) == NAMES
    for name, value in book.items():
        if name.startswith("b"):
            assert not value.any()
        else:
            assert 0.0095 < value.std() < 0.0105
            assert abs(value.mean()) < 1e-3
    bound = 1 / np.sqrt(60)
    for name, value in GRU(50, 60, 70).parameters.items():
        assert 0.8 * bound < np.abs(value).max() <= bound, name
    assert same(GRU(I, H, V, seed=5).parameters, GRU(I, H, V, seed=5).parameters)
    assert not same(GRU(I, H, V, seed=5).parameters, GRU(I, H, V, seed=6).parameters)
    shapes = {name: value.shape for name, value in GRU(I, H, V).parameters.items()}
    gate_shapes = {f"{kind}{gate}": s for gate in "rzh" for kind, s in (("W_x", (I, H)), ("W_h", (H, H)), ("b_", (H,)))}
    assert shapes == {**gate_shapes, "W_hq": (H, V), "b_q": (V,)}


@pytest.mark.parametrize(
    ("X", "H0", "words"),
    [
        ((T, B), None, "X must"),
        ((T, B, I + 1), None, "X must"),
        ((0, B, I), None, "X must"),
        ((T, B, I), (H,), "H0 must"),
        ((T, B, I), (1, B, H), "H0 must"),
        ((T, B, I), (1, H), "H0 must"),
        ((T, B, I), (B, H + 1), "H0 must"),
    ],
)
def test_wrong_shapes_are_refused(X, H0, words):
    with pytest.raises(ValueError, match=words):
        GRU(I, H, V).forward(np.zeros(X), None if H0 is None else np.zeros(H0))


def test_wrong_tokens_and_targets_are_refused():
    for token in (-1, 3, 0.5):
        with pytest.raises(ValueError, match=r"tokens must be integers in 0\.\.2"):
            one_hot([0, token], 3)
    with pytest.raises(ValueError, match="targets must have shape"):
        cross_entropy(np.zeros((T, B, V)), np.zeros((T, 1), int))
    with pytest.raises(ValueError, match="X must have shape"):
        predict(GRU(V, H, V), [], 3)


def test_one_hot():
    tokens = np.random.default_rng(4).integers(0, V, (T, B))
    hot = one_hot(tokens, V, np.float32)
    assert hot.shape == (T, B, V)
    assert hot.dtype == np.float32
    assert np.array_equal(hot.argmax(-1), tokens)
    assert np.array_equal(hot.sum(-1), np.ones((T, B)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_log_softmax_are_stable(dtype):
    x = np.array([-1000, -50, -1, 0, 1, 50, 1000], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s, logs = sigmoid(x), log_softmax(np.stack([x, x[::-1], np.full_like(x, -1000)]))
        loss, dlogits = cross_entropy(np.array([[1000, -1000]], dtype), [1])
    assert s.dtype == logs.dtype == dlogits.dtype == dtype
    assert s[0] == 0
    assert s[-1] == 1
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(s[1:], torch.sigmoid(torch.tensor(x[1:])).numpy(), rtol=tolerance, atol=0)
    np.testing.assert_allclose(s + s[::-1], 1, rtol=tolerance)
    np.testing.assert_allclose(logs[0], x - 1000, rtol=tolerance)
    np.testing.assert_allclose(logs[2], -np.log(7), rtol=tolerance)
    assert loss == 2000
    assert np.array_equal(dlogits, [[1, -1]])


@pytest.mark.parametrize("shape", [(V,), (T, V), (T, B, V)])
def test_cross_entropy_equals_torch(shape):
    rng = np.random.default_rng(5)
    logits, targets = rng.normal(0, 3, shape), rng.integers(0, V, shape[:-1])
    leaf = torch.tensor(logits, requires_grad=True)
    expected = F.cross_entropy(leaf.reshape(-1, V), torch.tensor(targets).reshape(-1))
    expected.backward()
    loss, dlogits = cross_entropy(logits, targets)
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    assert leaf.grad is not None
    np.testing.assert_allclose(dlogits, leaf.grad.numpy(), rtol=0, atol=1e-15)


def test_clipping_takes_all_gradients_as_one_vector():
    rng = np.random.default_rng(6)
    gradients = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5)}
    before, arrays = copied(gradients), list(gradients.values())
    norm = float(np.linalg.norm(np.concatenate([g.ravel() for g in gradients.values()])))
    for no_op in (norm * 1.001, np.inf):
        assert clip_global_norm(gradients, no_op) == pytest.approx(norm, rel=1e-14)
        assert same(gradients, before)
    assert clip_global_norm(gradients, 0.5) == pytest.approx(norm, rel=1e-14)
    after = np.concatenate([g.ravel() for g in gradients.values()])
    assert np.linalg.norm(after) == pytest.approx(0.5, rel=1e-14)
    for name, array in zip(gradients, arrays, strict=True):
        assert gradients[name] is array  # in place
        np.testing.assert_allclose(array, before[name] * 0.5 / norm, rtol=1e-13)


def test_clipping_does_not_overflow_in_float32():
    gradients = {"a": np.full(4, 1e25, np.float32)}
    assert clip_global_norm(gradients, 1.0) == pytest.approx(2e25, rel=1e-6)
    np.testing.assert_allclose(gradients["a"], 0.5, rtol=1e-6)


def test_sgd_descends_in_place():
    parameter = np.array([1.0, 2.0])
    sgd({"w": parameter}, {"w": np.array([10.0, -10.0]), "X": np.zeros(1)}, lr=0.1)
    np.testing.assert_allclose(parameter, [0.0, 3.0], atol=1e-15)


@pytest.mark.parametrize("clip", [0.05, np.inf])
def test_train_step_equals_torch(clip):
    """Two chunks with a carried state: losses, norms and weights as torch's with its own SGD."""
    model, rng = GRU(V, H, V, seed=3), np.random.default_rng(7)
    tokens = rng.integers(0, V, (2 * T + 1, B))
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in model.parameters.items()}
    optimizer = torch.optim.SGD(leaves.values(), lr=0.7)
    state, expected_state = None, torch.zeros(B, H, dtype=torch.float64)
    for start in (0, T):
        X, Y = tokens[start : start + T], tokens[start + 1 : start + T + 1]
        loss, norm, state = train_step(model, X, Y, state, lr=0.7, clip=clip)
        logits, expected_state = torch_forward(leaves, F.one_hot(torch.tensor(X), V).double(), expected_state)
        expected_loss = F.cross_entropy(logits.reshape(-1, V), torch.tensor(Y).reshape(-1))
        optimizer.zero_grad()
        expected_loss.backward()
        expected_state = expected_state.detach()
        expected_gradients = [leaf.grad for leaf in leaves.values() if leaf.grad is not None]
        expected_norm = torch.linalg.vector_norm(torch.cat([g.ravel() for g in expected_gradients]))
        for gradient in expected_gradients:
            gradient *= torch.clamp(clip / expected_norm, max=1.0)
        optimizer.step()
        assert expected_norm > 0.05
        assert loss == pytest.approx(expected_loss.item(), rel=1e-12)
        assert norm == pytest.approx(expected_norm.item(), rel=1e-12)
        np.testing.assert_allclose(state, expected_state.numpy(), rtol=0, atol=1e-12)
    for name, leaf in leaves.items():
        np.testing.assert_allclose(model.parameters[name], leaf.detach().numpy(), rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", ["loss", "norm"])
def test_train_step_that_is_not_finite_leaves_the_weights(case):
    model, tokens = GRU(V, H, V), np.zeros((T, B), int)
    if case == "loss":
        model.parameters["b_q"][1] = np.nan
    else:  # huge weights that the bounded state hides from the loss, not from its gradient
        model.parameters["W_hq"][...] = 0
        model.parameters["W_hq"][0] = 1e308
        model.parameters["W_hr"][...] = 0
        model.parameters["W_hh"][...] = 1e300
    before = copied(model.parameters)
    loss, norm, _ = train_step(model, tokens, tokens + 1, None, lr=1.0, clip=1.0)
    assert np.isfinite(loss) == (case == "norm")
    assert not np.isfinite(norm)
    for name, value in model.parameters.items():
        assert np.array_equal(value, before[name], equal_nan=True), name


def test_float32_stays_float32():
    model = GRU(V, H, V, dtype=np.float32)
    tokens = np.random.default_rng(8).integers(0, V, (T, B))
    logits, H_T, cache = model.forward(one_hot(tokens, V, np.float32))
    _, dlogits = cross_entropy(logits, tokens)
    arrays = {"logits": logits, "H_T": H_T, **model.backward(cache, dlogits)}
    train_step(model, tokens, tokens, H_T, lr=0.5, clip=0.01)
    for name, value in {**arrays, **{f"parameter {k}": v for k, v in model.parameters.items()}}.items():
        assert value.dtype == np.float32, name
    double = GRU(V, H, V)
    double.parameters.update({k: v.astype(float) for k, v in GRU(V, H, V, dtype=np.float32).parameters.items()})
    np.testing.assert_allclose(logits, double.forward(one_hot(tokens, V))[0], rtol=0, atol=1e-6)


def test_predict_carries_the_state():
    """Token by token with a carried state gives what the whole history fed again each time gives."""
    model, prompt = GRU(V, H, V, seed=9), [1, 3, 0]
    for parameter in model.parameters.values():
        parameter *= 6
    seen, history = [], list(prompt)

    def least_but_one(probabilities):
        seen.append(probabilities)
        return int(np.argsort(probabilities)[1])

    tokens = predict(model, prompt, 12, least_but_one)
    for token, probabilities in zip(tokens, seen, strict=True):
        logits = model.forward(one_hot(np.array(history)[:, None], V))[0][-1, 0]
        np.testing.assert_allclose(probabilities, torch.softmax(torch.tensor(logits), 0).numpy(), atol=1e-14)
        assert token == np.argsort(logits)[1]
        history.append(token)
    assert len(tokens) == 12
    assert len(set(tokens)) > 1
    assert predict(model, np.array(prompt), 0) == []
    assert greedy(np.array([0.2, 0.5, 0.3])) == 1


def test_learns_to_continue_the_alphabet():
    text = "abcdefg " * 40
    letters = sorted(set(text))
    tokens = np.array([letters.index(c) for c in text])
    rows = tokens[: 4 * (len(tokens) // 4)].reshape(4, -1).T  # (80, 4): four readers, one after the other in time
    model = GRU(len(letters), 24, len(letters), seed=0)
    losses = []
    for _ in range(40):
        state = None
        for start in range(0, len(rows) - 1, 16):
            X, Y = rows[start : start + 16], rows[start + 1 : start + 17]
            loss, _, state = train_step(model, X[: len(Y)], Y, state, lr=2.0, clip=1.0)
            losses.append(loss)
    assert losses[0] == pytest.approx(np.log(len(letters)), rel=0.1)
    assert losses[-1] < 0.05
    continued = "".join(letters[t] for t in predict(model, [letters.index(c) for c in "abc"], 50))
    assert continued == ("abcdefg " * 7)[3:53]
