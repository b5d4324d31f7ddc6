"""From a cell's lines to its graph: what is kept, what is refused, and in which words."""

import cProfile
import dataclasses
import sys
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_up_cells import MADE_UP

import gatewise
from gatewise import CELLS, Cell, Recurrent, UserError, trace
from gatewise.errors import UnsupportedOperationError
from gatewise.graph import evaluate
from gatewise.graph.graph import LEAVES, POINTWISE


def cell_with(step, **declared):
    return type("Probe", (Cell,), {"gates": ("n",), "step": step} | declared)


@pytest.mark.parametrize(
    ("name", "names"),
    [("rnn", ""), ("gru", "r z n"), ("gru-before", "r z n"), ("lstm", "i f g o"), ("lstm-peephole", "i f g o")],
)
def test_names_come_from_the_source(name, names):
    assert [kept for _, kept in trace(name).names] == names.split()


def test_names_are_those_at_the_return():
    def step(self, x, u, h):
        n = x.n + u.n(h)
        early = torch.tanh(n)
        n = torch.sigmoid(n)
        unused = torch.exp(n)
        scale = 2.0
        h = n * early * scale
        del unused
        return h

    graph = trace(cell_with(step))
    assert {name: graph.nodes[i].op for i, name in graph.names} == {"n": "sigmoid", "early": "tanh"}
    assert not any(n.op == "exp" for n in graph.nodes)


def test_the_graph_of_a_gru_is_what_its_lines_say():
    graph = trace("gru")
    ops = Counter(n.op for n in graph.nodes if n.op not in LEAVES)
    assert ops == {"dense": 3, "add": 4, "sigmoid": 2, "tanh": 1, "mul": 3, "sub": 1}
    assert graph.states == ("h",)
    assert graph.connections == Recurrent("gru", 2, 3).connections
    leaves = {(n.op, n.of): torch.tensor([[0.1 * k]]) for k, n in enumerate(graph.nodes) if n.op in ("input", "state")}
    for k, gate in enumerate("rzn"):
        leaves |= {("weight", gate): torch.tensor([[0.3 + k]]), ("bias", gate): torch.tensor([0.2 * k])}
    h = leaves["state", "h"]

    def u(gate):
        return leaves["weight", gate] * h + leaves["bias", gate]

    r, z = (torch.sigmoid(leaves["input", gate] + u(gate)) for gate in "rz")
    n = torch.tanh(leaves["input", "n"] + r * u("n"))
    assert torch.allclose(evaluate(graph.nodes, leaves)[graph.results[0]], (1 - z) * n + z * h)


@pytest.mark.parametrize("cell", [pytest.param(cell, id=name) for name, cell in (CELLS | MADE_UP).items()])
def test_a_graph_is_immutable_hashable_and_ordered(cell):
    graph = trace(cell)
    again = trace(cell())
    assert graph == again
    assert hash(graph) == hash(again)
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.nodes = ()  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        graph.nodes[0].op = "tanh"  # type: ignore[misc]
    assert all(argument < i for i, n in enumerate(graph.nodes) for argument in n.args)
    assert len(set(graph.nodes)) == len(graph.nodes)
    assert {n.op for n in graph.nodes} <= {*LEAVES, "dense", "diag", *POINTWISE}
    needed = {argument for n in graph.nodes for argument in n.args} | set(graph.results)
    assert needed == set(range(len(graph.nodes)))


def test_only_the_connections_in_use_get_weights():
    used = trace(MADE_UP["Smooth"]).connections
    assert (used.input, used.dense, used.diag, used.vector) == (("d", "n"), ("a", "n"), (), ())
    used = trace(MADE_UP["ThreeStates"]).connections
    assert (used.input, used.dense, used.diag) == (("i", "n"), ("i", "n", "m"), ("i",))


def test_the_profiler_in_use_is_kept():
    calls = []

    def profiler(frame, event, argument):
        calls.append(event)

    sys.setprofile(profiler)
    try:
        trace("gru")
        assert sys.getprofile() is profiler
        with pytest.raises(UnsupportedOperationError):
            trace(cell_with(lambda self, x, u, h: torch.sin(x.n + u.n(h))))
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert calls


def test_tracing_works_under_cprofile_and_under_a_tracer():
    with cProfile.Profile() as profile:
        graph = trace("gru")
        len(graph.nodes)
    assert [name for _, name in graph.names] == ["r", "z", "n"]
    assert profile.getstats()

    def tracer(frame, event, argument):
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        assert trace("gru") == graph
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)


REFUSED = []


def refused(fragment, among=REFUSED):
    """The step is no graph; the message says ``fragment``."""
    return lambda step: among.append(pytest.param(step, fragment, id=step.__name__)) or step


@refused("torch's sin")
def sine(self, x, u, h):
    return torch.sin(x.n + u.n(h))


@refused("torch's matmul")
def matrix_product(self, x, u, h):
    return torch.matmul(x.n + u.n(h), torch.eye(h.shape[-1]) if isinstance(h, torch.Tensor) else h)


@refused("the matrix product @")
def matrix_operator(self, x, u, h):
    return (x.n + u.n(h)) @ (torch.eye(h.shape[-1]) if isinstance(h, torch.Tensor) else h)


@refused("the comparison >")
def where(self, x, u, h):
    return torch.where(h > 0, x.n, u.n(h))


@refused("torch's gt")
def where_by_function(self, x, u, h):
    return torch.where(torch.gt(h, 0), x.n, u.n(h))


@refused("the comparison !=")
def masked(self, x, u, h):
    return (x.n + u.n(h)) * (h != 0)


@refused("indexing")
def indexing(self, x, u, h):
    return torch.tanh(x.n + u.n(h))[:, :]


@refused("torch's cat")
def concatenation(self, x, u, h):
    return torch.cat([x.n + u.n(h), h], dim=-1).chunk(2, dim=-1)[0]


@refused("torch's stack")
def stack(self, x, u, h):
    return torch.stack((x.n, u.n(h))).mean(0)


@refused("the attribute .shape")
def shape(self, x, u, h):
    return (x.n + u.n(h)) / h.shape[0]


@refused("a number to the power of a value")
def power_of_a_number(self, x, u, h):
    return 2 ** -((x.n + u.n(h)) ** 2)


@refused("an exponent that is not a constant")
def power_of_a_value(self, x, u, h):
    return torch.sigmoid(x.n) ** torch.sigmoid(u.n(h))


@refused("softplus with another beta")
def softplus_beta(self, x, u, h):
    return F.softplus(x.n + u.n(h), beta=2.0)


@refused("a bound of clamp that is not a constant")
def clamp_by_a_value(self, x, u, h):
    return torch.clamp(x.n, u.n(h), torch.abs(u.n(h)) + 1)


@refused("a slope that is not a constant")
def leaky_relu_by_a_value(self, x, u, h):
    return F.leaky_relu(x.n, u.n(h)) if not isinstance(h, torch.Tensor) else F.leaky_relu(x.n + u.n(h))


@refused("torch's max with these arguments")
def maximum_along_a_dimension(self, x, u, h):
    return torch.max(x.n + u.n(h), dim=0, keepdim=True).values + h


@refused("torch's dropout")
def dropout(self, x, u, h):
    return F.dropout(x.n + u.n(h), 0.5)


@refused("a Tensor among its values (learned per-unit vectors go into 'vectors')")
def foreign_tensor(self, x, u, h):
    return (x.n + u.n(h)) * torch.linspace(0, 1, 5)


@refused("a Tensor among its values")
def foreign_tensor_on_the_left(self, x, u, h):
    return torch.linspace(0, 1, 5) * (x.n + u.n(h))


@refused("a Parameter among its values")
def foreign_parameter(self, x, u, h):
    return torch.nn.Parameter(torch.ones(1)) + x.n + u.n(h)


@refused("+=, an operation in place")
def added_in_place(self, x, u, h):
    n = u.n(h)
    n += x.n
    return n


@refused("the attribute .mul_")
def multiplied_in_place(self, x, u, h):
    return u.n(h).mul_(x.n)


@refused("an operation in place")
def relu_in_place(self, x, u, h):
    return F.relu(x.n + u.n(h), inplace=True)


@refused("what works on tensors alone (TypeError: ones(): argument 'device'")
def tensor_made_on_the_device(self, x, u, h):
    return (x.n + u.n(h)) * torch.ones(1, device=h.device)


UNABLE_TO_RUN = []
"""Steps that fail on tensors too."""


@refused("the comparison >", UNABLE_TO_RUN)
def branch(self, x, u, h):
    return x.n if h > 0 else u.n(h)


@refused("a branch on a value", UNABLE_TO_RUN)
def conjunction(self, x, u, h):
    return h and x.n + u.n(h)


@refused("the conversion of a value to a number", UNABLE_TO_RUN)
def conversion(self, x, u, h):
    return x.n + u.n(h) * float(h)


@refused("iteration over a value", UNABLE_TO_RUN)
def iteration(self, x, u, h):
    a, b = x.n + u.n(h)
    return a * b + h


@refused("the attribute .nonsense", UNABLE_TO_RUN)
def unknown_attribute(self, x, u, h):
    return x.n + u.n(h).nonsense


@pytest.mark.parametrize(("step", "fragment"), [*REFUSED, *UNABLE_TO_RUN])
def test_what_is_no_graph_is_refused_in_one_line(step, fragment):
    with pytest.raises(UnsupportedOperationError) as caught:
        trace(cell_with(step))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"cell 'Probe' uses {fragment}")
    assert "write the step with + - * /" in message
    assert message.endswith("engine='eager' takes any operation")
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize(("step", "fragment"), REFUSED)
def test_what_is_no_graph_still_runs_on_the_reference(step, fragment):
    layer = Recurrent(cell_with(step), 3, 5)
    assert gatewise.which(layer).engine == "eager"
    output, _ = layer(torch.randn(4, 2, 3))
    assert output.shape == (4, 2, 5)
    assert output.isfinite().all()


def test_the_cell_with_a_sine_is_computed_right():
    layer = Recurrent(cell_with(sine), 3, 5)
    weight_ih, weight_hh, bias_ih, bias_hh = layer.all_weights[0]
    x, h = torch.randn(4, 2, 3), torch.zeros(2, 5)
    for x_t, output in zip(x, layer(x)[0], strict=True):
        h = torch.sin(F.linear(x_t, weight_ih, bias_ih) + F.linear(h, weight_hh, bias_hh))
        assert torch.allclose(output, h, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda self, x, u, h: x.n + u.z(h), r"cell 'Probe': step uses u\.z, but gates = \('n',\); add 'z' there"),
        (lambda self, x, u, h: x.q + u.n(h), r"cell 'Probe': step uses x\.q, but gates = \('n',\); add 'q' there"),
        (lambda self, x, u, h: x.n + u.diag.m(h), r"cell 'Probe': step uses u\.diag\.m, but gates"),
        (lambda self, x, u, h: x.n * u.vector.v, r"cell 'Probe': step uses u\.vector\.v, but vectors = \(\); add"),
        (lambda self, x, u, h: (x.n, u.n(h)), r"cell 'Probe': step returned 2 value\(s\), but states = \('h',\)"),
        (lambda self, x, u, h: None, r"cell 'Probe': step returned nothing, but states = \('h',\); return one value"),
        (lambda self, x, u, h: 0.5 * h, r"cell 'Probe': step never uses n; use it or take it out"),
        (lambda self, x, u, h: x.n + u.n(0.5), r"cell 'Probe': u\.n\(\.\.\.\) takes a value of the step, not 0\.5"),
    ],
    ids=lambda value: None if callable(value) else value[15:40],
)
def test_a_mistake_in_a_step_is_named(step, message):
    with pytest.raises(UserError, match=message) as caught:
        trace(cell_with(step))
    assert not isinstance(caught.value, UnsupportedOperationError)
    assert "\n" not in str(caught.value)


def test_too_few_states_are_named():
    with pytest.raises(UserError, match=r"step returned 1 value\(s\), but states = \('h', 'c'\)"):
        trace(cell_with(lambda self, x, u, h, c: torch.tanh(x.n + u.n(h)), states=("h", "c")))


def test_numbers_of_every_kind_are_constants():
    numbers = (0.5, 2, np.float64(1.5), np.float32(0.25), torch.tensor(3.0), torch.tensor([[4.0]]), True)

    def step(self, x, u, h):
        total = u.n(h)
        for number in numbers:
            total = total + x.n * number
        for number in numbers:
            total = total + number * h
        return total

    graph = trace(cell_with(step))
    found = {n.parameters[0] for n in graph.nodes if n.op == "constant"}
    assert found == {0.5, 2.0, 1.5, 0.25, 3.0, 4.0, 1.0}


def test_only_an_output_that_enters_products_alone_may_be_projected():
    projectable = {name for name, cell in CELLS.items() if trace(cell).output_feeds_products_only}
    assert projectable == {"rnn", "rnn-relu", "lstm", "lstm-peephole", "cifg", "sru"}  # sru: enters nothing
    assert not trace(MADE_UP["PassedThrough"]).output_feeds_products_only  # h becomes another state
    assert not trace(MADE_UP["NoWeights"]).output_feeds_products_only
    assert not trace(cell_with(lambda self, x, u, h: x.n + u.diag.n(h))).output_feeds_products_only
