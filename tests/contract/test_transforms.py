"""Transforms of cells: each against the paper's formula in NumPy, and every engine against the reference."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from comparison import assert_agree, everything, random_input, random_layer, random_states

import gatewise
from gatewise import layer_norm, recurrent_dropout, zoneout
from gatewise.engines import Request, Weights
from gatewise.engines.eager import EagerEngine
from gatewise.errors import UserError
from gatewise.layers.noise import with_noise
from gatewise.training.gates import roles

T, B, H = 6, 4, 7
EVERYTHING = {"layer_norm": True, "zoneout": 0.2, "recurrent_dropout": 0.3, "weight_drop": 0.25}
OPTIONS = [
    {"zoneout": 0.3},
    {"zoneout": {"c": 0.5, "h": 0.05}},
    {"recurrent_dropout": 0.4},
    {"layer_norm": True},
    {"weight_drop": 0.5},
    {**EVERYTHING, "recurrent_dropout_kind": "semeniuta"},
    EVERYTHING,
]


def noisy(cell, engine, options, training=True, **more):
    layer = random_layer(cell, engine, more.pop("hidden", H), **options, **more)
    return layer.train(training)


def with_seed(layer, *arguments, **options):
    torch.manual_seed(5)
    return everything(layer, *arguments, **options)


def drawn(layer) -> Weights:
    """What the first layer's next call with the seed 5 draws."""
    torch.manual_seed(5)
    return with_noise(layer.request().weights, layer.shapes, torch.empty(T, B, 1), layer.weight_drop)[0][0]


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def weights(layer, gates):
    """W, U, b, b' by gate."""
    arrays = [layer.get_parameter(f"{name}_l0").detach().numpy() for name in ("weight_ih", "weight_hh")]
    biases = ("bias_ih", "bias_hh") if layer.bias else ()
    arrays += [layer.get_parameter(f"{name}_l0").detach().numpy() for name in biases]
    split = [np.split(array, len(gates)) for array in arrays]
    return [dict(zip(gates, parts, strict=True)) for parts in split]


def outputs(layer) -> np.ndarray:
    torch.manual_seed(5)
    return layer(random_input(T, B), random_states(layer, B)[0])[0].detach().numpy()


def given(layer):
    return random_input(T, B).numpy(), random_states(layer, B)[0][0].numpy()


def gru(W, U, b, c, x, h):
    """One step of the plain GRU, as its paper has it."""
    r = sigmoid(x @ W["r"].T + b["r"] + h @ U["r"].T + c["r"])
    z = sigmoid(x @ W["z"].T + b["z"] + h @ U["z"].T + c["z"])
    n = np.tanh(x @ W["n"].T + b["n"] + r * (h @ U["n"].T + c["n"]))
    return (1 - z) * n + z * h


class TestPapers:
    """In float64, by formulas that share nothing with the package."""

    @pytest.mark.parametrize("training", [True, False])
    def test_zoneout(self, training):
        layer = noisy("gru", "eager", {"zoneout": 0.3}, training)
        x, h = given(layer)
        W, U, b, c = weights(layer, "rzn")
        (mask,) = drawn(layer).masks
        for x_t, m, found in zip(x, mask.numpy(), outputs(layer), strict=True):
            new = gru(W, U, b, c, x_t, h)
            h = np.where(m, new, h) if training else 0.7 * new + 0.3 * h
            np.testing.assert_allclose(found, h, atol=1e-12)

    @pytest.mark.parametrize("training", [True, False])
    def test_zoneout_of_lstm_keeps_the_step_apart(self, training):
        """Krueger et al., equation 5: the output sees the cell state before zoneout."""
        rates = {"c": 0.5, "h": 0.125}
        layer = noisy("lstm", "eager", {"zoneout": rates}, training)
        x, (h, c) = random_input(T, B).numpy(), (s[0].numpy() for s in random_states(layer, B))
        W, U, b, b2 = weights(layer, "ifgo")
        masks = drawn(layer).masks if training else [torch.full((T, B, H), 1 - rates[state]) for state in "hc"]
        torch.manual_seed(5)
        found = layer(random_input(T, B), random_states(layer, B))[0].detach().numpy()
        for t in range(T):
            a = {gate: x[t] @ W[gate].T + b[gate] + h @ U[gate].T + b2[gate] for gate in "ifgo"}
            new_c = sigmoid(a["f"]) * c + sigmoid(a["i"]) * np.tanh(a["g"])
            new_h = sigmoid(a["o"]) * np.tanh(new_c)
            moved = [m[t].double().numpy() for m in masks]
            h, c = (m * new + (1 - m) * old for m, new, old in zip(moved, (new_h, new_c), (h, c), strict=True))
            np.testing.assert_allclose(found[t], h, atol=1e-12)

    @pytest.mark.parametrize("training", [True, False])
    def test_recurrent_dropout(self, training):
        layer = noisy("gru", "eager", {"recurrent_dropout": 0.4}, training)
        x, h = given(layer)
        W, U, b, c = weights(layer, "rzn")
        (mask,) = drawn(layer).masks
        assert mask.shape == (1, B, H)  # one for the whole sequence
        m = mask[0].numpy() / 0.6 if training else 1.0
        for x_t, found in zip(x, outputs(layer), strict=True):
            r, z = (sigmoid(x_t @ W[g].T + b[g] + (m * h) @ U[g].T + c[g]) for g in "rz")
            n = np.tanh(x_t @ W["n"].T + b["n"] + r * ((m * h) @ U["n"].T + c["n"]))
            h = (1 - z) * n + z * h
            np.testing.assert_allclose(found, h, atol=1e-12)

    @pytest.mark.parametrize("training", [True, False])
    def test_dropout_of_the_candidate(self, training):
        """Semeniuta et al.: what is added to the state is dropped, drawn anew at every step."""
        layer = noisy("gru", "eager", {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "semeniuta"}, training)
        x, h = given(layer)
        W, U, b, c = weights(layer, "rzn")
        (mask,) = drawn(layer).masks
        assert mask.shape == (T, B, H)
        for x_t, m, found in zip(
            x, mask.numpy() / 0.6 if training else np.ones((T, B, H)), outputs(layer), strict=True
        ):
            r, z = (sigmoid(x_t @ W[g].T + b[g] + h @ U[g].T + c[g]) for g in "rz")
            n = np.tanh(x_t @ W["n"].T + b["n"] + r * (h @ U["n"].T + c["n"]))
            h = (1 - z) * (m * n) + z * h
            np.testing.assert_allclose(found, h, atol=1e-12)

    @pytest.mark.parametrize("cell", ["lstm", "lstm-peephole", "cifg"])
    def test_dropout_of_the_candidate_of_an_lstm(self, cell):
        """c = f c + i m g, and the output sees that c."""
        layer = noisy(cell, "eager", {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "semeniuta"})
        x, (h, c) = random_input(T, B).numpy(), (s[0].numpy() for s in random_states(layer, B))
        gates = layer.cell.gates
        W, U, b, b2 = weights(layer, gates)
        peephole = cell == "lstm-peephole"
        p = dict(zip("ifo", layer.get_parameter("weight_diag_l0").detach().numpy(), strict=True)) if peephole else {}
        mask = drawn(layer).masks[0].numpy() / 0.6
        torch.manual_seed(5)
        found = layer(random_input(T, B), random_states(layer, B))[0].detach().numpy()
        for t in range(T):
            a = {g: x[t] @ W[g].T + b[g] + h @ U[g].T + b2[g] for g in gates}
            i = sigmoid(a["i"] + p.get("i", 0) * c)
            f = 1 - i if cell == "cifg" else sigmoid(a["f"] + p.get("f", 0) * c)
            c = f * c + i * mask[t] * np.tanh(a["g"])
            h = sigmoid(a["o"] + p.get("o", 0) * c) * np.tanh(c)
            np.testing.assert_allclose(found[t], h, atol=1e-12)

    def test_dropout_of_a_candidate_that_is_a_projection(self):
        layer = noisy("min-gru", "eager", {"recurrent_dropout": 0.4, "recurrent_dropout_kind": "semeniuta"})
        x, h = given(layer)
        W, b = (layer.get_parameter(f"{name}_l0").detach().numpy() for name in ("weight_ih", "bias_ih"))
        mask = drawn(layer).masks[0].numpy() / 0.6
        for x_t, m, found in zip(x, mask, outputs(layer), strict=True):
            z, n = np.split(x_t @ W.T + b, 2, axis=1)
            h = (1 - sigmoid(z)) * h + sigmoid(z) * m * n
            np.testing.assert_allclose(found, h, atol=1e-12)

    @pytest.mark.parametrize("eps", [None, 0.1], ids=str)
    def test_layer_norm(self, eps):
        layer = noisy(layer_norm("gru", eps), "eager", {}) if eps else noisy("gru", "eager", {"layer_norm": True})
        assert not layer.bias
        x, h = given(layer)
        W, U = weights(layer, "rzn")
        names = layer.connections.vector
        vectors = dict(zip(names, layer.get_parameter("vector_l0").detach().numpy(), strict=True))

        def norm(v, side):
            v = (v - v.mean(1, keepdims=True)) / np.sqrt(v.var(1, keepdims=True) + (eps or 1e-5))
            return vectors[f"gain_{side}"] * v + vectors[f"shift_{side}"]

        for x_t, found in zip(x, outputs(layer), strict=True):
            a, u = ({g: norm(v @ M[g].T, f"{s}_{g}") for g in "rzn"} for s, v, M in (("x", x_t, W), ("u", h, U)))
            r, z = sigmoid(a["r"] + u["r"]), sigmoid(a["z"] + u["z"])
            h = (1 - z) * np.tanh(a["n"] + r * u["n"]) + z * h
            np.testing.assert_allclose(found, h, atol=1e-12)

    def test_layer_norm_starts_without_gain_and_shift(self):
        layer = gatewise.GRU(3, H, layer_norm=True)
        names, vectors = layer.connections.vector, layer.get_parameter("vector_l0").detach()
        for name, vector in zip(names, vectors, strict=True):
            assert torch.equal(vector, torch.full((H,), float(name.startswith("gain")))), name

    def test_weight_drop(self):
        layer = noisy("gru", "eager", {"weight_drop": 0.25})
        x, h = given(layer)
        W, U, b, c = weights(layer, "rzn")
        matrix = drawn(layer).recurrent
        assert matrix is not None
        dropped = matrix.detach().numpy()
        whole = np.concatenate([U[g] for g in "rzn"])
        assert 0.1 < (dropped == 0).mean() < 0.4
        np.testing.assert_allclose(dropped[dropped != 0], whole[dropped != 0] / 0.75)
        for x_t, found in zip(x, outputs(layer), strict=True):
            h = gru(W, dict(zip("rzn", np.split(dropped, 3), strict=True)), b, c, x_t, h)
            np.testing.assert_allclose(found, h, atol=1e-12)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluating"])
@pytest.mark.parametrize(
    ("cell", "options"),
    [("lstm", options) for options in OPTIONS]
    + [("gru", {"layer_norm": True}), ("gru", EVERYTHING), ("gru-before", EVERYTHING)],
    ids=lambda value: value if isinstance(value, str) else "+".join(value),
)
def test_native_agrees_with_the_reference(cell, options, training, native):
    x, lengths = random_input(T, 5), (6, 3, 6, 1, 5)
    layer, reference = (noisy(cell, e, options, training, hidden=19, bidirectional=True) for e in ("native", "eager"))
    states = random_states(layer, 5)
    found, expected = (with_seed(each, x, states, lengths=lengths) for each in (layer, reference))
    assert_agree(found, expected, 1e-10)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 3, 40])
def test_native_agrees_however_the_work_is_shared(threads, batch, native):
    """Few rows: the threads share the units, and sum the means of each row together."""
    torch.set_num_threads(threads)
    x = random_input(T, batch, torch.float32)
    layer, reference = (noisy("gru", e, EVERYTHING, hidden=130, dtype=torch.float32) for e in ("native", "eager"))
    states = random_states(layer, batch)
    found, expected = (with_seed(each, x, states) for each in (layer, reference))
    assert_agree(found, expected, 2e-5)


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_noise_is_that_of_the_seed(engine):
    layer, x = noisy("lstm", engine, EVERYTHING), random_input(T, B)
    states = random_states(layer, B)
    first, again = (with_seed(layer, x, states) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


def test_directions_and_layers_have_noise_of_their_own():
    layer = noisy("gru", "eager", {"recurrent_dropout": 0.5}, num_layers=2, bidirectional=True)
    masks = [
        w.masks[0] for ws in with_noise(layer.request().weights, layer.shapes, torch.empty(T, B, 1), 0.0) for w in ws
    ]
    assert len(masks) == 4
    assert not any(torch.equal(a, b) for i, a in enumerate(masks) for b in masks[:i])


def test_rates_are_what_is_asked_for():
    layer = gatewise.LSTM(3, 100, zoneout={"c": 0.5, "h": 0.3}, recurrent_dropout=0.1)
    torch.manual_seed(0)
    noise = with_noise(layer.request().weights, layer.shapes, torch.empty(50, 20, 3), 0)[0][0]
    means = {name: m.float().mean().item() for name, m in zip(layer.cell.masks, noise.masks, strict=True)}
    assert means == pytest.approx({"recurrent_dropout": 0.9, "zoneout_h": 0.7, "zoneout_c": 0.5}, abs=0.02)


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_a_stream_is_the_layer_in_evaluation(engine):
    layer = noisy("gru", engine, EVERYTHING, num_layers=2).train()
    x = random_input(T, B)
    session = gatewise.stream(layer)
    steps = torch.stack([session.step(x_t) for x_t in x])
    torch.testing.assert_close(steps, layer.eval()(x)[0], rtol=1e-10, atol=1e-10)


class TestBadInput:
    @pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "0.1", True, float("nan")])
    @pytest.mark.parametrize("transform", [zoneout, recurrent_dropout])
    def test_rates(self, transform, rate):
        with pytest.raises(UserError, match="0 <= p < 1"):
            transform("gru", rate)

    def test_a_rate_of_weight_drop(self):
        with pytest.raises(UserError, match="weight_drop: want a probability"):
            gatewise.GRU(3, 5, weight_drop=1.0)

    @pytest.mark.parametrize("cell", ["min-gru", "indrnn", ["sru", "min-lstm"]], ids=str)
    def test_weight_drop_where_there_is_no_matrix(self, cell):
        with pytest.raises(UserError, match="no recurrent matrix to drop from"):
            gatewise.Recurrent(cell, 3, 5, weight_drop=0.3)
        gatewise.Recurrent(["gru", "min-gru"], 3, 5, weight_drop=0.3)  # there is one to drop from

    def test_layer_norm_is_yes_or_no(self):
        with pytest.raises(UserError, match="layer_norm='no': want True or False"):
            gatewise.GRU(3, 5, layer_norm="no")  # type: ignore[arg-type]

    @pytest.mark.parametrize("cell", ["rnn", "rnn-relu", "indrnn"])
    def test_no_candidate(self, cell):
        with pytest.raises(UserError, match=f"of '{cell}': it has no candidate n or g; take the kind 'gal'"):
            recurrent_dropout(cell, 0.1, "semeniuta")

    def test_a_gate_that_is_called_like_a_candidate(self):
        class Odd(gatewise.Cell):
            gates = ("g", "s")

            def step(self, x, u, h):
                g = torch.sigmoid(x.g + u.g(h))
                return g * h + (1 - g) * torch.tanh(x.s + u.s(h))

        with pytest.raises(UserError, match="no candidate"):
            recurrent_dropout(Odd, 0.1, "semeniuta")

    def test_an_unknown_kind(self):
        with pytest.raises(UserError, match="kind 'semenuta': did you mean 'semeniuta'"):
            recurrent_dropout("gru", 0.1, "semenuta")
        with pytest.raises(UserError, match="did you mean 'semeniuta'"):
            gatewise.GRU(3, 5, recurrent_dropout_kind="semenuta")

    def test_a_kind_without_a_rate(self):
        with pytest.raises(UserError, match="recurrent_dropout_kind='semeniuta': nothing is dropped"):
            gatewise.GRU(3, 5, recurrent_dropout_kind="semeniuta")

    def test_an_unknown_state(self):
        with pytest.raises(UserError, match=r"its states are \('h',\), not \['c'\]"):
            zoneout("gru", {"c": 0.5})

    def test_twice(self):
        with pytest.raises(UserError, match="is there already"):
            zoneout(zoneout("gru", 0.1), 0.1)

    def test_an_unknown_option(self):
        with pytest.raises(TypeError, match="unexpected keyword argument 'zonout'"):
            gatewise.GRU(3, 5, zonout=0.1)  # type: ignore[call-arg]


def test_the_equations_keep_their_letters():
    """What a gate does is found by its name: where it is lost, so are the gates' pictures and their initialisation."""
    cell = recurrent_dropout("gru", 0.1, "semeniuta")
    assert [name for _, name in gatewise.trace(cell).names] == ["r", "z", "n"]
    assert roles(cell) == roles("gru")
    assert "h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}" in gatewise.graph.equations(cell)  # type: ignore[attr-defined]


class Leaky(gatewise.Cell):
    gates = ("n",)

    def step(self, x, u, h):
        n = torch.tanh(x.n + 0.3 * u.n(h))
        return 0.9 * h + (0.1 - 0.7) * n / 1.1


def test_the_numbers_of_the_equations_are_not_rounded():
    torch.manual_seed(0)
    plain = gatewise.Recurrent(Leaky, 3, 4, engine="eager").double()
    dropped = gatewise.Recurrent(recurrent_dropout(Leaky, 0.5, "semeniuta"), 3, 4, engine="eager").double().eval()
    dropped.load_state_dict(plain.state_dict())
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(dropped(x)[0], plain(x)[0], rtol=0, atol=1e-12)
    assert dropped.float()(x.float())[0].dtype == torch.float32
    numbers = [node.parameters[0] for node in gatewise.trace(recurrent_dropout(Leaky, 0.5, "semeniuta")).nodes
               if node.op == "constant"]  # fmt: skip
    assert {0.3, 0.9} <= set(numbers)


def test_every_cell_with_a_candidate_has_it_dropped():
    """With all of it dropped, a state that starts at 0 stays there; every name of a candidate is found."""
    without = {"rnn", "rnn-relu", "indrnn"}
    for name in gatewise.CELLS:
        if name not in without:
            cell = recurrent_dropout(name, 0.5, "semeniuta")
            layer, x = random_layer(cell, "eager", H), random_input(T, B)
            one = with_noise(layer.request().weights, layer.shapes, torch.empty(T, B, 1), 0.0)[0][0]
            nothing = tuple(torch.zeros(1, B, H, dtype=torch.float64) for _ in cell.states)
            (dropped,) = (torch.zeros_like(mask) for mask in one.masks)
            asked = layer.request()
            assert isinstance(asked, Request)
            request = replace(asked, weights=((replace(one, masks=(dropped,)),),))
            final = EagerEngine().run(request, x, None, nothing)[1]
            assert not any(state.any() for state in final[-1:]), name


def test_what_is_not_asked_for_changes_nothing():
    layer = gatewise.GRU(3, 5, zoneout=0.0, layer_norm=False, recurrent_dropout=0.0)
    assert type(layer.cell) is type(gatewise.GRU(3, 5).cell)
    assert zoneout("gru", 0.0).masks == {}


def test_the_equations_of_a_transform_are_printed():
    text = gatewise.graph.equations(layer_norm(zoneout("gru", 0.1)))  # type: ignore[attr-defined]
    assert "h_t" in text
    assert "mean(" in text
    assert text.startswith("gru+zoneout+layer-norm: Gated recurrent unit")
    assert not re.search(r"\bd?b'?_[rzn]", text)  # α and β are in the biases' place
    assert re.search(r"\bb'_n", gatewise.graph.equations(zoneout("gru", 0.1)))  # type: ignore[attr-defined]
