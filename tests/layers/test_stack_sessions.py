"""Stacks whose layers differ, a step at a time."""

import pytest
import torch
from torch_stack import B, I, T, by_hand, flat, random_states, with_weights_of

import gatewise
from gatewise import Recurrent
from gatewise.errors import UserError


def test_steps_are_the_layers(engine):
    layer = with_weights_of(by_hand(), engine)
    x = torch.randn(T, B, I, dtype=torch.float64)
    session = gatewise.stream(layer)
    session.state = (hx := random_states((5, 4)))
    wanted, state = layer(x, hx)
    torch.testing.assert_close(torch.stack([session.step(x_t) for x_t in x]), wanted)
    torch.testing.assert_close(flat(session.state), flat(state))
    session.state = session.state
    with pytest.raises(UserError, match="state: want"):
        session.state = ((hx[0][0], hx[0][0]), hx[0][0])
    with pytest.raises(UserError, match="one entry a layer"):
        session.state = hx[1]


@pytest.mark.parametrize("options", [{}, {"residual": True}])
def test_same_states_and_a_learned_start(engine, options):
    layer = Recurrent(
        ["gru", "rnn"], I, 5, learned_state=True, dtype=torch.float64, engine=engine, **options
    )  # fmt: skip
    for parameter in layer.parameters():
        parameter.data.normal_()
    x, session = torch.randn(T, B, I, dtype=torch.float64), gatewise.stream(layer)
    for _ in range(2):
        torch.testing.assert_close(torch.stack([session.step(x_t) for x_t in x]), layer(x)[0])
        assert session.state.shape == (2, B, 5)
        session.reset()
    layer.get_parameter("initial_h_l1").data.zero_()
    session.refresh()
    torch.testing.assert_close(torch.stack([session.step(x_t) for x_t in x]), layer(x)[0])


@pytest.mark.usefixtures("native")
def test_each_layer_steps_in_its_kernel_but_a_residual_one():
    session = gatewise.stream(Recurrent(["lstm", "gru"], I, 5, dtype=torch.float64))
    assert "by the module's own call" not in session.reason
    session = gatewise.stream(Recurrent("gru", I, 5, 2, residual=True, dtype=torch.float64))
    assert session.reason.endswith("by the module's own call, for its layers add their input to their output")
