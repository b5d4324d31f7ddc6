"""Which cells are linear in their states, and whether the coefficients are the right ones."""

import pytest
import torch
from hypothesis import given, settings
from linear_cells import LINEAR, random_bent_cells, random_linear_cells
from made_up_cells import MADE_UP

from gatewise import CELLS, Cell, layer_norm, recurrent_dropout, zoneout
from gatewise.cells import resolve
from gatewise.graph import Linear, NotLinear, equations, evaluate, linear, trace

LINEAR_HERE = {"min-gru": "min-gru", "min-lstm": "min-lstm", "NoProduct": MADE_UP["NoProduct"], **LINEAR}
TRANSFORMED = {
    "zoneout": zoneout("min-gru", 0.3),
    "zoneout of one state": zoneout(LINEAR["Highway"], {"c": 0.2}),
    "layer norm": layer_norm("min-lstm"),
    "dropout": recurrent_dropout(LINEAR["Rates"], 0.4),
    "all": zoneout(layer_norm(recurrent_dropout(LINEAR["InOrder"], 0.3)), 0.1),
}
EVERY_LINEAR = [pytest.param(cell, id=name) for name, cell in (LINEAR_HERE | TRANSFORMED).items()]
CHECKS = {"deadline": None, "derandomize": True}


def found_linear(cell) -> Linear:
    found = linear(trace(cell))
    assert isinstance(found, Linear), found.why
    return found


def test_the_librarys_linear_cells():
    assert {name for name in CELLS if isinstance(linear(trace(name)), Linear)} == {"min-gru", "min-lstm"}


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("gru", "h_{t-1} stands inside u.z, a product that mixes the units"),
        ("lstm", "h_{t-1} stands inside u.o, a product that mixes the units"),
        ("indrnn", "h_{t-1} stands inside relu"),
        ("sru", "c_{t-1} stands inside sigmoid"),
        (layer_norm("gru"), "h_{t-1} stands inside u.z, a product that mixes the units"),
    ],
)
def test_why_a_cell_is_not(cell, why):
    assert linear(trace(cell)) == NotLinear(why)


def cell_with(step, states=("h",), gates=("n",)):
    return type("Probe", (Cell,), {"gates": gates, "states": states, "step": step})


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (lambda self, x, u, h: x.n + h * (1 + h), "h_{t-1} is multiplied by a value that depends on it"),
        (lambda self, x, u, h: x.n / (2 + h), "h_{t-1} stands in a divisor"),
        (lambda self, x, u, h: x.n + h.mean(-1, keepdim=True), "h_{t-1} stands inside a mean over the units"),
        (lambda self, x, u, h: x.n + torch.clamp(h, -1, 1), "h_{t-1} stands inside clamp"),
        (lambda self, x, u, h: x.n + torch.minimum(x.n, 2 * h), "h_{t-1} stands inside minimum"),
        (lambda self, x, u, h: x.n + h**3, "h_{t-1} stands inside power"),
    ],
)
def test_why_a_step_is_not(step, why):
    assert linear(trace(cell_with(step))) == NotLinear(why)


def test_states_that_need_each_other_are_not_solved():
    """Linear in both together, which would take matrices of 2 x 2 for every unit."""
    turn = cell_with(lambda self, x, u, h, c: (0.6 * h - 0.8 * c + x.n, 0.8 * h + 0.6 * c), ("h", "c"))
    assert linear(trace(turn)) == NotLinear("h and c depend on each other")


@pytest.mark.parametrize("cell", EVERY_LINEAR)
def test_coefficients_are_those_of_the_step(cell):
    """b is a step from s = 0, and a + b one from s = 1, whatever the other values are."""
    check_coefficients(resolve(cell))


@settings(max_examples=60, **CHECKS)
@given(cell=random_linear_cells())
def test_coefficients_of_random_cells(cell):
    check_coefficients(resolve(cell))


def check_coefficients(cell):
    found, graph = found_linear(cell), trace(cell)
    assert sorted(r.state for r in found.recurrences) == sorted(graph.states)
    leaves = random_leaves(graph)
    solved: set[str] = set()
    for recurrence in found.recurrences:
        values = evaluate(found.nodes, leaves)
        for past in (0.0, 1.0, -2.5):
            given = leaves | {("state", recurrence.state): torch.full((4, 5), past, dtype=torch.float64)}
            expected = evaluate(graph.nodes, given)[graph.results[graph.states.index(recurrence.state)]]
            a = torch.zeros(()).double() if recurrence.a is None else values[recurrence.a]
            actual = (a * past + values[recurrence.b]).expand(4, 5)
            torch.testing.assert_close(actual, expected.expand(4, 5), rtol=1e-10, atol=1e-10)
        unknown = set(graph.states) - solved
        assert not unknown & {found.nodes[i].of for i in recurrence.needs if found.nodes[i].op == "state"}
        solved.add(recurrence.state)


def random_leaves(graph):
    torch.manual_seed(3)
    shapes = {"state": (4, 5), "input": (4, 5), "mask": (4, 5), "vector": (5,)}
    leaves = {(n.op, n.of): torch.randn(shapes[n.op]).double() for n in graph.nodes if n.op in shapes}
    for gate in graph.connections.dense:
        leaves |= {("weight", gate): torch.randn(5, 5).double(), ("bias", gate): torch.randn(5).double()}
    return leaves | {("diag", gate): torch.randn(5).double() for gate in graph.connections.diag}


@settings(max_examples=60, **CHECKS)
@given(cell=random_bent_cells())
def test_one_bend_is_enough(cell):
    assert isinstance(linear(trace(cell)), NotLinear)


def test_explain_prints_the_coefficients():
    *_, title, a, b, h = equations("min-lstm").splitlines()
    assert title == "Linear in h, so that a parallel scan can take all time steps at once"
    assert a == "  a_t = f / (f + i)"
    assert b == "  b_t = i / (f + i) ⊙ (W_n x_t + b_n)"
    assert h == "  h_t = a_t ⊙ h_{t-1} + b_t"
    assert "a_{t} &= \\frac{f}{f + i}" in equations("min-lstm", latex=True)
    assert "Linear in" not in equations("sru")


def test_several_states_have_coefficients_of_their_own():
    text = equations(LINEAR["InOrder"])
    assert "Linear in m and c and h, so" in text
    assert "  c_t   = a_c_t ⊙ c_{t-1} + b_c_t\n" in text
    assert "a_h_t = tanh(c_t ⊙ m_{t-1})\n" in text  # what is solved goes by its name


def test_a_coefficient_is_not_called_as_a_weight_is():
    text = equations(cell_with(lambda self, x, u, h: torch.sigmoid(x.t) * h + x.t, gates=("t",)))
    assert "  b_t' = W_t x_t + b_t\n" in text
    assert "  h_t  = a_t ⊙ h_{t-1} + b_t'" in text


def test_nothing_is_computed_twice():
    """Of a state that is solved, the next value is known too: h of c is computed from that, not from c's past."""
    for cell in (LINEAR["Highway"], LINEAR["InOrder"]):
        found = found_linear(cell)
        needed = [i for recurrence in found.recurrences for i in recurrence.needs]
        assert len(needed) == len(set(needed))
        assert not set(needed) & {recurrence.result for recurrence in found.recurrences if recurrence.a is not None}
