"""Direct forecasts against the equations in NumPy."""

import numpy as np
import pytest
from forecasting_oracle import UNITS, double, gru, horizon_head, numpy_of, small_model, window


@pytest.mark.parametrize("known_size", [0, 2])
def test_is_the_encoders_last_state_and_one_linear_map(known_size):
    model = double(small_model("direct", known_size=known_size))
    past, history, known, _ = window(model.sizes)
    p = numpy_of(model)
    s = gru(np.concatenate([past.numpy(), history.numpy()], -1), p, "encoder.")[-1]
    wanted = horizon_head(s, known.numpy(), p, model.sizes.forecast)
    np.testing.assert_allclose(model(past, history, known).detach().numpy(), wanted, rtol=0, atol=1e-10)


def test_two_directions_are_each_read_at_their_own_end():
    model = double(small_model("direct", num_layers=2, bidirectional=True))
    past, history, known, _ = window(model.sizes)
    p = numpy_of(model)
    x = np.concatenate([past.numpy(), history.numpy()], -1)
    for layer in range(2):
        forward, backward = gru(x, p, "encoder.", f"_l{layer}"), gru(x[::-1], p, "encoder.", f"_l{layer}_reverse")
        x = np.concatenate([forward, backward[::-1]], -1)
    s = np.concatenate([x[-1, :, :UNITS], x[0, :, UNITS:]], -1)
    wanted = horizon_head(s, known.numpy(), p, model.sizes.forecast)
    np.testing.assert_allclose(model(past, history, known).detach().numpy(), wanted, rtol=0, atol=1e-10)


def test_history_is_read_only_where_it_is_to_be():
    model = double(small_model("direct", feed_history=False))
    past, history, known, _ = window(model.sizes)
    assert model(past, history + 1, known).equal(model(past, history, known))
    model = double(small_model("direct", input_size=0))
    past, history, known, _ = window(model.sizes)
    assert not model(past, history + 1, known).equal(model(past, history, known))
