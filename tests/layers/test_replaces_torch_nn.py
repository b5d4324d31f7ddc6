"""gatewise.RNN, GRU and LSTM against torch.nn's: construction, weights, words, randomness."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import gatewise
from gatewise.engines import ENGINES

NAMES = ["RNN", "GRU", "LSTM"]
CONFIGURATIONS = {
    "plain": {},
    "relu": {"nonlinearity": "relu"},
    "deep": {"num_layers": 3, "bidirectional": True},
    "no bias": {"num_layers": 2, "bias": False, "dtype": torch.float64},
    "projected": {"proj_size": 2, "num_layers": 2, "bidirectional": True},
    "projected, no bias": {"proj_size": 4, "bias": False, "batch_first": True},
    "everything": {
        "num_layers": 2,
        "batch_first": True,
        "dropout": 0.25,
        "bidirectional": True,
        "dtype": torch.float64,
    },
}
PAIRS = [
    pytest.param(name, options, id=f"{name} {what}")
    for name in NAMES
    for what, options in CONFIGURATIONS.items()
    if ("nonlinearity" not in options or name == "RNN") and ("proj_size" not in options or name == "LSTM")
]


def both(name, *args, seed=0, **options):
    """The same module by torch.nn and by gatewise, from the same seed."""
    made = []
    for library in (nn, gatewise):
        torch.manual_seed(seed)
        made.append(getattr(library, name)(*args, **options))
    return made


def tensors(value):
    return [value] if isinstance(value, torch.Tensor) else [t for item in value for t in tensors(item)]


def assert_close(value, same, tolerance):
    torch.testing.assert_close(value, same, rtol=tolerance, atol=tolerance)


def assert_same_answer(one, other, *arguments, tolerance=0.0):
    for value, same in zip(tensors(one(*arguments)), tensors(other(*arguments)), strict=True):
        assert_close(value, same, tolerance)


@pytest.mark.parametrize(("name", "options"), PAIRS)
def test_the_same_seed_draws_the_same_weights(name, options):
    reference, layer = both(name, 3, 5, **options)
    assert list(reference.state_dict()) == list(layer.state_dict())
    for key, weight in reference.state_dict().items():
        assert layer.state_dict()[key].dtype == weight.dtype
        assert torch.equal(layer.state_dict()[key], weight)
    after = [torch.rand(3)]
    layer.reset_parameters()
    torch.manual_seed(0)
    reference.reset_parameters()
    after.append(torch.rand(3))
    assert torch.equal(*after)  # both have used up the same random numbers
    for mine, theirs in zip(layer.all_weights, reference.all_weights, strict=True):
        assert [w.shape for w in mine] == [w.shape for w in theirs]
    assert all(weight.abs().max() <= 5**-0.5 for weight in layer.parameters())


@pytest.mark.parametrize(("name", "options"), PAIRS)
def test_it_is_printed_alike(name, options):
    reference, layer = both(name, 3, 5, **options)
    assert repr(layer) == repr(reference)
    for attribute in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional",
                      "proj_size"):  # fmt: skip
        assert getattr(layer, attribute) == getattr(reference, attribute)


@pytest.mark.parametrize(("engine", "tolerance"), [("torch", 0.0), ("auto", 1e-6)])
@pytest.mark.parametrize(("name", "options"), PAIRS)
def test_it_answers_alike_packed_and_with_a_state(name, options, engine, tolerance):
    options = options | {"dropout": 0.0}
    reference, layer = both(name, 3, 5, **options)
    layer.engine = engine
    dtype, count = (
        options.get("dtype", torch.float32),
        options.get("num_layers", 1) * (1 + options.get("bidirectional", 0)),
    )
    x = torch.randn(4, 6, 3, dtype=dtype)
    states = [torch.randn(count, 4, options.get("proj_size", 5), dtype=dtype), torch.randn(count, 4, 5, dtype=dtype)]
    hx = tuple(states) if name == "LSTM" else states[0]
    for lengths, enforce_sorted in (([6, 4, 4, 1], True), ([2, 6, 1, 5], False)):
        packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first=True, enforce_sorted=enforce_sorted)
        (ours, our_state), (theirs, their_state) = layer(packed, hx), reference(packed, hx)
        assert_close(ours.data, theirs.data, tolerance)
        for value, same in zip(ours[1:], theirs[1:], strict=True):
            assert torch.equal(value, same) if same is not None else value is None
        for value, same in zip(tensors(our_state), tensors(their_state), strict=True):
            assert_close(value, same, tolerance)
        padded, _ = layer(x if layer.batch_first else x.transpose(0, 1), hx, lengths=lengths)
        expected, _ = pad_packed_sequence(theirs, batch_first=layer.batch_first)
        assert_close(padded, expected, tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_is_answered_alike(name):
    reference, layer = both(name, 3, 5)
    assert_same_answer(layer, reference, torch.zeros(4, 0, 3))


# Constructor arguments that torch.nn refuses, one mistake each and several at once (whose order then shows).
BAD_ARGUMENTS = [
    ((), {}), ((3,), {}), ((3, 5), {"hidden": 7}),
    ((0, 5), {}), ((-2, 5), {}), ((3.0, 5), {}), (("3", 5), {}), ((None, 5), {}),
    ((3, 0), {}), ((3, -1), {}), ((3, 5.0), {}), ((3, "5"), {}), ((3, None), {}),
    ((3, 5), {"num_layers": 0}), ((3, 5), {"num_layers": -1}), ((3, 5), {"num_layers": "2"}),
    ((3, 5), {"num_layers": 1.5}), ((3, 5), {"num_layers": None}),
    ((3, 5), {"bias": 0}), ((3, 5), {"bias": None}), ((3, 5), {"bias": "True"}),
    ((3, 5), {"batch_first": 1}), ((3, 5), {"batch_first": None}),
    ((3, 5), {"dropout": -0.1}), ((3, 5), {"dropout": 1.5}), ((3, 5), {"dropout": True}),
    ((3, 5), {"dropout": "0.5"}), ((3, 5), {"dropout": "half"}), ((3, 5), {"dropout": None}),
    ((3, 5), {"dropout": [0.5]}), ((3, 5), {"dropout": float("nan")}), ((3, 5), {"dropout": 1j}),
    ((3, 5), {"proj_size": 2}), ((3, 5), {"proj_size": -1}), ((3, 5), {"proj_size": 5}),
    ((3, 5), {"proj_size": "2"}), ((3, 5), {"proj_size": None}),
    ((3, 5), {"device": "nonsense"}), ((3, 5), {"dtype": torch.int64}), ((3, 5), {"dtype": "float32"}),
    ((3, 5), {"nonlinearity": "sigmoid"}), ((3, 5, 1, "sigmoid"), {}), ((3, 5), {"nonlinearity": None}),
    ((3, 5), {"nonlinearity": ["tanh"]}),
    ((0, 0), {}), ((3.0, 0), {}), ((0, 5.0), {}), ((3, 0, 0), {}), ((3, 5, 0), {"proj_size": 9}),
    ((3, 5), {"dropout": 2, "bias": 0}), ((0, 5), {"bias": 0, "batch_first": 0}),
    ((3, 5), {"proj_size": 2, "nonlinearity": "sigmoid"}), ((3, 0), {"proj_size": -1}),
]  # fmt: skip


def answer(call) -> Exception | None:
    """The error of a call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except Exception as error:
            return error
    return None


def assert_same_error(ours, theirs):
    error, expected = answer(ours), answer(theirs)
    assert type(error) is type(expected), f"{error!r} instead of {expected!r}"
    if "__init__()" not in str(expected):  # what Python says about a signature names torch's own class
        assert str(error) == str(expected)


@pytest.mark.parametrize(("args", "options"), BAD_ARGUMENTS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_constructor_errors_are_those_of_torch(name, args, options):
    assert_same_error(lambda: getattr(gatewise, name)(*args, **options), lambda: getattr(nn, name)(*args, **options))


@pytest.mark.parametrize("name", NAMES)
def test_dropout_on_one_layer_warns_as_in_torch(name):
    with pytest.warns(UserWarning, match="num_layers=1") as warned:
        both(name, 3, 5, dropout=0.5)
    theirs, ours = warned
    assert str(ours.message) == str(theirs.message)
    assert "but got dropout=0.5 and num_layers=1" in str(ours.message)


def bad_inputs(name):
    """(what, module options, arguments of a call that torch.nn refuses)"""
    x, h = torch.randn(6, 4, 3), torch.randn(2, 4, 5)

    def hx(state, other=None):
        return (state, h if other is None else other) if name == "LSTM" else state

    def packed(features=3):
        return pack_padded_sequence(torch.randn(6, 4, features), torch.tensor([6, 4, 2, 1]))

    for batch_first in (False, True):
        options = {"num_layers": 2} | ({"batch_first": True} if batch_first else {})
        yield "0-D", options, (torch.tensor(1.0),)
        yield "1-D", options, (torch.randn(3),)
        yield "4-D", options, (x[None],)
        yield "no steps", options, (x.new_zeros((4, 0, 3) if batch_first else (0, 4, 3)),)
        yield "no steps, one sequence", options, (x[:0, 0],)
        yield "features", options, (torch.randn(6, 4, 2),)
        yield "features of one sequence", options, (torch.randn(6, 2),)
        yield "double", options, (x.double(),)
        yield "whole numbers", options, (torch.ones(6, 4, 3, dtype=torch.int64),)
        yield "double and features", options, (torch.randn(6, 4, 2).double(),)
        yield "state of one sequence", options, (x, hx(h[:, 0], h[:, 0]))
        yield "state of a batch", options, (x[:, 0], hx(h))
        yield "4-D state", options, (x, hx(h[None], h[None]))
        yield "1-D state", options, (x[:, 0], hx(h[0, 0], h[0, 0]))
        yield "state and features", options, (torch.randn(6, 4, 2), hx(h[:, 0], h[:, 0]))
        yield "layers of the state", options, (x, hx(h[:1]))
        yield "batch of the state", options, (x, hx(h[:, :3]))
        yield "size of the state", options, (x, hx(h[..., :4]))
        yield "size of the state of one sequence", options, (x[:, 0], hx(h[:, 0, :4], h[:, 0]))
        yield "type of the state", options, (x.transpose(0, 1) if batch_first else x, hx(h.double(), h.double()))
    yield "directions of the state", {"bidirectional": True}, (x, hx(h[:1], h))
    yield "a list", {}, ([[1.0, 2.0, 3.0]],)
    if name != "LSTM":  # torch's LSTM does not look at these and fails somewhere inside; ours is tested below
        yield "packed features", {}, (packed(2),)
        yield "packed batch of the state", {"num_layers": 2}, (packed(), h[:, :3])
        yield "packed size of the state", {"num_layers": 2}, (packed(), h[..., :4])
        yield "packed 2-D state", {"num_layers": 2}, (packed(), h[0])
        yield "packed double", {}, (packed().to(torch.float64),)
    if name == "LSTM":
        yield "second state's size", {"num_layers": 2}, (x, (h, h[..., :3]))
        yield "second state's batch", {"num_layers": 2}, (x, (h, h[:, :3]))
        yield "second state's dimensions", {"num_layers": 2}, (x, (h, h[:, 0]))
        yield "second state of a batch", {"num_layers": 2}, (x[:, 0], (h[:, 0], h))
        yield "one state alone", {"num_layers": 2}, (x, h)
        yield "projected state", {"num_layers": 2, "proj_size": 2}, (x, (h, h))
        yield "second state projected", {"num_layers": 2, "proj_size": 2}, (x, (h[..., :2], h[..., :2]))


BAD_INPUTS = [
    pytest.param(name, what, options, arguments, id=f"{name}: {what}{', batch first' * ('batch_first' in options)}")
    for name in NAMES
    for what, options, arguments in bad_inputs(name)
]


@pytest.mark.parametrize(("name", "what", "options", "arguments"), BAD_INPUTS)
def test_input_errors_are_those_of_torch(name, what, options, arguments):
    reference, layer = both(name, 3, 5, **options)
    assert answer(lambda: reference(*arguments)) is not None
    for engine in ENGINES:
        if what == "type of the state" and engine.name != "torch":
            continue  # these words come from torch's kernel itself
        layer.engine = engine.name
        assert_same_error(lambda: layer(*arguments), lambda: reference(*arguments))


def test_a_packed_lstm_says_what_a_packed_gru_says():
    gru, lstm = nn.GRU(3, 5, num_layers=2), gatewise.LSTM(3, 5, num_layers=2)
    cases = [arguments for what, _, arguments in bad_inputs("GRU") if what.startswith("packed")]
    assert len(cases) == 5
    for packed, *hx in cases:
        states = tuple((hx[0], torch.randn(2, 4, 5)) for _ in hx)
        error, expected = answer(lambda: lstm(packed, *states)), answer(lambda: gru(packed, *hx))  # noqa: B023
        assert type(error) is type(expected)
        assert str(error) == str(expected).replace("hidden", "hidden[0]")


@pytest.mark.parametrize(("name", "options"), PAIRS)
def test_copies_and_pickles_are_independent_and_equal(name, options):
    _, layer = both(name, 3, 5, **options)
    layer.eval()
    x = torch.randn(4, 6, 3, dtype=options.get("dtype", torch.float32))
    layer(x)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301  (our own bytes)
        assert_same_answer(again, layer, x)
        assert repr(again) == repr(layer)
        with torch.no_grad():
            next(again.parameters()).zero_()
        assert next(layer.parameters()).any()
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    _, other = both(name, 3, 5, seed=1, **options)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same_answer(other.eval(), layer, x)


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("name", NAMES)
def test_weight_norm_on_the_recurrent_matrix(name, engine):
    reference, layer = both(name, 3, 5)
    layer.engine = engine
    for module in (reference, layer):
        parametrizations.weight_norm(module, "weight_hh_l0")
        with torch.no_grad():
            module.parametrizations.weight_hh_l0.original0.mul_(1.5)
    x = torch.randn(6, 4, 3)
    assert_same_answer(layer, reference, x, tolerance=1e-6)
    for module in (reference, layer):
        module(x)[0].square().sum().backward()
    grads = [{n: w.grad for n, w in module.named_parameters()} for module in (reference, layer)]
    assert grads[0].keys() == grads[1].keys()
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad)


@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("name", NAMES)
def test_functional_call_takes_other_weights(name, engine):
    reference, layer = both(name, 3, 5)
    layer.engine = engine
    x = torch.randn(6, 4, 3)
    weights = {key: torch.randn_like(weight, requires_grad=True) for key, weight in layer.state_dict().items()}
    ours, theirs = (functional_call(module, weights, (x,))[0] for module in (layer, reference))
    torch.testing.assert_close(ours, theirs)
    for mine, same in zip(*(torch.autograd.grad(y.sum(), list(weights.values())) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(mine, same)
    assert_same_answer(layer, reference, x, tolerance=1e-6)  # the module's own weights are untouched


@pytest.mark.parametrize("name", NAMES)
def test_conversion_and_training_are_those_of_torch(name):
    reference, layer = both(name, 3, 5, num_layers=2)
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    for module in (reference, layer):
        module.double()
        module.flatten_parameters()
        optimiser = torch.optim.AdamW(module.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            module(x)[0].square().mean().backward()
            optimiser.step()
    assert_same_answer(layer, reference, x, tolerance=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_drops_as_in_torch(name):
    reference, layer = both(name, 3, 50, num_layers=3, dropout=0.4)
    layer.engine = "torch"
    x = torch.randn(6, 4, 3)
    for seed in range(3):
        answers = []
        for module in (reference, layer):
            torch.manual_seed(seed)
            answers.append(module(x)[0])
        assert torch.equal(*answers)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    assert_same_answer(layer.eval(), reference.eval(), x)
    assert torch.equal(layer(x)[0], layer(x)[0])


RUNS_AN_RNN = ("native", "torch", "eager")


@pytest.mark.parametrize("engine", RUNS_AN_RNN)
def test_dropout_keeps_the_mean_and_drops_its_share(engine):
    """Between the layers and nowhere else: a second layer that repeats its input shows what was dropped."""
    layer = gatewise.RNN(1, 100, num_layers=2, nonlinearity="relu", dropout=0.3, engine=engine)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.get_parameter("weight_ih_l0").fill_(1.0)  # the first layer says 1 everywhere
        layer.get_parameter("weight_ih_l1").copy_(torch.eye(100))
    torch.manual_seed(0)
    heard = layer(torch.ones(20, 30, 1))[0]
    kept = heard > 0
    assert torch.allclose(heard[kept], torch.tensor(1 / 0.7))
    assert abs(kept.float().mean().item() - 0.7) < 0.01
    assert (layer.eval()(torch.ones(20, 30, 1))[0] == 1.0).all()


def test_dropout_of_everything_leaves_the_biases():
    layer = gatewise.Recurrent("gru-before", 3, 5, num_layers=2, dropout=1.0)
    x = torch.randn(6, 4, 3)
    assert torch.equal(layer(x)[0], layer(2 * x)[0])
