"""Stacks whose layers differ: against layers of torch.nn put on each other by hand, in float64."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_stack import LENGTHS, B, I, T, by_hand, flat, gradients, random_states, run_by_hand, with_weights_of

import gatewise
from gatewise import Recurrent
from gatewise.errors import UserError


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
def test_lstm_below_gru_is_torchs_two_layers_with_every_gradient(engine, both, lengths):
    modules, sizes = by_hand(both=both), (5, 4)
    layer = with_weights_of(modules, engine, bidirectional=both)
    x = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    hx = random_states(sizes, 1 + both)
    leaves = [x, *(s.requires_grad_() for s in flat(hx))]

    output, state = layer(x, hx, lengths=lengths)
    wanted, wanted_state = run_by_hand(modules, x, hx, lengths)
    found, expected = [output, *flat(state)], [wanted, *flat(wanted_state)]
    assert isinstance(state[0], tuple)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    ours = gradients(found, [*leaves, *layer.parameters()])
    theirs = gradients(expected, [*leaves, *(p for module in modules for p in module.parameters())])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_packed_and_batch_first_and_one_sequence(engine):
    modules = by_hand()
    layer = with_weights_of(modules, engine)
    x, hx = torch.randn(T, B, I, dtype=torch.float64), random_states((5, 4))
    wanted, wanted_state = run_by_hand(modules, x, hx, LENGTHS)
    assert isinstance(wanted, torch.Tensor)

    packed, state = layer(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), hx)
    torch.testing.assert_close(pad_packed_sequence(packed)[0], wanted)
    torch.testing.assert_close(flat(state), flat(wanted_state))

    layer.batch_first = True
    output, state = layer(x.transpose(0, 1), hx, lengths=LENGTHS)
    torch.testing.assert_close(output.transpose(0, 1), wanted)

    layer.batch_first = False
    (h, c), top = hx
    output, ((h, c), top) = layer(x[:, 0], ((h[:, 0], c[:, 0]), top[:, 0]))
    torch.testing.assert_close(output, wanted[:, 0])
    assert (h.shape, top.shape) == ((1, 5), (1, 4))


def test_tokens_stand_for_rows_of_an_embedding(engine):
    modules = by_hand()
    layer = with_weights_of(modules, engine)
    rows = torch.randn(9, I, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(9, (T, B))
    output, _ = layer(tokens, embedding=rows)
    wanted, _ = run_by_hand(modules, rows[tokens], (None, None))
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(gradients([output], [rows]), gradients([wanted], [rows]))


def test_layers_with_the_same_states_keep_torchs_layout(engine):
    layer = Recurrent(["gru", "rnn"], I, 5, dtype=torch.float64, engine=engine)
    gru, rnn = nn.GRU(I, 5, dtype=torch.float64), nn.RNN(5, 5, dtype=torch.float64)
    for k, module in enumerate((gru, rnn)):
        for name, value in module.state_dict().items():
            layer.get_parameter(name.replace("_l0", f"_l{k}")).data.copy_(value)
    x, hx = torch.randn(T, B, I, dtype=torch.float64), torch.randn(2, B, 5, dtype=torch.float64)
    output, state = layer(x, hx)
    below, first = gru(x, hx[:1])
    wanted, second = rnn(below, hx[1:])
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(state, torch.cat([first, second]))


def test_hidden_sizes_of_their_own(engine):
    layer = Recurrent("gru", I, [5, 3], dtype=torch.float64, engine=engine)
    modules = nn.GRU(I, 5, dtype=torch.float64), nn.GRU(5, 3, dtype=torch.float64)
    for k, module in enumerate(modules):
        for name, value in module.state_dict().items():
            layer.get_parameter(name.replace("_l0", f"_l{k}")).data.copy_(value)
    x, hx = torch.randn(T, B, I, dtype=torch.float64), tuple(torch.randn(1, B, h, dtype=torch.float64) for h in (5, 3))
    output, state = layer(x, hx)
    wanted, wanted_state = run_by_hand(modules, x, hx)
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(state, tuple(wanted_state))
    assert layer.output_size == 3


def test_every_gradient_is_that_of_finite_differences(engine):
    """All of it at once: two cells, two directions, learned states, lengths."""
    layer = Recurrent(
        ["lstm", "gru", "gru"], 2, 2, residual=True, learned_state=True, bidirectional=True, dtype=torch.float64,
        engine=engine,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.5)
    names = [name for name, _ in layer.named_parameters()]
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)

    def run(x, *weights):
        output, state = functional_call(layer, dict(zip(names, weights, strict=True)), (x,), {"lengths": [3, 2]})
        return (output, *flat(state))

    weights = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    torch.autograd.gradcheck(run, (x, *weights), fast_mode=True)


def test_the_scan_runs_stacks_of_cells_that_it_takes():
    layer = Recurrent(["min-gru", "min-lstm"], I, 5, residual=True, dtype=torch.float64, engine="scan")
    x, hx = torch.randn(T, B, I, dtype=torch.float64), torch.randn(2, B, 5, dtype=torch.float64)
    found = layer(x, hx, lengths=LENGTHS)
    layer.engine = "eager"
    torch.testing.assert_close(found, layer(x, hx, lengths=LENGTHS))
    with pytest.raises(UserError, match="layer 1: scan"):
        gatewise.which(Recurrent(["min-gru", "gru"], I, 5, engine="scan"))


def test_one_engine_runs_all_layers_and_which_says_so():
    class Odd(gatewise.Cell):
        gates = ("n",)

        def step(self, x, u, h):
            return torch.sin(x.n + u.n(h))  # the graph has no sine

    choice = gatewise.which(Recurrent(["gru", Odd], 3, 5))
    assert choice.engine == "eager"
    assert "layer by layer: the reference: the equations of 'gru'" in choice.reason
    assert "layer 1: native: cell 'Odd' uses torch's sin" in choice.reason
    assert "layer 1: torch has no kernel for the cell 'Odd'" in choice.reason
    with pytest.raises(UserError, match="engine 'torch' cannot run this: layer 1: torch has no kernel"):
        gatewise.which(Recurrent(["gru", Odd], 3, 5, engine="torch"))


@pytest.mark.usefixtures("native")
def test_native_runs_each_layer_in_its_own_kernel():
    mixed = gatewise.which(Recurrent(["lstm", "gru"], 3, 5, dtype=torch.float64))
    assert mixed.engine == "native"
    assert mixed.reason == "layer by layer: the compiled kernel of 'lstm', the compiled kernel of 'gru'"
    residual = gatewise.which(Recurrent("gru", 3, 5, 2, residual=True, dtype=torch.float64))
    assert residual.reason == "layer by layer, their inputs added: the compiled kernel of 'gru'"


def test_a_list_of_one_cell_is_that_cells_stack():
    layer = Recurrent(["gru", "gru"], 3, [5, 5])
    assert (layer.num_layers, layer.hidden_size, layer.cell.name) == (2, 5, "gru")
    assert gatewise.which(layer).reason == gatewise.which(gatewise.GRU(3, 5, 2)).reason
    assert repr(layer) == "Recurrent(gru, 3, 5, num_layers=2)"
    assert repr(Recurrent(["lstm", "gru"], 3, [5, 4])) == "Recurrent([lstm, gru], 3, (5, 4), num_layers=2)"


def test_the_numbers_of_torch_are_drawn():
    torch.manual_seed(4)
    layer = Recurrent(["lstm", "gru"], I, [5, 4], learned_state=True)
    torch.manual_seed(4)
    for k, module in enumerate((nn.LSTM(I, 5), nn.GRU(5, 4))):
        for name, value in module.named_parameters():
            assert torch.equal(layer.get_parameter(name.replace("_l0", f"_l{k}")), value)


@pytest.mark.parametrize("options", [{"hidden_size": [5, 4]}, {"hidden_size": 5, "residual": True}], ids=str)
def test_traced_by_torchs_compiler(options):
    layer, x = Recurrent(["lstm", "gru"], I, learned_state=True, engine="eager", **options), torch.randn(T, B, I)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


def test_copies_and_pickles():
    layer, x = Recurrent(["lstm", "gru"], I, [5, 4], learned_state=True), torch.randn(T, B, I)
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301  (our own bytes)
        torch.testing.assert_close(again(x), layer(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((["lstm", "gru"], 3, 5, 3), {}, "2 cells beside num_layers=3: want one a layer; leave num_layers out"),
        ((["lstm", "gru"], 3, 5, 1), {}, "2 cells beside num_layers=1"),
        (("gru", 3, [5, 4], 3), {}, "2 hidden sizes beside num_layers=3"),
        ((["lstm", "gru"], 3, [5, 4, 3]), {}, "2 cells beside 3 hidden sizes: want one a layer"),
        (([], 3, 5), {}, "a list of cells or of hidden sizes is empty"),
        ((["lstm", "gruu"], 3, 5), {}, "did you mean 'gru'"),
        (("gru", 3, [5, 4]), {"residual": True}, "layer 1 takes 5 features and gives 4"),
        (("gru", 3, 5), {"residual": True}, "a single layer has none"),
        (("gru", 3, 5, 2), {"residual": 1}, "residual=1: want True or False"),
    ],
)
def test_what_is_refused(arguments, options, message):
    with pytest.raises(UserError, match=message):
        Recurrent(*arguments, **options)


def test_states_of_another_form_are_refused():
    layer, x = Recurrent(["lstm", "gru"], 3, 5), torch.zeros(T, B, 3)
    h = torch.zeros(1, B, 5)
    with pytest.raises(UserError, match="one entry a layer, 2 of them, got a tensor"):
        layer(x, h)
    with pytest.raises(UserError, match="2 of them, got 3"):
        layer(x, (h, h, h))
    with pytest.raises(RuntimeError, match=r"one tensor for each of \('h', 'c'\), got 1"):
        layer(x, ((h,), h))
    with pytest.raises(RuntimeError, match=r"Expected hidden\[1\] size \(1, 3, 5\), got \[2, 3, 5\]"):
        layer(x, ((h, h), torch.zeros(2, B, 5)))
    with pytest.raises(UserError, match=r"differ in their cell: ask each of \.shapes"):
        _ = layer.cell


@pytest.mark.parametrize("cells", [["gru", "lstm"], ["gru", "gru"], ["lstm", "lstm"]])
@pytest.mark.parametrize("hx", [5, (None, 5), (torch.zeros(1, 2, 4), None), ([1.0], (2.0, 3.0))], ids=str)
def test_states_that_are_no_tensors_are_refused_in_a_line(cells, hx):
    layer = Recurrent(cells, 3, 4, engine="eager")
    with pytest.raises((UserError, RuntimeError), match="hx"):
        layer(torch.zeros(5, 2, 3), hx)
