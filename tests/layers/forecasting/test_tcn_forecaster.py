"""TCN-GRU against the equations in NumPy."""

import numpy as np
from forecasting_oracle import double, gru, horizon_head, numpy_of, relu, small_model, window


def convolved(x, p, prefix, dilation):
    """(C * x)_t = Σ_i C_i x_{t − d i} + b, kernels of normalised weights; (T, B, I) -> (T, B, C)."""
    length = p[f"{prefix}.parametrizations.weight.original0"]  # g, (C, 1, 1)
    v = p[f"{prefix}.parametrizations.weight.original1"]  # (C, I, kernel), the last of which is for the present step
    kernel = length * v / np.sqrt((v**2).sum((1, 2), keepdims=True))
    y = np.tile(p[f"{prefix}.bias"], (*x.shape[:2], 1))
    for t in range(len(x)):
        for i in range(kernel.shape[-1]):
            if t - dilation * i >= 0:
                y[t] += x[t - dilation * i] @ kernel[..., -1 - i].T
    return y


def blocks(x, p, count):
    for level in range(count):
        prefix, y = f"tcn.blocks.{level}", x
        for name in ("first", "second"):
            y = relu(convolved(y, p, f"{prefix}.{name}", 2**level))
        if f"{prefix}.past.weight" in p:
            x = x @ p[f"{prefix}.past.weight"].T + p[f"{prefix}.past.bias"]
        x = relu(y + x)
    return x


def test_the_cell_reads_what_the_convolutions_say():
    model = double(small_model("tcn", channels=3, levels=3, kernel_size=2))
    past, history, known, _ = window(model.sizes)
    p = numpy_of(model)
    features = blocks(np.concatenate([past.numpy(), history.numpy()], -1), p, 3)
    wanted = horizon_head(gru(features, p, "encoder.")[-1], known.numpy(), p, model.sizes.forecast)
    np.testing.assert_allclose(model(past, history, known).detach().numpy(), wanted, rtol=0, atol=1e-10)


def test_it_sees_the_whole_lookback_up_to_four_levels():
    assert small_model("tcn", lookback=24).tcn.receptive_field == 29
    assert small_model("tcn", lookback=96).tcn.receptive_field == 61
    assert small_model("tcn", lookback=96, levels=5).tcn.receptive_field == 125
