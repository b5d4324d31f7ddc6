"""What a cell declares, what it then uses, and the names under which cells are known."""

import pytest
import torch

import gatewise
from gatewise import CELLS, Cell, Recurrent, UserError, zoneout
from gatewise.cells import connections, resolve


class Partial(Cell):
    """One gate without an input, one without a recurrent product, a diagonal, vectors of which none is first."""

    gates = ("a", "b", "c", "d")
    vectors = ("v", "w")

    def step(self, x, u, h):
        a = u.a(h) * u.vector.w
        b = x.b + u.diag.b(h)
        return torch.tanh(a + b * x.d + u.d(h) * u.vector.v + u.diag.c(a))


def test_unused_connections_get_no_weight():
    used = connections(Partial())
    assert (used.input, used.dense, used.diag, used.vector) == (("b", "d"), ("a", "d"), ("b", "c"), ("v", "w"))
    shapes = {name: tuple(w.shape) for name, w in Recurrent(Partial, 3, 5).named_parameters()}
    assert shapes == {
        "weight_ih_l0": (10, 3), "weight_hh_l0": (10, 5), "bias_ih_l0": (10,), "bias_hh_l0": (10,),
        "weight_diag_l0": (2, 5), "vector_l0": (2, 5),
    }  # fmt: skip


def test_a_gate_gets_its_own_rows():
    """A change of one gate's weights changes what that gate says, and nothing else."""
    layer = Recurrent(Partial, 3, 5, dtype=torch.float64)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.fill_(0.0)
        layer.get_parameter("bias_ih_l0")[:5] = 0.5  # b
        layer.get_parameter("bias_ih_l0")[5:] = 2.0  # d
        layer.get_parameter("bias_hh_l0")[:5] = 0.25  # a
        layer.get_parameter("bias_hh_l0")[5:] = -0.75  # d
        layer.get_parameter("weight_diag_l0")[0] = 0.125  # b
        layer.get_parameter("weight_diag_l0")[1] = 4.0  # c
        layer.get_parameter("vector_l0")[0] = 0.375  # v
        layer.get_parameter("vector_l0")[1] = -1.5  # w
    h = 0.6
    a = 0.25 * -1.5
    expected = torch.tanh(torch.tensor(a + (0.5 + 0.125 * h) * 2.0 - 0.75 * 0.375 + 4.0 * a, dtype=torch.float64))
    output, _ = layer(torch.ones(1, 1, 3, dtype=torch.float64), torch.full((1, 1, 5), h, dtype=torch.float64))
    assert torch.allclose(output, expected, rtol=0, atol=1e-15)


def step_of_one_gate(self, x, u, h):
    return x.n + u.n(h)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"gates": "rzn"}, "gates = 'rzn'; write a tuple of names"),
        ({"gates": ("r", 1)}, "write a tuple of names"),
        ({"gates": ("two words",)}, "write a tuple of names"),
        ({"gates": ("n", "n")}, "names something twice"),
        ({"gates": ("diag",)}, "'diag', 'vector', 'mask' have a meaning of their own"),
        ({"gates": ("n", "vector")}, "'diag', 'vector', 'mask' have a meaning of their own"),
        ({"states": ()}, "states is empty"),
        ({"states": "h"}, "states = 'h'; write a tuple of names"),
        ({"states": ("h", "h")}, "names something twice"),
        ({"vectors": "v"}, "vectors = 'v'; write a tuple of names"),
        ({"vectors": {"two words": 1.0}}, "write a tuple of names"),
        ({"diagonal": 1.0}, "diagonal = 1.0; write the lowest and the highest"),
        ({"diagonal": (1.0, 0.0)}, "diagonal = (1.0, 0.0); write the lowest and the highest"),
        ({"diagonal": (0.0, float("inf"))}, "write the lowest and the highest"),
        ({"diagonal": (0.0, float("nan"))}, "write the lowest and the highest"),
        ({"diagonal": (-1e39, 0)}, "write the lowest and the highest"),
        ({"diagonal": (0, 10**400)}, "write the lowest and the highest"),
    ],
    ids=repr,
)
def test_a_bad_declaration_is_refused_where_it_is_made(declared, message):
    with pytest.raises(UserError) as caught:
        type("Wrong", (Cell,), {"gates": ("n",), "step": step_of_one_gate} | declared)
    assert str(caught.value).startswith("cell 'Wrong': ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("declared", "unused"),
    [({"gates": ("n", "m")}, "m"), ({"vectors": ("v",)}, "v"), ({"gates": ("k", "n"), "vectors": {"w": 1.0}}, "k, w")],
    ids=repr,
)
def test_what_is_declared_and_never_used_is_named(declared, unused):
    wasteful = type("Wasteful", (Cell,), {"gates": ("n",), "step": step_of_one_gate} | declared)
    with pytest.raises(UserError, match=f"cell 'Wasteful': step never uses {unused}; use it or take it out"):
        Recurrent(wasteful, 3, 5)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda self, x, u, h: (x.n + u.n(h), h), r"step returned 2 value\(s\), but states = \('h',\)"),
        (lambda self, x, u, h: None, r"step returned nothing"),
        (lambda self, x, u, h: x.n + u.m(h), r"step uses u\.m, but gates = \('n',\); add 'm' there"),
        (lambda self, x, u, h: x.n * u.vector.v, r"step uses u\.vector\.v, but vectors = \(\); add 'v' there"),
    ],
    ids=["states", "nothing", "gate", "vector"],
)
def test_a_mistake_in_a_step_is_named_when_the_layer_is_built(step, message):
    with pytest.raises(UserError, match="cell 'Wrong': " + message):
        Recurrent(type("Wrong", (Cell,), {"gates": ("n",), "step": step}), 3, 5)


def test_a_cell_without_a_step_is_no_cell():
    with pytest.raises(TypeError, match=r"abstract method '?step"):
        Recurrent(type("Empty", (Cell,), {"gates": ("n",)}), 3, 5)


def test_subclasses_have_their_own_name():
    class Mine(CELLS["gru"]):
        pass

    assert (CELLS["gru"].name, Mine.name) == ("gru", "Mine")
    assert gatewise.which(Recurrent(Mine, 3, 5)).engine != "torch"  # it might have other equations


@pytest.fixture
def registry():
    """The registry, put back as it was."""
    before = dict(CELLS)
    yield CELLS
    CELLS.clear()
    CELLS.update(before)


def test_a_registered_cell_is_known_by_its_name(registry):
    @gatewise.register("one-gate")
    class OneGate(Cell):
        gates = ("n",)
        step = step_of_one_gate

    assert list(registry)[-1] == "one-gate"
    assert type(resolve("one-gate")) is OneGate
    assert OneGate.name == "one-gate"
    assert repr(Recurrent("one-gate", 3, 5)) == "Recurrent(one-gate, 3, 5)"


def test_a_name_belongs_to_one_cell(registry):
    with pytest.raises(UserError, match=r"the name 'gru' belongs to gatewise\.cells\.gru\.GRU; register under another"):

        @gatewise.register("gru")
        class Mine(Cell):
            gates = ("n",)
            step = step_of_one_gate

    assert registry["gru"].__module__ == "gatewise.cells.gru"


def test_the_same_definition_again_takes_the_place_of_the_first(registry):
    def define():
        @gatewise.register("again")
        class Again(Cell):
            gates = ("n",)
            step = step_of_one_gate

        return Again

    first, second = define(), define()
    assert first is not second
    assert registry["again"] is second


@pytest.mark.parametrize("thing", [int, "gru", step_of_one_gate, CELLS["gru"]()], ids=type)
def test_only_cell_classes_are_registered(registry, thing):
    with pytest.raises(UserError, match=r"register\('thing'\) decorates a class derived from gatewise\.Cell, not"):
        gatewise.register("thing")(thing)
    assert "thing" not in registry


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gruu", "no cell is called 'gruu': did you mean 'gru'?"),
        ("LSTM", "no cell is called 'LSTM': did you mean 'lstm'?"),
        ("gru-befor", "no cell is called 'gru-befor': did you mean 'gru-before'?"),
        ("xyzzy", "no cell is called 'xyzzy': known: rnn, rnn-relu, indrnn, gru"),
        (7, "a cell is a name, a gatewise.Cell class or an instance of one, not 7"),
        (torch.nn.GRU, "a cell is a name, a gatewise.Cell class or an instance of one, not <class"),
    ],
)
def test_an_unknown_cell_is_answered_with_the_nearest(given, message):
    with pytest.raises(UserError) as caught:
        Recurrent(given, 3, 5)
    assert str(caught.value).startswith(message)


def test_a_cell_is_found_by_name_class_and_instance():
    assert type(resolve("gru")) is type(resolve(CELLS["gru"])) is CELLS["gru"]
    instance = CELLS["gru"]()
    assert resolve(instance) is instance


@pytest.mark.parametrize("cell", ["indrnn", zoneout("indrnn", 0.1)], ids=["plain", "transformed"])
def test_diagonal_weights_are_drawn_from_the_range_of_their_cell(cell):
    torch.manual_seed(0)
    layer = Recurrent(cell, 3, 1000)
    for _ in range(2):
        diagonal, weight = layer.get_parameter("weight_diag_l0"), layer.get_parameter("weight_ih_l0")
        assert 0 <= diagonal.min() < 0.01
        assert 0.99 < diagonal.max() <= 1
        assert abs(diagonal.mean().item() - 0.5) < 0.05
        assert weight.abs().max() <= 1000**-0.5
        layer.reset_parameters()
    peepholes = Recurrent("lstm-peephole", 3, 1000).get_parameter("weight_diag_l0")
    assert peepholes.abs().max() <= 1000**-0.5
