"""The ladder, its budget, the gates' roles and openings, and chrono initialisation."""

import dataclasses
import json
import math

import pytest
import torch

import gatewise
from gatewise.cells import CELLS
from gatewise.errors import UserError
from gatewise.tasks.memory import MEMORY_TASKS
from gatewise.training import Silent, gates
from gatewise.training import probe as probing
from gatewise.training.gates import chrono_init, gate_courses, openings, roles
from gatewise.training.probe import ProbeSettings, network, probe

TINY = ProbeSettings(("gru",), steps=200, hidden=24, batch=16, lrs=(0.02,), ladder=(2, 4))


def weights(layer):
    return {name: weight.detach() for name, weight in layer.named_parameters()}


def test_a_ladder_is_climbed_to_its_end():
    (found,) = probe(TINY)
    assert [rung.T for rung in found.rungs] == [2, 4]
    assert all(rung.solved and rung.score >= 0.99 and 0 < rung.steps <= 200 for rung in found.rungs)
    assert (found.longest, found.unsolved, found.said()) == (4, None, ">= 4")
    assert set(found.gates) == {"r", "z"}
    assert set(found.gates["z"]) == {"first", "noise", "question"}
    assert found.parameters == 3 * (24 * 17 + 24 * 24 + 2 * 24) + 8 * 24 + 8
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_same_seed_gives_the_same():
    def facts(seed):
        settings = dataclasses.replace(TINY, steps=20, ladder=(2,), seed=seed)
        return [(rung.score, rung.steps) for rung in probe(settings)[0].rungs]

    assert facts(0) == facts(0) != facts(1)


def test_threads_are_those_asked_for_and_put_back():
    seen = []
    settings = dataclasses.replace(TINY, steps=1, threads=2)
    probe(settings, on_finding=lambda findings: seen.append(torch.get_num_threads()))
    assert (seen, torch.get_num_threads()) == ([2], 1)


def test_a_ladder_ends_at_the_first_unsolved():
    settings = dataclasses.replace(TINY, tasks=("recall", "add"), cells=("rnn", "gru"), steps=3, ladder=(30, 60))
    so_far = []
    found = probe(settings, on_finding=lambda findings: so_far.append(len(findings)))
    assert so_far == [1, 2, 3, 4]
    assert [(f.task, f.cell) for f in found] == [("recall", "rnn"), ("recall", "gru"), ("add", "rnn"), ("add", "gru")]
    for finding in found:
        assert [(rung.T, rung.solved, rung.steps) for rung in finding.rungs] == [(30, False, 3)]
        assert (finding.longest, finding.unsolved, finding.said(), finding.gates) == (0, 30, "< 30", {})


def test_every_learning_rate_has_the_budget_and_starts_anew():
    found = probe(dataclasses.replace(TINY, steps=5, lrs=(1e-9, 1e-8, 1e-10), ladder=(30,)))
    assert found[0].rungs[0].steps == 15
    solved = probe(dataclasses.replace(TINY, lrs=(1e-9, 0.02), ladder=(2,)))[0].rungs[0]
    alone = probe(dataclasses.replace(TINY, lrs=(0.02,), ladder=(2,)))[0].rungs[0]
    assert (solved.lr, solved.score, solved.steps) == (0.02, alone.score, 200 + alone.steps)


def test_minutes():
    found = probe(dataclasses.replace(TINY, steps=0, minutes=0.005, ladder=(300,)))
    assert 0.3 <= found[0].rungs[0].seconds < 3


def test_what_diverges_is_not_solved(monkeypatch):
    monkeypatch.setattr(probing.ProbeNet, "loss", lambda self, examples: torch.tensor(math.nan, requires_grad=True))
    (found,) = probe(TINY)
    assert [(rung.diverged, rung.solved) for rung in found.rungs] == [(True, False)]
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["rungs"][0]["score"] is None


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory(error, monkeypatch):
    def fails(self, examples):
        raise error

    monkeypatch.setattr(probing.ProbeNet, "loss", fails)
    with pytest.raises(UserError, match="recall, gru, T 2: not enough memory; lower --hidden"):
        probe(TINY)


def test_one_line_a_rung():
    lines = []

    class Told(Silent):
        def say(self, text):
            lines.append(text)

    probe(dataclasses.replace(TINY, tasks=("add",), steps=1), Told())
    assert len(lines) == 1
    assert lines[0].startswith("add, gru, T 2: not solved, error ")


ROLES = {
    "rnn": {}, "rnn-relu": {}, "gru": {"z": 1}, "gru-before": {"z": 1}, "lstm": {"f": 1, "i": -1},
    "lstm-peephole": {"f": 1, "i": -1}, "cifg": {"i": -1}, "mgu": {"f": -1}, "forget-gate-gru": {"f": 1, "z": -1},
    "gru-memory-cell": {"z": 1}, "min-gru": {"z": -1}, "mut1": {"z": -1},
}  # fmt: skip


@pytest.mark.parametrize("cell", [cell for cell in ROLES if cell in CELLS])
def test_what_gates_do_is_found_in_the_equations(cell):
    assert {gate: role.sign for gate, role in roles(cell).items()} == ROLES[cell]


def test_roles_of_a_cell_of_one_s_own():
    class Odd(gatewise.Cell):
        gates = ("a", "n")

        def step(self, x, u, h):
            forget = torch.sigmoid(-(x.a + u.a(h)))
            return forget * h + (1 - forget) * torch.tanh(x.n)

    assert roles(Odd) == {"forget": gates.Role("forget", "a", -1)}

    class Untraceable(gatewise.Cell):
        gates = ("a",)

        def step(self, x, u, h):
            return torch.sinc(x.a + u.a(h))

    assert roles(Untraceable) == {}


def test_chrono_biases():
    T_max, H = 50, 4000
    layer = gatewise.Recurrent("lstm", 2, H)
    b, recurrent = (weights(layer)[name] for name in ("bias_ih_l0", "bias_hh_l0"))
    before = b.clone()
    given = chrono_init(layer, T_max, torch.Generator().manual_seed(0))
    i, f, g, o = b.split(H)
    assert f.equal(given["f"])
    assert i.equal(given["i"])
    assert i.equal(-f)
    assert g.equal(before[2 * H : 3 * H])
    assert o.equal(before[3 * H :])
    assert recurrent[: 2 * H].abs().max() == 0
    assert recurrent[2 * H :].abs().max() > 0
    uniform = f.exp()  # U[1, T_max - 1]
    assert 1 <= uniform.min() < 1.1
    assert 48.9 < uniform.max() <= 49
    assert uniform.mean() == pytest.approx(25, abs=1)
    assert (uniform < 13).float().mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("cell", ["gru", "lstm", "cifg", "mgu", "min-gru"])
def test_chrono_makes_a_state_last(cell):
    """With nothing but biases, 1/(1 - keep) is the memory in steps: half of U[1, T_max - 1] is above T_max / 2."""
    layer = gatewise.Recurrent(cell, 2, 500)
    biases = chrono_init(layer, 1000, torch.Generator().manual_seed(0))
    (keeps,) = [b for gate, b in biases.items() if gate in ("z", "f") or cell == "cifg"]
    keep = torch.sigmoid(keeps if cell in ("gru", "lstm") else -keeps)
    assert (1 / (1 - keep)).median() == pytest.approx(500, rel=0.15)


@pytest.mark.parametrize("cell", ["gru", "lstm", "mgu", "min-gru"])
def test_chrono_sets_the_shifts_where_layer_norm_leaves_no_biases(cell):
    """The same draw as without normalisation, seen at the gate: and where W = U = 0 all of a gate is its draw."""
    plain, normed = gatewise.Recurrent(cell, 2, 50), gatewise.Recurrent(cell, 2, 50, num_layers=2, layer_norm=True)
    wanted = chrono_init(plain, 1000, torch.Generator().manual_seed(0))
    names = normed.connections.vector
    torch.nn.init.normal_(normed.get_parameter("vector_l0"))
    before = normed.get_parameter("vector_l0").detach().clone()
    last = chrono_init(normed, 1000, torch.Generator().manual_seed(0))
    assert last.keys() == wanted.keys() == set(gates.chrono_gates(normed))
    of = {gate: role.of for gate, role in roles(cell).items()}
    first, top = (dict(zip(names, normed.get_parameter(f"vector_l{k}").detach(), strict=True)) for k in (0, 1))
    for gate, b in wanted.items():
        assert first[f"shift_x_{of[gate]}"].equal(b)
        assert top[f"shift_x_{of[gate]}"].equal(last[gate])
        assert not first.get(f"shift_u_{of[gate]}", torch.zeros(1)).any()
    set_ = {f"shift_{side}_{name}" for side in "xu" for name in of.values()}
    for name, was in zip(names, before, strict=True):
        assert name in set_ or first[name].equal(was)

    with torch.no_grad():  # and so each unit forgets as that of the layer without normalisation
        for layer in (plain, normed):
            for name, weight in layer.named_parameters():
                if name.startswith("weight"):
                    weight.zero_()
    for gate, b in wanted.items():
        for layer in (plain, normed):
            mean = gate_courses(layer, torch.zeros(1, 1, 2))[gate].item()
            assert mean == pytest.approx(torch.sigmoid(b).mean().item(), abs=1e-6)


def test_chrono_in_all_layers_and_where_it_is_not_defined():
    layer = gatewise.Recurrent("gru", 2, 5, num_layers=2, bidirectional=True)
    chrono_init(layer, 9, torch.Generator().manual_seed(0))
    for name, weight in layer.named_parameters():
        if name.startswith("bias_ih"):
            assert 0 <= weight[5:10].min() <= weight[5:10].max() <= math.log(8)
    for nothing in (gatewise.Recurrent("rnn", 2, 5), gatewise.Recurrent("gru", 2, 5, bias=False)):
        before = [p.detach().clone() for p in nothing.parameters()]
        assert chrono_init(nothing, 9, torch.Generator()) == {}
        assert all(p.equal(b) for p, b in zip(nothing.parameters(), before, strict=True))
    assert probe(dataclasses.replace(TINY, cells=("rnn",), steps=1, chrono=True))[0].chrono == ()
    assert probe(dataclasses.replace(TINY, steps=1, chrono=True))[0].chrono == ("z",)
    assert probe(dataclasses.replace(TINY, steps=1))[0].chrono is None


def test_the_network_starts_as_its_length_says():
    settings, task = dataclasses.replace(TINY, chrono=True, hidden=2000), MEMORY_TASKS["recall"]
    z = weights(network("gru", task, settings, 98).layer)["bias_ih_l0"][2000:4000]
    assert 97.5 < z.exp().max() <= 99  # recall's sequences have T + 2 steps
    assert network("gru", task, settings, 98).head.weight.equal(network("gru", task, settings, 10).head.weight)


def test_gates_are_those_of_the_equations():
    """The GRU by hand, a step at a time."""
    torch.manual_seed(3)
    H, layer = 5, gatewise.Recurrent("gru", 3, 5)
    x = torch.randn(7, 2, 3)
    w, u, b, c = (p.detach() for p in layer.parameters())
    h, zs = torch.zeros(2, H), []
    for x_t in x:
        from_x, from_h = x_t @ w.T + b, h @ u.T + c
        r, z = torch.sigmoid(from_x + from_h)[:, : 2 * H].chunk(2, 1)
        n = torch.tanh(from_x[:, 2 * H :] + r * from_h[:, 2 * H :])
        h = (1 - z) * n + z * h
        zs.append(z.mean(1))
    torch.testing.assert_close(h, layer(x)[0][-1].detach())
    torch.testing.assert_close(gate_courses(layer, x)["z"], torch.stack(zs))


@pytest.mark.parametrize("cell", list(CELLS))
def test_gates_of_every_cell(cell):
    task = MEMORY_TASKS["skip"]
    layer = gatewise.Recurrent(cell, task.input_size, 6, engine="eager")
    for means in openings(layer, task.draw(5, 3, torch.Generator().manual_seed(0))).values():
        assert set(means) == {"bits", "noise", "question"}
        assert all(0 < mean < 1 for mean in means.values())


WRONG = {
    "no cell": ({"cells": ("gruu",)}, "did you mean 'gru'"),
    "no task": ({"tasks": ("recal",)}, "did you mean 'recall'"),
    "none": ({"cells": ()}, "--cell: empty"),
    "twice": ({"cells": ("gru", "gru")}, "--cell gru,gru: names something twice"),
    "no steps": ({"steps": -1}, "--steps -1"),
    "no budget": ({"steps": 0}, "--steps 0"),
    "two budgets": ({"minutes": 1.0}, "--steps beside --minutes"),
    "no units": ({"hidden": 0}, "--hidden 0"),
    "not a rate": ({"lrs": (math.nan,)}, "--lr nan"),
    "falling": ({"ladder": (20, 10)}, "rising"),
    "short": ({"ladder": (0, 10)}, "--length 0: too short"),
    "short for this one": ({"ladder": (5,), "tasks": ("break",)}, "'break' wants at least 6"),
    "seed": ({"seed": -1}, "--seed -1"),
    "threads": ({"threads": 0}, "--threads 0"),
    "clip": ({"clip": 0.0}, "--clip 0"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(TINY, **change)
