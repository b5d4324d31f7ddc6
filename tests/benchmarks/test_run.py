"""A case runs and gives sane figures; a wrong engine gets none."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from benchmarks.__main__ import main
from benchmarks.case import Case, Sizes, What
from benchmarks.measure import Plan, Spread
from benchmarks.peers import Peer, torch_nn
from benchmarks.run import MISSED, REACHED, UNJUDGED, Settings, as_json, run_case
from benchmarks.work import Contestant

from benchmarks import measure, registry, run
from gatewise.engines import ENGINES
from gatewise.engines.eager import EagerEngine

PLAN = Plan(rounds=2, sample_seconds=0.0)
TINY = Sizes(4, 3, 5, 6)


@pytest.fixture(autouse=True)
def _small_yardstick(monkeypatch):
    monkeypatch.setattr(measure, "YARDSTICK_SIZE", 64)


def shrunk(case: Case) -> Case:
    return replace(case, sizes=Sizes(1, 1, 5, 6) if case.what is What.STEP else TINY)


def is_sane(spread: Spread) -> bool:
    return 0 < spread.low <= spread.median <= spread.high < math.inf


@pytest.mark.parametrize("case", registry.CASES, ids=lambda case: case.name)
def test_a_case_gives_figures(case):
    outcome = run_case(shrunk(case), Settings("eager", 1, PLAN))
    assert outcome.refused is None
    if outcome.skipped:
        assert not case.in_float32
        return
    assert outcome.engine == "eager"
    assert [outcome.figures[0].key, outcome.rounds] == ["ours", 2]
    assert outcome.figures[0].ratio is None
    assert outcome.share is not None
    assert all(is_sane(spread) for spread in (outcome.share, *(figure.seconds for figure in outcome.figures)))
    assert all(is_sane(figure.ratio) for figure in outcome.figures[1:] if figure.ratio)
    assert all(not why or why.startswith(("not installed", "takes part")) for why in outcome.left_out.values())
    assert case.targets.keys() <= {figure.key for figure in outcome.figures} | outcome.left_out.keys()
    found = json.loads(json.dumps(as_json(outcome, {"threads": 1})))
    assert found["flops"] > 0
    assert found["figures"][1]["ratio_to_ours"].keys() == {"median", "low", "high"}


def test_names_of_cases_are_unique():
    assert len({case.name for case in registry.CASES}) == len(registry.CASES)


class Wrong(EagerEngine):
    """The reference with a fault: it forgets the initial state."""

    def __init__(self, name: str) -> None:
        self.name = name

    def applies(self, request) -> bool:
        return True

    def run(self, request, x, lengths, states):
        if self.applies(request):
            states = tuple(torch.zeros_like(state) for state in states)
        return super().run(request, x, lengths, states)


class WrongWhenWide(Wrong):
    """At sizes that the comparison of the contract tests does not have."""

    def applies(self, request):
        return request.weights[0][0].recurrent.shape[1] == TINY.H


class WrongWithoutGradient(Wrong):
    """On the path without gradients alone, where no gradient can tell."""

    def run(self, request, x, lengths, states):
        output, final = super().run(request, x, lengths, states)
        return (output, final) if torch.is_grad_enabled() else (output * 1.001, final)

    def applies(self, request):
        return False


class WrongGradient(Wrong):
    """Half a gradient, at sizes that the comparison of the contract tests does not have."""

    def run(self, request, x, lengths, states):
        weights = request.weights[0][0]
        if weights.recurrent.shape[1] == TINY.H:
            half = weights.recurrent / 2
            request = replace(request, weights=((replace(weights, recurrent=half + half.detach()),),))
        return super().run(request, x, lengths, states)

    def applies(self, request):
        return False


class Raising(Wrong):
    def run(self, request, x, lengths, states):
        raise RuntimeError("no such instruction")


@pytest.fixture
def put_in_table():
    before = list(ENGINES)
    yield ENGINES.append
    ENGINES[:] = before


@pytest.mark.parametrize(
    ("fault", "what", "says"),
    [
        (Wrong, What.TRAIN, "differs by .*17-float32"),
        (WrongWhenWide, What.TRAIN, "differs by .*4,3,5,6"),
        (WrongWithoutGradient, What.INFER, "answer differs by"),
        (WrongGradient, What.TRAIN_INPUT, "d weight_hh_l0 differs by .*4,3,5,6"),
        (WrongGradient, What.TEXT, "d recurrent.weight_hh_l0 differs by .*4,3,5,6"),
        (Raising, What.TRAIN, "RuntimeError: no such instruction"),
    ],
)
def test_a_wrong_engine_is_refused(fault, what, says, put_in_table):
    put_in_table(fault(fault.__name__))
    outcome = run_case(Case("gru", what, TINY), Settings(fault.__name__, 1, PLAN, peers=[torch_nn.PEER]))
    assert outcome.refused
    assert re.search(says, outcome.refused)
    assert not outcome.figures


def test_a_wrong_engine_ends_in_exit_code_1_and_no_time(put_in_table, capsys, monkeypatch):
    put_in_table(Wrong("forgetful"))
    monkeypatch.setattr(registry, "CASES", [Case("rnn", What.INFER, TINY)])
    assert main(["--engine", "forgetful", "--only", "rnn", "--threads", "1", "--quick"]) == 1
    out = capsys.readouterr().out
    assert "REFUSED" in out
    assert not re.search(r"\d (ms|us|tok/s)", out)


@pytest.mark.parametrize("count", [1, 2])
def test_a_target_is_judged_with_its_own_threads_alone(count):
    reachable = Case("gru", What.INFER, TINY, targets={"torch.nn": 1e-9})
    hopeless = replace(reachable, targets={"torch.nn": 1e9})
    settings = Settings("torch", count, PLAN, peers=[torch_nn.PEER])
    verdicts = [run_case(case, settings).figures[1].verdict for case in (reachable, hopeless)]
    assert verdicts == ([REACHED, MISSED] if count == 2 else [UNJUDGED, UNJUDGED])


def test_a_peer_that_computes_something_else_takes_no_part():
    def build(subject):
        return Contestant("zeros", lambda: None, lambda: torch.zeros(TINY.T, TINY.B, TINY.H))

    def fail(subject):
        raise OSError("no compiler\nand more")

    peers = [Peer("zeros", lambda case: True, build), Peer("broken", lambda case: True, fail)]
    outcome = run_case(Case("gru", What.INFER, TINY), Settings("torch", 1, PLAN, peers=peers))
    assert [figure.key for figure in outcome.figures] == ["ours"]
    assert "answer differs by" in outcome.left_out["zeros"]
    assert outcome.left_out["broken"].endswith("OSError: no compiler")


def test_what_is_not_installed_is_said_once(capsys, monkeypatch):
    absent = Peer("absent", lambda case: True, torch_nn.build, ("no-such-package",))
    monkeypatch.setattr(run, "PEERS", [torch_nn.PEER, absent])
    monkeypatch.setattr(registry, "CASES", [Case("rnn", What.INFER, TINY), Case("gru", What.INFER, TINY)])
    assert main(["--engine", "torch", "--quick", "--rounds", "2", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("not installed: pip install no-such-package") == 1
    assert max(map(len, out.splitlines()[5:])) <= 100


def test_json_is_one_object_a_line(capsys, monkeypatch):
    monkeypatch.setattr(registry, "CASES", [Case("rnn", What.INFER, TINY), Case("gru", What.INFER, TINY)])
    assert main(["--engine", "torch", "--quick", "--rounds", "2", "--threads", "1", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["cell"] for each in found] == ["rnn", "gru"]
    assert {"cpu", "threads", "versions", "commit"} <= found[0]["machine"].keys()


def test_the_list_names_every_case(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(case.name in out for case in registry.CASES)


def test_an_unknown_pattern_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--only", "nothing-like-this"])
    assert stop.value.code == 2
    assert "no case has such a name" in capsys.readouterr().err
