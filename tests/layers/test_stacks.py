"""Stacks whose layers differ: against layers of torch.nn put on each other by hand, in float64."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import gatewise
from gatewise import LanguageModel, Recurrent
from gatewise.errors import UserError
from gatewise.layers import detach, initialise_like_the_book
from gatewise.tasks import Sampling
from gatewise.tasks.generate import generate_tokens

T, B, I = 6, 3, 4
LENGTHS = [6, 2, 5]


@pytest.fixture(params=["eager", "torch", "native"])
def engine(request):
    if request.param == "native":
        request.getfixturevalue("native")
    return request.param


def by_hand(sizes=(5, 4), both=False):
    """An LSTM and a GRU of torch.nn, the second fed with the first."""
    lstm = nn.LSTM(I, sizes[0], bidirectional=both, dtype=torch.float64)
    gru = nn.GRU(sizes[0] * (1 + both), sizes[1], bidirectional=both, dtype=torch.float64)
    return lstm, gru


def with_weights_of(modules, engine, **options):
    """Our stack with the weights of torch's layers."""
    sizes = [module.hidden_size for module in modules]
    layer = Recurrent(["lstm", "gru"], I, sizes, dtype=torch.float64, engine=engine, **options)
    state = {
        name.replace("_l0", f"_l{k}"): value for k, m in enumerate(modules) for name, value in m.state_dict().items()
    }
    layer.load_state_dict(state)
    return layer


def run_by_hand(modules, x, hx, lengths=None):
    """Output and the state of each layer."""
    if lengths is not None:
        x = pack_padded_sequence(x, lengths, enforce_sorted=False)
    finals = []
    for module, state in zip(modules, hx, strict=True):
        x, final = module(x, state)
        finals.append(final)
    return (x if lengths is None else pad_packed_sequence(x)[0]), finals


def flat(states):
    return [states] if isinstance(states, torch.Tensor) else [t for state in states for t in flat(state)]


def random_states(sizes, directions=1, batch=B):
    h, c, top = (torch.randn(directions, batch, s, dtype=torch.float64) for s in (sizes[0], sizes[0], sizes[1]))
    return ((h, c), top)


def gradients(outputs, leaves):
    generator = torch.Generator().manual_seed(3)
    loss = torch.stack([(o * torch.randn(o.shape, generator=generator, dtype=o.dtype)).sum() for o in outputs]).sum()
    return torch.autograd.grad(loss, leaves)


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


def residual_by_hand(layer, x, hx, dropped=lambda x: x):
    """The layers of a residual GRU, each by itself, by Wu et al.'s equation 6."""
    for k in range(layer.num_layers):
        one = nn.GRU(x.shape[-1], layer.hidden_size, bidirectional=layer.bidirectional, dtype=torch.float64)
        own = {n: v for n, v in layer.state_dict().items() if f"_l{k}" in n}
        one.load_state_dict({n.replace(f"_l{k}", "_l0"): v for n, v in own.items()})
        D = 1 + layer.bidirectional
        output, _ = one(dropped(x) if k else x, hx[k * D : (k + 1) * D])
        x = output + x if k else output
    return x


@pytest.mark.parametrize("both", [False, True], ids=["one", "both"])
def test_a_residual_layer_adds_its_input(engine, both):
    layer = Recurrent("gru", I, 5, 3, residual=True, bidirectional=both, dtype=torch.float64, engine=engine)
    x = torch.randn(T, B, I, dtype=torch.float64)
    hx = torch.randn(3 * (1 + both), B, 5, dtype=torch.float64)
    output, state = layer(x, hx)
    torch.testing.assert_close(output, residual_by_hand(layer, x, hx))
    plain = Recurrent("gru", I, 5, 3, bidirectional=both, dtype=torch.float64, engine=engine)
    plain.load_state_dict(layer.state_dict())
    assert not torch.allclose(plain(x, hx)[0], output)
    assert state.shape == hx.shape
    assert not torch.allclose(state[-1], output[0 if both else -1][..., -5:])  # the cell's own, without the input


def test_what_is_added_is_the_input_before_dropout(engine):
    """With everything dropped each upper cell sees zeros, and what is added is still whole."""
    layer = Recurrent("gru", I, 5, 3, residual=True, dropout=1.0, dtype=torch.float64, engine=engine).train()
    x, hx = torch.randn(T, B, I, dtype=torch.float64), torch.randn(3, B, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x, hx)[0], residual_by_hand(layer, x, hx, torch.zeros_like))
    torch.testing.assert_close(layer.eval()(x, hx)[0], residual_by_hand(layer, x, hx))


def test_a_sequences_end_is_zero_in_residual_stacks_too(engine):
    layer = Recurrent("gru", I, 5, 2, residual=True, dtype=torch.float64, engine=engine)
    x = torch.randn(T, B, I, dtype=torch.float64)
    output, _ = layer(x, lengths=LENGTHS)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(output[:length, row], layer(x[:length, row])[0])
        assert not output[length:, row].any()


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"num_layers": 3}], ids=str)
def test_a_learned_state_is_where_a_run_starts(engine, options):
    layer = Recurrent("lstm", I, 5, learned_state=True, dtype=torch.float64, engine=engine, **options)
    plain = Recurrent("lstm", I, 5, dtype=torch.float64, engine=engine, **options)
    learned = {n: p for n, p in layer.named_parameters() if n.startswith("initial_")}
    assert all(p.shape == (5,) and not p.any() for p in learned.values())
    plain.load_state_dict({n: p for n, p in layer.state_dict().items() if n not in learned})
    x = torch.randn(T, B, I, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], plain(x)[0], rtol=0, atol=0)

    with torch.no_grad():
        for p in learned.values():
            p.normal_()
    suffixes = [f"_l{k}{s}" for k in range(layer.num_layers) for s in layer._suffixes()]
    hx = tuple(torch.stack([learned[f"initial_{s}{e}"] for e in suffixes]).unsqueeze(1) for s in ("h", "c"))
    given = tuple(s.detach().expand(-1, B, -1).clone().requires_grad_() for s in hx)
    found, wanted = layer(x), plain(x, given)
    torch.testing.assert_close(found, wanted)
    assert torch.equal(layer(x, given)[0], wanted[0])  # a state that is given is taken
    ours = gradients([found[0], *found[1]], list(learned.values()))
    theirs = gradients([wanted[0], *wanted[1]], given)
    by_name = {
        f"initial_{s}{e}": g[i].sum(0) for s, g in zip("hc", theirs, strict=True) for i, e in enumerate(suffixes)
    }
    torch.testing.assert_close(ours, tuple(by_name[name] for name in learned))


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


class TestStreams:
    def test_steps_are_the_layers(self, engine):
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
    def test_same_states_and_a_learned_start(self, engine, options):
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
    def test_each_layer_steps_in_its_kernel_but_a_residual_one(self):
        session = gatewise.stream(Recurrent(["lstm", "gru"], I, 5, dtype=torch.float64))
        assert "by the module's own call" not in session.reason
        session = gatewise.stream(Recurrent("gru", I, 5, 2, residual=True, dtype=torch.float64))
        assert session.reason.endswith("by the module's own call, for its layers add their input to their output")


class TestLanguageModels:
    @pytest.mark.usefixtures("native")
    @pytest.mark.parametrize(
        "options", [{}, {"embedding_size": 3}, {"learned_state": True}, {"residual": True, "learned_state": True}]
    )
    def test_native_writes_what_the_reference_writes(self, options):
        model = LanguageModel(11, ["lstm", "gru"], 6, engine="native", **options).double().eval()
        for parameter in model.parameters():
            parameter.data.normal_()
        prompt, texts = torch.tensor([3, 1, 4]), []
        for engine in ("native", "eager"):
            model.recurrent.engine = engine
            sampling = Sampling(temperature=1.0, seed=5)
            texts.append(list(generate_tokens(model, prompt, 60, sampling)))
        assert texts[0] == texts[1]
        assert len(set(texts[0])) > 3

    def test_the_state_is_cut_off_from_its_graph(self):
        model = LanguageModel(11, ["lstm", "gru"], [6, 5])
        _, state = model(torch.zeros(3, 2, dtype=torch.long))
        assert not any(part.requires_grad for part in flat(detach(state)))
        assert model.head.in_features == 5

    def test_the_book_s_weights_leave_the_start_at_zero(self):
        model = LanguageModel(11, "gru", 6, learned_state=True)
        initialise_like_the_book(model)
        assert not model.recurrent.get_parameter("initial_h_l0").any()
        assert 0.005 < model.recurrent.get_parameter("weight_hh_l0").std() < 0.02

    def test_no_second_direction(self):
        with pytest.raises(UserError, match="would see the tokens that are to be predicted"):
            LanguageModel(11, "gru", 6, bidirectional=True)  # type: ignore[call-arg]
        model = LanguageModel(11, "gru", 6)
        model.recurrent = Recurrent("gru", 11, 3, bidirectional=True)
        with pytest.raises(UserError, match="bidirectional layer cannot write"):
            generate_tokens(model, torch.tensor([1]), 5, Sampling())
        with pytest.raises(UserError, match="bidirectional layer cannot be streamed"):
            gatewise.stream(model)


@pytest.mark.parametrize("cells", [["gru", "lstm"], ["gru", "gru"], ["lstm", "lstm"]])
@pytest.mark.parametrize("hx", [5, (None, 5), (torch.zeros(1, 2, 4), None), ([1.0], (2.0, 3.0))], ids=str)
def test_states_that_are_no_tensors_are_refused_in_a_line(cells, hx):
    layer = Recurrent(cells, 3, 4, engine="eager")
    with pytest.raises((UserError, RuntimeError), match="hx"):
        layer(torch.zeros(5, 2, 3), hx)
