"""Products in bfloat16: as near to float32 as eight bits of precision are, and the reference's own rounding."""

import pytest
import torch
from comparison import STRUCTURES, everything, one_or_all, random_input, random_layer, random_states

import gatewise
from gatewise import trace
from gatewise.errors import UserError

# A kink sends a gradient one way or the other by the last bit of a sum.
SMOOTH = [cell for cell in STRUCTURES if "relu" not in {node.op for node in trace(cell).nodes}]


@pytest.fixture
def layers():
    """The same weights three times: native in bf16, the reference in bf16, the reference in float32."""

    def make(cell, **options):
        kinds = [("native", "bf16"), ("eager", "bf16"), ("eager", None)]
        return [
            random_layer(cell, engine, dtype=torch.float32, precision=precision, **options)
            for engine, precision in kinds
        ]

    return make


def distance(actual, expected) -> float:
    return ((actual - expected).norm() / expected.norm().clamp_min(1e-12)).item()


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("lengths", [None, (7, 2, 5, 1, 7)], ids=["whole", "lengths"])
@pytest.mark.parametrize("hidden", [17, 64])
@pytest.mark.parametrize("cell", SMOOTH)
def test_everything_is_near_the_reference(cell, hidden, lengths, layers):
    native, reference, full = layers(cell, hidden=hidden, num_layers=2, bidirectional=True)
    x, states = random_input(7, 5, torch.float32), random_states(native, 5)
    actual, rounded, exact = (everything(layer, x, states, lengths=lengths) for layer in (native, reference, full))
    for name, value in exact.items():
        assert distance(actual[name], value) < 2e-2, name
        # The forward pass rounds the very same numbers; autograd does not round the gradients' products.
        assert distance(actual[name], rounded[name]) < (2e-2 if name.startswith("d ") else 3e-3), name
        assert not (value.any() and torch.equal(actual[name], value)), name


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [1, 3, 33])
@pytest.mark.parametrize("cell", ["gru", "gru-before", "lstm-peephole", "rnn-relu"])
def test_outputs_are_within_a_hundredth_of_float32(cell, batch, threads, layers):
    native, _, full = layers(cell, hidden=48)
    torch.set_num_threads(threads)
    x, states = random_input(20, batch, torch.float32), random_states(native, batch)
    with torch.no_grad():
        actual, expected = (layer(x, one_or_all(states))[0] for layer in (native, full))
    assert (actual - expected).abs().max() <= 1e-2 * expected.abs().max()


@pytest.mark.usefixtures("native")
def test_a_language_models_loss_stays_within_a_hundredth_of_a_nat():
    torch.manual_seed(0)
    model = gatewise.LanguageModel(13, "gru", 64, embedding_size=8)
    tokens = (torch.arange(61 * 16).reshape(61, 16) ** 2 // 7) % 13
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)

    def loss(which):
        scores, _ = which(tokens[:-1])
        return torch.nn.functional.cross_entropy(scores.flatten(0, 1), tokens[1:].flatten())

    for _ in range(60):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    narrow = gatewise.LanguageModel(13, "gru", 64, embedding_size=8, precision="bf16")
    narrow.load_state_dict(model.state_dict())
    with torch.no_grad():
        full, rounded = loss(model).item(), loss(narrow).item()
    assert full < 2.0  # it has learned something; log 13 is 2.56
    assert 0 < abs(full - rounded) < 0.01


@pytest.mark.usefixtures("native")
def test_which_says_so():
    assert "products in bf16" in gatewise.which(gatewise.GRU(3, 5, precision="bf16")).reason


def test_engines_without_it_say_so():
    double = gatewise.GRU(3, 5, precision="bf16", dtype=torch.float64)
    assert gatewise.which(double).engine == "eager"
    with pytest.raises(UserError, match="own precision"):
        gatewise.which(gatewise.GRU(3, 5, precision="bf16", engine="torch"))
    with pytest.raises(UserError, match="precision='fp8'"):
        gatewise.GRU(3, 5, precision="fp8")
