"""A GRU and the parts of forecasting models in NumPy, written from the papers' equations; and windows to feed them."""

from typing import Any

import numpy as np
import torch

from gatewise.layers.forecasting import forecasting_model

L, H, B, D_IN, K, M, UNITS = 7, 5, 3, 2, 2, 2, 4


def double(model, scale=0.7, seed=3) -> Any:
    """In float64, with weights large enough to matter."""
    generator = torch.Generator().manual_seed(seed)
    model = model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def small_model(name, **network) -> Any:
    """A model of the sizes above, on the reference engine unless another is asked for."""
    sizes = {"input_size": D_IN, "target_size": K, "known_size": M, "lookback": L, "horizon": H}
    sizes |= {key: network.pop(key) for key in (*sizes, "outputs") if key in network}
    return forecasting_model(name, **sizes, **({"hidden_size": UNITS, "engine": "eager"} | network))


def window(sizes, batch=B, seed=1, dtype=torch.float64):
    """past, history, known and targets of random numbers."""
    generator = torch.Generator().manual_seed(seed)
    shapes = (
        (sizes.lookback, batch, sizes.input_size),
        (sizes.lookback, batch, sizes.target_size),
        (sizes.horizon, batch, sizes.known_size),
        (sizes.horizon, batch, sizes.target_size),
    )
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def numpy_of(module):
    return {name: tensor.detach().numpy() for name, tensor in module.named_parameters()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def relu(x):
    return np.maximum(x, 0)


def gru_step(x, h, p, suffix="_l0"):
    """r, z = σ(W x + b + U h + c); n = tanh(W x + b + r (U h + c)); h' = (1 − z) n + z h; for rows (B, ·)."""
    i = x @ p[f"weight_ih{suffix}"].T + p[f"bias_ih{suffix}"]
    g = h @ p[f"weight_hh{suffix}"].T + p[f"bias_hh{suffix}"]
    (ir, iz, i_n), (gr, gz, gn) = np.split(i, 3, -1), np.split(g, 3, -1)
    r, z = sigmoid(ir + gr), sigmoid(iz + gz)
    return (1 - z) * np.tanh(i_n + r * gn) + z * h


def gru(x, p, prefix, suffix="_l0", start=None):
    """All outputs (T, B, units) over x (T, B, I)."""
    p = {name.removeprefix(prefix): value for name, value in p.items() if name.startswith(prefix)}
    h = np.zeros((x.shape[1], p[f"weight_hh{suffix}"].shape[1])) if start is None else start
    outputs = []
    for one in x:
        h = gru_step(one, h, p, suffix)
        outputs.append(h)
    return np.stack(outputs)


def horizon_head(s, known, p, shape, prefix="head."):
    """ŷ_t = A_t s + a_t + C_t ReLU(D x_t + E s + e), step by step; (H, B, k, q)."""
    p = {name.removeprefix(prefix): value for name, value in p.items() if name.startswith(prefix)}
    steps, targets, outputs = shape
    forecast = np.empty((steps, len(s), targets, outputs))
    for t in range(steps):
        for j in range(targets):
            for q in range(outputs):
                row = (t * targets + j) * outputs + q
                value = s @ p["steps.weight"][row] + p["steps.bias"][row]
                if "known.weight" in p:
                    hidden = relu(known[t] @ p["known.weight"].T + s @ p["state.weight"].T + p["state.bias"])
                    value = value + hidden @ p["effect.weight"][row]
                forecast[t, :, j, q] = value
    return forecast
