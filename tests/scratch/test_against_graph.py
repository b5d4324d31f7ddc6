"""The hand-derived gradients are those that the graph derives, and the weights are those of a layer."""

import numpy as np
import pytest
import torch

import gatewise
from gatewise import scratch
from gatewise.graph import derive, evaluate, trace
from gatewise.training.numpy_learner import language_model_of

T, B, I, H, V = 6, 3, 4, 5, 7
GATES = {"r": "r", "z": "z", "n": "h"}  # the graph's letter -> the book's


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    model = scratch.GRU(I, H, V, seed=1)
    X, H0 = rng.normal(size=(T, B, I)), rng.normal(size=(B, H))
    dlogits, dH_T = rng.normal(size=(T, B, V)), rng.normal(size=(B, H))
    return model, X, H0, dlogits, dH_T


def test_gradients_are_those_of_the_derived_backward_graph(case):
    model, X, H0, dlogits, dH_T = case
    p = {name: torch.from_numpy(value) for name, value in model.parameters.items()}
    _, _, cache = model.forward(X, H0)
    by_hand = model.backward(cache, dlogits, dH_T)

    graph = trace("gru-before")
    backward = derive(graph)
    weights = {}
    for gate, book in GATES.items():
        weights["weight", gate] = p[f"W_h{book}"].T
        weights["bias", gate] = torch.zeros(H, dtype=torch.float64)
    leaves, h = [], torch.from_numpy(H0)
    for x in torch.from_numpy(X):
        inputs = {("input", gate): x @ p[f"W_x{book}"] + p[f"b_{book}"] for gate, book in GATES.items()}
        leaves.append({("state", "h"): h, **inputs, **weights})
        h = evaluate(graph.nodes, leaves[-1])[graph.results[0]]

    derived = {name: torch.zeros_like(value) for name, value in p.items() if not name.endswith("q")}
    dX = torch.zeros(T, B, I, dtype=torch.float64)
    dh = torch.from_numpy(dH_T)
    for t in reversed(range(T)):
        dh = dh + torch.from_numpy(dlogits[t]) @ p["W_hq"].T
        values = evaluate(backward.nodes, {**leaves[t], ("cotangent", "h"): dh})
        for gate, node in backward.inputs:
            derived[f"W_x{GATES[gate]}"] += torch.from_numpy(X[t]).T @ values[node]
            derived[f"b_{GATES[gate]}"] += values[node].sum(0)
            dX[t] += values[node] @ p[f"W_x{GATES[gate]}"].T
        for product in backward.dense:
            derived[f"W_h{GATES[product.gate]}"] += values[product.operand].T @ values[product.cotangent]
        dh = values[backward.states[0]]

    for name, gradient in {**derived, "X": dX, "H0": dh}.items():
        np.testing.assert_allclose(by_hand[name], gradient.numpy(), rtol=1e-10, atol=1e-12, err_msg=name)


def test_weights_load_into_the_layer_and_give_the_same_outputs(case):
    model, X, H0, _, _ = case
    layer = gatewise.Recurrent("gru-before", I, H, dtype=torch.float64)
    p = {name: torch.from_numpy(value) for name, value in model.parameters.items()}
    layer.load_state_dict(
        {
            "weight_ih_l0": torch.cat([p["W_xr"], p["W_xz"], p["W_xh"]], dim=1).T,
            "weight_hh_l0": torch.cat([p["W_hr"], p["W_hz"], p["W_hh"]], dim=1).T,
            "bias_ih_l0": torch.cat([p["b_r"], p["b_z"], p["b_h"]]),
            "bias_hh_l0": torch.zeros(3 * H, dtype=torch.float64),
        }
    )
    output, h = layer(torch.from_numpy(X), torch.from_numpy(H0)[None])
    logits, H_T, _ = model.forward(X, H0)
    np.testing.assert_allclose((output @ p["W_hq"] + p["b_q"]).detach().numpy(), logits, rtol=1e-12)
    np.testing.assert_allclose(h[0].detach().numpy(), H_T, rtol=1e-12)


def test_language_model_of_gives_the_same_scores():
    model = scratch.GRU(V, H, V, seed=3, dtype=np.float32)
    tokens = np.random.default_rng(1).integers(0, V, (T, B))
    logits, _, _ = model.forward(scratch.one_hot(tokens, V, np.float32))
    ours, _ = language_model_of(model)(torch.from_numpy(tokens))
    np.testing.assert_allclose(ours.detach().numpy(), logits, rtol=1e-5, atol=1e-6)
