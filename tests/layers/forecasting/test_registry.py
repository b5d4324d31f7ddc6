"""What every forecasting model must do, whatever it is; and what the table refuses."""

import pytest
import torch
from forecasting_oracle import double, small_model, window
from torch.autograd import gradcheck

from gatewise import UserError
from gatewise.layers.forecasting import FORECASTING, Sizes, forecasting_model, options_of


@pytest.fixture(params=list(FORECASTING))
def name(request):
    return request.param


@pytest.mark.parametrize("cell", ["gru", "lstm", "indrnn"])
def test_every_weight_learns_whatever_the_cell(name, cell):
    model = double(small_model(name, cell=cell, num_layers=2, outputs=3))
    past, history, known, _ = window(model.sizes)
    forecast = model(past, history, known)
    assert forecast.shape == (5, 3, 2, 3)
    (forecast * torch.randn_like(forecast)).sum().backward()
    silent = [key for key, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert silent == []


def test_gradients_are_those_of_finite_differences(name):
    model = double(small_model(name, lookback=4, horizon=3, hidden_size=3, outputs=2)).eval()
    past, history, known, _ = window(model.sizes, batch=2)
    names, weights = zip(*model.named_parameters(), strict=True)

    def run(past, history, known, *weights):
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (past, history, known))

    inputs = [value.requires_grad_() for value in (past, history, known)]
    assert gradcheck(run, (*inputs, *weights), eps=1e-6, atol=1e-7, rtol=1e-5, fast_mode=True)


def test_quantiles_are_in_order(name):
    model = double(small_model(name, outputs=5))
    forecast = model(*window(model.sizes)[:3])
    gaps = forecast.diff(dim=-1)
    assert (gaps >= 0).all()
    assert gaps.max() > 0.1


def test_the_native_engine_says_what_the_reference_says(name, native):
    torch.manual_seed(2)
    reference = small_model(name, hidden_size=9)
    compiled = small_model(name, hidden_size=9, engine="native")
    compiled.load_state_dict(reference.state_dict())
    given = window(reference.sizes, batch=5, dtype=torch.float32)[:3]
    wanted, found = reference(*given), compiled(*given)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    for model, forecast in ((reference, wanted), (compiled, found)):
        forecast.square().sum().backward()
        assert all(weight.grad is not None for weight in model.parameters())
    for one, other in zip(compiled.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-4)


def test_sequences_of_a_batch_do_not_see_each_other(name):
    model = double(small_model(name))
    past, history, known, _ = window(model.sizes)
    together = model(past, history, known)
    alone = torch.cat([model(past[:, b : b + 1], history[:, b : b + 1], known[:, b : b + 1]) for b in range(3)], 1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("known_size", [0, 1])
@pytest.mark.parametrize("input_size", [0, 1])
def test_a_window_may_be_as_small_as_can_be(name, input_size, known_size):
    sizes = {"input_size": input_size, "target_size": 1, "known_size": known_size, "lookback": 2, "horizon": 1}
    model = small_model(name, **sizes).double()
    assert model(*window(model.sizes)[:3]).isfinite().all()


def test_every_option_of_the_layers_gets_through(name):
    options = {"cell": ["gru", "lstm"], "hidden_size": 4, "zoneout": 0.1, "recurrent_dropout": 0.1, "weight_drop": 0.1}
    options |= {"residual": True, "learned_state": True, "layer_norm": True}
    model = small_model(name, **options).double()
    given = window(model.sizes)[:3]
    model(*given).sum().backward()
    assert model.eval()(*given).equal(model(*given))


def test_dropout_is_in_training_alone(name):
    model = double(small_model(name, dropout=0.5))
    given = window(model.sizes)[:3]
    assert not model(*given).equal(model(*given))
    assert model.eval()(*given).equal(model(*given))


@pytest.mark.parametrize(("place", "what"), [(0, "past"), (1, "history"), (2, "known"), (3, "targets")])
def test_another_shape_is_refused_by_name(name, place, what):
    model = double(small_model(name))
    given = window(model.sizes)
    given[place] = given[place][:, :, :1]
    with pytest.raises(UserError, match=rf"^{what}: want \(steps, batch, features\) = \(., 3, 2\), got"):
        model(*given[:3], 1.0, given[3])


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="no forecasting model 'directt': did you mean 'direct'"):
        forecasting_model("directt", 1, 1, 0, 4, 2)
    with pytest.raises(UserError, match="'direct' has no option 'hiden_size': did you mean 'hidden_size'"):
        forecasting_model("direct", 1, 1, 0, 4, 2, hiden_size=3)


@pytest.mark.parametrize(
    ("key", "value"),
    [("input_size", -1), ("target_size", 0), ("known_size", 1.5), ("lookback", 0), ("horizon", True), ("outputs", 0)],
)
def test_sizes_are_whole_numbers(key, value):
    sizes = {"input_size": 1, "target_size": 1, "known_size": 0, "lookback": 4, "horizon": 2, key: value}
    with pytest.raises(UserError, match=f"{key}: want a whole number from . up, got {value!r}"):
        Sizes(**sizes)


def test_an_encoder_with_nothing_to_read_is_refused():
    with pytest.raises(UserError, match="nothing to read"):
        Sizes(0, 1, 0, 4, 2, feed_history=False)


def test_the_options_are_those_that_the_class_takes(name):
    assert {"cell", "hidden_size", "num_layers", "dropout", "engine", "precision"} <= set(options_of(name))
