"""The engine "scan" on every kind of linear cell, against the reference; what it refuses; where it is chosen."""

from dataclasses import replace

import pytest
import torch
from comparison import (
    Setting,
    assert_agree,
    assert_engine_agrees_with_reference,
    everything,
    one_or_all,
    random_input,
    random_layer,
    random_states,
)
from hypothesis import given, settings
from linear_cells import LINEAR, random_linear_cells  # type: ignore
from made_up_cells import MADE_UP  # type: ignore
from torch.autograd import gradcheck, gradgradcheck

import gatewise
from gatewise import Recurrent, UserError
from gatewise.cells import resolve
from gatewise.engines import choose, scan
from gatewise.engines.native import build
from gatewise.engines.scan.recurrence import FEW, recurrence

CELLS = {"min-gru": "min-gru", "min-lstm": "min-lstm", "NoProduct": MADE_UP["NoProduct"], **LINEAR}
every_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
UNEQUAL = (4, 60, 1, 49, 17)


@every_cell
@pytest.mark.parametrize(
    "setting",
    [
        *(Setting(steps=steps, batch=3) for steps in (1, 2, 3, 17, FEW + 1)),
        Setting(steps=60, lengths=UNEQUAL, layers=2, bidirectional=True),
        Setting(33, torch.float32, steps=60, lengths=UNEQUAL, bidirectional=True),
        Setting(steps=9, bias=False),
    ],
    ids=str,
)
def test_scan_agrees_with_the_reference(cell, setting):
    assert_engine_agrees_with_reference(cell, "scan", setting)


@pytest.mark.parametrize("cell", ["min-gru", LINEAR["Highway"]], ids=["min-gru", "Highway"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_scan_agrees_over_a_thousand_steps(cell, dtype):
    setting = Setting(5, dtype, steps=1000, batch=2, lengths=(1000, 700), bidirectional=True)
    assert_engine_agrees_with_reference(cell, "scan", setting)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(cell=random_linear_cells())
def test_scan_agrees_on_random_cells(cell):
    assert_engine_agrees_with_reference(cell, "scan", Setting(3, steps=9, batch=3, lengths=(9, 4, 1)))


@pytest.mark.parametrize("lengths", [None, (130, 33, 1)], ids=str)
@pytest.mark.parametrize("cell", ["min-gru", LINEAR["InOrder"]], ids=["min-gru", "InOrder"])
def test_blocks_of_steps_are_the_whole(cell, lengths, monkeypatch):
    """Several blocks, the last one shorter, with masks that are drawn for every step and one that is not."""
    transformed = gatewise.zoneout(gatewise.layer_norm(cell), 0.3)
    x, states = random_input(130, 3), None
    found = []
    for engine, block in (("eager", None), ("scan", 1), ("scan", 40 * 15), ("scan", None)):
        if block is not None:
            monkeypatch.setattr(scan, "BLOCK", block)
        layer = random_layer(transformed, engine, 5, bidirectional=True)
        states = random_states(layer, 3) if states is None else states
        torch.manual_seed(5)
        found.append(everything(layer, x, states, lengths=lengths))
    for each in found[1:]:
        assert_agree(each, found[0], 1e-10)


def saturate(layer):
    """The first gate is 0 in unit 0, 1 in unit 1, and either of them, as the input has it, in unit 2.

    So is 1 minus the second gate of min-lstm: of two gates at 0 it has no quotient.
    """
    bias, weight = (layer.get_parameter(f"{name}_ih_l0").detach() for name in ("bias", "weight"))
    for gate, sign in enumerate((-1e4, 1e4)[: len(layer.cell.gates) - 1]):
        bias[6 * gate : 6 * gate + 2] = torch.tensor([sign, -sign])
        weight[6 * gate + 2] = -sign


@pytest.mark.parametrize("cell", ["min-gru", "min-lstm"])
@pytest.mark.parametrize("steps", [17, 200])
def test_gates_at_exactly_0_and_1(cell, steps):
    layer, reference = (random_layer(cell, engine, 6) for engine in ("scan", "eager"))
    for each in (layer, reference):
        saturate(each)
    x, states = random_input(steps, 4), random_states(layer, 4)
    found, expected = (everything(each, x, states) for each in (layer, reference))
    gates = torch.sigmoid(x @ layer.get_parameter("weight_ih_l0")[:6].T + layer.get_parameter("bias_ih_l0")[:6])
    assert [gates[..., unit].unique().tolist() for unit in (0, 1)] == [[0.0], [1.0]]
    assert {0.0, 1.0} <= set(gates[..., 2].flatten().tolist())
    assert_agree(found, expected, 1e-10)


def by_the_next_steps_factor(a, b, initial, reverse=False):
    return recurrence(a.roll(-1, 0), b, initial, reverse)


def by_the_last_steps_term(a, b, initial, reverse=False):
    return recurrence(a, b.roll(1, 0), initial, reverse)


def from_zero(a, b, initial, reverse=False):
    return recurrence(a, b, torch.zeros_like(initial), reverse)


def forwards(a, b, initial, reverse=False):
    return recurrence(a, b, initial)


@pytest.mark.parametrize("fault", [by_the_next_steps_factor, by_the_last_steps_term, from_zero, forwards])
@pytest.mark.parametrize("cell", ["min-gru", "min-lstm"])
def test_a_fault_is_caught(cell, fault, monkeypatch):
    monkeypatch.setattr(scan, "recurrence", fault)
    with pytest.raises(AssertionError, match="differs by"):
        assert_engine_agrees_with_reference(cell, "scan", Setting(steps=7, bidirectional=True))


@pytest.mark.parametrize("cell", ["min-gru", LINEAR["InOrder"]], ids=["min-gru", "InOrder"])
def test_it_may_be_differentiated_twice_and_forwards(cell):
    layer = random_layer(cell, "scan", 2)
    x, states = random_input(3, 2), random_states(layer, 2)
    leaves = [value.requires_grad_() for value in (x, *states)]

    def run(x, *states):
        return layer(x, one_or_all(states), lengths=(3, 2))[0]

    assert gradcheck(run, leaves, check_forward_ad=True)
    assert gradgradcheck(run, leaves)


@pytest.mark.parametrize("steps", [3, FEW + 2])
def test_it_takes_part_in_the_transforms_of_torch(steps):
    layer, reference = (random_layer("min-gru", engine, 5, bidirectional=True) for engine in ("scan", "eager"))
    x = random_input(steps, 4)
    for each in (layer, reference):
        each.requires_grad_(False)

    def one_by_one(module):
        def loss(x):
            return module(x.unsqueeze(1))[0].square().sum()

        return torch.func.vmap(torch.func.grad(loss), in_dims=1)(x)

    torch.testing.assert_close(one_by_one(layer), one_by_one(reference), rtol=1e-10, atol=1e-10)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x)[0], reference(x)[0], rtol=1e-10, atol=1e-10)


def test_a_changed_number_in_the_equations_is_noticed():
    class Leaky(gatewise.Cell):
        gates = ("n",)
        rate = 0.5

        def step(self, x, u, h):
            return self.rate * h + x.n

    layer = random_layer(Leaky, "scan")
    x = random_input(4, 2)
    before = layer(x)[0]
    layer.cell.rate = 0.25  # type: ignore
    after = layer(x)[0]
    torch.testing.assert_close(after[1] - 0.25 * after[0], before[1] - 0.5 * before[0])
    assert not torch.allclose(after, before)


@pytest.mark.parametrize(
    ("cell", "options", "why"),
    [
        ("gru", {}, "scan: h_{t-1} stands inside u.z, a product that mixes the units"),
        ("sru", {}, "scan: c_{t-1} stands inside sigmoid"),
        ("min-gru", {"precision": "bf16"}, "scan multiplies in the weights' own precision"),
        (LINEAR["Highway"], {"proj_size": 2}, "scan has no projection of the output (proj_size)"),
    ],
)
def test_what_it_refuses(cell, options, why):
    layer = Recurrent(cell, 3, 5, engine="scan", **options)
    for attempt in (lambda: layer(torch.zeros(4, 2, 3)), lambda: gatewise.which(layer)):
        with pytest.raises(UserError) as caught:
            attempt()
        assert str(caught.value) == f"engine 'scan' cannot run this: {why}; use engine='auto'"


class TestChoice:
    SCAN = "'min-gru' is linear in its state: all steps at once, by a parallel scan"
    NO_KERNEL = "torch has no kernel for the cell 'min-gru'"

    @pytest.fixture
    def without_native(self, monkeypatch):
        def none(*_, **__):
            raise UserError("no C++ compiler")

        monkeypatch.setattr(build, "kernel", none)

    def test_without_a_compiler(self, without_native):
        layer = Recurrent("min-gru", 3, 5)
        expected = ("scan", f"{self.SCAN}; native: no C++ compiler; {self.NO_KERNEL}")
        assert gatewise.which(layer) == gatewise.which(layer, torch.zeros(8, 2, 3)) == expected

    def test_few_steps_stay_sequential(self, without_native):
        layer = Recurrent("min-gru", 3, 5)
        engine, reason = gatewise.which(layer, torch.zeros(7, 2, 3))
        assert engine == "eager"
        assert reason.endswith(f"{self.NO_KERNEL}; a scan of fewer than 8 steps is slower")
        layer.engine = "scan"
        assert gatewise.which(layer, torch.zeros(7, 2, 3)) == ("scan", "asked for")

    def test_what_it_says_is_what_runs(self, without_native, monkeypatch):
        ran = []
        run = scan.ScanEngine.run

        def watched(self, request, x, lengths, states):
            ran.append(len(x))
            return run(self, request, x, lengths, states)

        monkeypatch.setattr(scan.ScanEngine, "run", watched)
        layer = Recurrent("min-gru", 3, 5, batch_first=True)
        for steps in (7, 8):
            x = torch.zeros(2, steps, 3)
            layer(x)
            assert (gatewise.which(layer, x).engine == "scan") == bool(ran)
        assert ran == [8]

    @pytest.mark.parametrize(
        ("x", "engine"),
        [
            (torch.zeros(8, 3), "scan"),
            (torch.zeros(7, 3), "eager"),
            (torch.zeros(9, 2, 3), "scan"),
            (torch.zeros(2, 9, 3), "eager"),
            (torch.zeros(9, dtype=torch.long), "scan"),
            (torch.zeros(2, 9, dtype=torch.long), "eager"),
            (torch.nn.utils.rnn.pack_sequence([torch.zeros(9, 3), torch.zeros(2, 3)]), "scan"),
        ],
    )
    def test_steps_are_counted_however_the_input_is_given(self, x, engine, without_native):
        layer = Recurrent("min-gru", 3, 5)
        assert gatewise.which(layer, x).engine == engine

    def test_a_stream_goes_step_by_step(self, without_native):
        assert "a scan of fewer than 8 steps is slower" in gatewise.stream(Recurrent("min-gru", 3, 5)).reason

    def test_one_long_sequence_with_large_weights(self, native):
        layer = Recurrent("min-gru", 512, 512)
        engine, reason = gatewise.which(layer, torch.zeros(200, 1, 512))
        assert engine == "scan"
        assert reason.startswith(f"{self.SCAN}; one long sequence: the input's large weights are read once")
        for other in (torch.zeros(200, 4, 512), torch.zeros(20, 1, 512)):
            assert gatewise.which(layer, other).engine == "native"
        assert gatewise.which(layer).engine == "native"
        assert gatewise.which(Recurrent("min-gru", 64, 64), torch.zeros(200, 1, 64)).engine == "native"
        layer.engine = "native"
        assert gatewise.which(layer, torch.zeros(200, 1, 512)).engine == "native"

    def test_no_other_cell_leaves_its_kernel(self, native):
        request = Recurrent("mgu", 512, 512).request(torch.zeros(200, 1, 512))
        assert choose(request).name == "native"
        assert choose(replace(request, cell=resolve("min-gru"))).name == "scan"
