"""``gatewise.stream``: one step at a time gives what the whole sequence gives, whichever engine steps."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from closeness import assert_close
from torch import nn
from torch.nn.utils import parameters_to_vector, parametrize, vector_to_parameters

import gatewise
from gatewise import Recurrent, UserError, stream


def random_layer(cell="gru", inputs=3, hidden=17, layers=2, dtype=torch.float64, **options):
    """A layer with no zero and no symmetry among its weights."""
    torch.manual_seed(7)
    layer = Recurrent(cell, inputs, hidden, layers, dtype=dtype, **options)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_(0, 1.5 * weight.shape[-1] ** -0.5 if weight.dim() > 1 else 0.5)
    return layer


def random_state(layer, *batch):
    parts = [torch.randn(layer.num_layers, *batch, size, dtype=torch.float64) for size in layer.state_sizes]
    parts = [part.to(next(layer.parameters()).dtype) for part in parts]
    return parts[0] if len(parts) == 1 else tuple(parts)


@pytest.mark.parametrize("batch", [(), (1,), (5,)], ids=str)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_steps_are_the_sequence(engine, cell, batch):
    """From a state that is not zero, against ``torch.nn`` with the same weights."""
    layer = random_layer(cell, engine=engine)
    peer = getattr(nn, cell.upper())(3, 17, 2, dtype=torch.float64)
    peer.load_state_dict(layer.state_dict())
    x, state = torch.randn(6, *batch, 3, dtype=torch.float64), random_state(layer, *batch)
    session = stream(layer)
    session.state = state
    got = torch.stack([session.step(x_t) for x_t in x])
    with torch.no_grad():
        wanted, final = peer(x, state)
    assert session.engine == engine
    assert_close(got, wanted)
    assert_close(session.state, final)


def test_without_a_state_the_first_step_starts_from_zero(engine):
    layer = random_layer(engine=engine)
    session, x = stream(layer), torch.randn(4, 3, dtype=torch.float64)
    assert session.state is None
    assert_close(torch.stack([session.step(x_t) for x_t in x]), layer(x)[0])


def test_the_time_of_a_batch_first_layer_is_no_matter(engine):
    layer = random_layer(engine=engine, batch_first=True)
    x, session = torch.randn(4, 6, 3, dtype=torch.float64), stream(layer)
    got = torch.stack([session.step(x[:, t]) for t in range(6)], dim=1)
    assert_close(got, layer(x)[0])
    assert_close(session.state, layer(x)[1])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_state_taken_out_and_put_back(engine, cell):
    layer = random_layer(cell, engine=engine)
    x, session = torch.randn(9, 2, 3, dtype=torch.float64), stream(layer)
    for x_t in x[:4]:
        session.step(x_t)
    kept = session.state
    wanted = [session.step(x_t) for x_t in x[4:]]
    other = stream(layer)
    for again in (other, session):
        again.state = kept
        assert_close(again.state, kept, 0)
        for x_t, y in zip(x[4:], wanted, strict=True):
            assert torch.equal(again.step(x_t), y)
    session.state = None
    assert session.state is None
    assert_close(session.step(x[0]), layer(x[:1])[0][0])


def test_a_state_that_was_read_is_a_copy(engine):
    layer = random_layer(engine=engine)
    x, session = torch.randn(3, dtype=torch.float64), stream(layer)
    session.step(x)
    state = session.state
    wanted = state.clone()
    session.step(x)
    assert torch.equal(state, wanted)
    session.state = state
    state.zero_()
    assert torch.equal(session.state, wanted)


def test_outputs_are_memory_of_their_own(engine):
    layer = random_layer(engine=engine)
    x, session = torch.randn(5, 2, 3, dtype=torch.float64), stream(layer)
    outputs, copies = [], []
    for x_t in x:
        outputs.append(session.step(x_t))
        copies.append(outputs[-1].clone())
        outputs[-1].data_ptr()
    assert all(torch.equal(a, b) for a, b in zip(outputs, copies, strict=True))
    outputs[-1].zero_()  # not the state's memory either
    assert_close(session.step(x[0]), layer(torch.cat([x, x[:1]]))[0][-1])


def test_reset(engine):
    layer = random_layer(engine=engine)
    session, x = stream(layer), torch.randn(3, dtype=torch.float64)
    first = session.step(x)
    assert not torch.equal(session.step(x), first)
    session.reset()
    assert session.state is None
    assert torch.equal(session.step(x), first)
    session.reset()
    assert_close(session.step(x.expand(4, 3)), first.expand(4, 17))


def test_another_batch_is_refused_and_changes_nothing(engine):
    layer = random_layer(engine=engine)
    session, x = stream(layer), torch.randn(2, 3, dtype=torch.float64)
    session.step(x)
    before = session.state
    for other in (x[0], x[:1], torch.cat([x, x])):
        with pytest.raises(UserError, match=r"shape \(2, 3\), got .*reset"):
            session.step(other)
    assert torch.equal(session.state, before)
    assert_close(session.step(x), layer(torch.stack([x, x]))[0][1])


@pytest.mark.parametrize(
    ("x", "error", "said"),
    [
        (torch.zeros(4, dtype=torch.float64), RuntimeError, "Expected 3, got 4"),
        (torch.zeros(3), ValueError, "dtype"),
        (torch.zeros(3, dtype=torch.int64), ValueError, "dtype"),
        (torch.zeros(1, 1, 3, dtype=torch.float64), UserError, r"\(I,\) or \(B, I\)"),
        (torch.tensor(1.0, dtype=torch.float64), UserError, r"\(I,\) or \(B, I\)"),
    ],
)
def test_inputs_that_do_not_fit(engine, x, error, said):
    session = stream(random_layer(engine=engine))
    for _ in range(2):  # at first, and on the short way that later steps take
        with pytest.raises(error, match=said):
            session.step(x)
        session.step(torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(2, 16), (1, 17), (2, 3, 16), (1, 3, 17), (2, 3, 1, 17), (17,)])
def test_states_that_do_not_fit_leave_the_old_one(engine, shape):
    session = stream(random_layer(engine=engine))
    session.step(torch.zeros(3, dtype=torch.float64))
    before = session.state
    with pytest.raises(UserError, match=r"want \(2, 17\) or \(2, B, 17\), got"):
        session.state = torch.zeros(shape)
    with pytest.raises(UserError, match="state: want"):
        session.state = (before, before)  # type: ignore[arg-type]
    assert torch.equal(session.state, before)  # type: ignore


def test_inputs_of_other_kinds(engine):
    layer = random_layer(engine=engine)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    wanted = layer(x)[0]
    kinds = [
        lambda t: x[t].numpy(),
        lambda t: np.frombuffer(x[t].numpy().tobytes()).reshape(2, 3),  # read-only
        lambda t: x[t].tolist(),
        lambda t: x[t].t().contiguous().t(),
        lambda t: x[t].clone().requires_grad_(),
        lambda t: nn.Parameter(x[t]),
    ]
    session = stream(layer)
    for t, kind in enumerate(kinds):
        given = kind(t)
        output = session.step(given)
        assert isinstance(output, np.ndarray) == isinstance(given, np.ndarray)
        output = torch.as_tensor(output)
        assert not output.requires_grad
        assert_close(output, wanted[t])


def test_arrays_take_the_type_of_the_weights(engine):
    session = stream(random_layer(engine=engine, dtype=torch.float32))
    assert session.step(np.ones(3)).dtype == np.float32


def test_a_row_with_nan_stays_in_its_row(engine):
    layer = random_layer(engine=engine)
    x, session = torch.randn(4, 3, 3, dtype=torch.float64), stream(layer)
    x[1, 1] = torch.nan
    got = torch.stack([session.step(x_t) for x_t in x])
    assert got[1:, 1].isnan().all()
    assert_close(got[:, [0, 2]], layer(x[:, [0, 2]])[0])


def test_an_empty_batch(engine):
    session = stream(random_layer(engine=engine, layers=1))
    if engine != "native":
        pytest.skip("a matter of the layer's own engine")
    assert session.step(torch.zeros(0, 3, dtype=torch.float64)).shape == (0, 17)
    assert session.state.shape == (1, 0, 17)


def by_optimiser(layer):
    layer(torch.randn(3, 2, 3, dtype=torch.float64))[0].sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()


def by_state_dict(layer):
    layer.load_state_dict({k: v * 0.9 for k, v in layer.state_dict().items()})


def in_place(layer):
    with torch.no_grad():
        layer.bias_hh_l1.mul_(0.5)


def by_vector(layer):
    vector_to_parameters(parameters_to_vector(layer.parameters()) * 0.9, layer.parameters())


@pytest.mark.parametrize("change", [by_optimiser, by_state_dict, in_place, by_vector])
def test_weights_that_changed_are_used_by_the_next_step(engine, change):
    layer = random_layer(engine=engine)
    x, session = torch.randn(8, 2, 3, dtype=torch.float64), stream(layer)
    state = None
    for t, x_t in enumerate(x):
        if t in (2, 3, 6):
            change(layer)
        with torch.no_grad():
            wanted, state = layer(x_t.unsqueeze(0), state)
        assert_close(session.step(x_t), wanted[0])


def test_refresh_for_what_cannot_be_seen(engine):
    layer = random_layer(engine=engine)
    x, session = torch.randn(3, dtype=torch.float64), stream(layer)
    session.step(x)
    state = session.state
    layer.weight_hh_l1.data.mul_(0.5)  # type: ignore[operator]
    layer.weight_ih_l0 = nn.Parameter(layer.weight_ih_l0 * 2)  # type: ignore[operator]
    session.refresh()
    assert_close(session.state, state, 0)
    assert_close(session.step(x), layer(x.unsqueeze(0), state)[0][0])


def test_a_layer_that_changes_its_type(engine):
    layer = random_layer(engine=engine)
    x, session = torch.randn(3, dtype=torch.float64), stream(layer)
    session.step(x)
    layer.float()
    output = session.step(x.float())
    assert output.dtype == torch.float32
    assert_close(output, layer(torch.stack([x, x]).float())[0][1], 1e-6)


def test_the_layer_is_left_as_it_was(engine):
    layer = random_layer(engine=engine, dropout=0.9).train()
    x, session = torch.randn(5, 3, dtype=torch.float64), stream(layer)
    got = torch.stack([session.step(x_t) for x_t in x])
    assert layer.training
    assert all(p.grad is None and p.requires_grad for p in layer.parameters())
    assert_close(got, layer.eval()(x)[0])  # no dropout


def test_what_cannot_be_streamed():
    with pytest.raises(UserError, match="bidirectional layer cannot be streamed"):
        stream(gatewise.GRU(3, 5, bidirectional=True))
    for other in (nn.Sequential(gatewise.GRU(3, 5)), nn.GRU(3, 5)):
        with pytest.raises(UserError, match=rf"not {type(other).__name__}: stream its layer"):
            stream(other)  # type: ignore[arg-type]


def test_no_copies():
    session = stream(gatewise.GRU(3, 5))
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="set its state"):
            way(session)


class Doubled(Recurrent):
    def forward(self, input, hx=None, **other):
        output, state = super().forward(input, hx, **other)
        return 2 * output, state


class Half(nn.Module):
    def forward(self, weight):
        return weight / 2


def with_hook(layer):
    layer.register_forward_hook(lambda module, given, result: (2 * result[0], result[1]))


def with_formula(layer):
    parametrize.register_parametrization(layer, "weight_hh_l0", Half())


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("made", ["subclass", "hook", "parametrization", "projection", "bfloat16"])
def test_what_the_kernel_cannot_do_the_module_does(made):
    layer = {
        "subclass": lambda: Doubled("gru", 3, 5, dtype=torch.float64),
        "projection": lambda: gatewise.LSTM(3, 5, proj_size=2, dtype=torch.float64),
        "bfloat16": lambda: gatewise.GRU(3, 5, dtype=torch.bfloat16),
    }.get(made, lambda: random_layer("gru", layers=1))()
    {"hook": with_hook, "parametrization": with_formula}.get(made, lambda layer: None)(layer)
    session, x = stream(layer), torch.randn(6, 2, 3, dtype=next(layer.parameters()).dtype)
    got = torch.stack([session.step(x_t) for x_t in x])
    assert_close(got, layer(x)[0], 0.05 if made == "bfloat16" else 1e-12)
    assert_close(session.state, layer(x)[1], 0.05 if made == "bfloat16" else 1e-12)
    if made in ("subclass", "hook", "parametrization"):
        assert "module's own call" in session.reason
    else:
        assert session.engine != "native"


@pytest.mark.usefixtures("native")
def test_shapes_and_kinds_in_turn():
    """Sessions of many sizes, interleaved, do not disturb each other."""
    layers = [random_layer(cell, hidden=hidden) for cell, hidden in itertools.product(["gru", "lstm"], [5, 17, 33])]
    xs = [torch.randn(5, 1 + i, 3, dtype=torch.float64) for i in range(len(layers))]
    sessions = [stream(layer) for layer in layers]
    got = [[session.step(x[t]) for session, x in zip(sessions, xs, strict=True)] for t in range(5)]
    for outputs, layer, x in zip(zip(*got, strict=True), layers, xs, strict=True):
        assert_close(torch.stack(outputs), layer(x)[0])


def test_numbers_whose_sign_is_only_noted():
    layer = gatewise.GRU(1, 5)
    session = gatewise.stream(layer)
    x = torch.complex(torch.ones(1), torch.ones(1)).conj().imag
    assert x.is_neg()
    session.step(-torch.ones(1))
    session.reset()
    first, again = session.step(x), layer(torch.tensor([[-1.0]]))[0][0]
    torch.testing.assert_close(first, again)
    torch.testing.assert_close(session.step(x), layer(-torch.ones(2, 1))[0][1])
