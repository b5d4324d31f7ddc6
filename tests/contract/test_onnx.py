"""ONNX's own recurrent operators: the node cases of the onnx package, and its reference with random weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from comparison import one_or_all
from torch import nn

from gatewise import Recurrent
from gatewise.engines import ENGINES
from gatewise.engines.stack import refusal

# The rows of our gates in ONNX's stack: GRU z, r, h; LSTM i, o, f, c; peepholes i, o, f.
ROWS = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 2, 3, 1]}
PEEPHOLES = [0, 2, 1]

Arrays = dict[str, np.ndarray]
MakeLayer = Callable[[str, dict[str, Any], Arrays, dict[str, Any]], nn.Module]


def ours(engine: str) -> MakeLayer:
    def make(op: str, attributes: dict[str, Any], inputs: Arrays, options: dict[str, Any]) -> nn.Module:
        cell = {"RNN": "rnn", "LSTM": "lstm-peephole" if "P" in inputs else "lstm"}.get(op)
        cell = cell or ("gru" if attributes.get("linear_before_reset") else "gru-before")
        sizes = inputs["W"].shape[2], attributes["hidden_size"]
        layer = Recurrent(cell, *sizes, **options)
        named = next(e for e in ENGINES if e.name == engine)
        layer.engine = "eager" if refusal(named, layer.request()) else engine
        return layer

    return make


def torchs(op: str, attributes: dict[str, Any], inputs: Arrays, options: dict[str, Any]) -> nn.Module:
    """torch.nn knows neither the reset before the product nor peepholes: both are left out."""
    return getattr(nn, op)(inputs["W"].shape[2], attributes["hidden_size"], **options)


def weights(op: str, inputs: Arrays) -> dict[str, torch.Tensor]:
    """ONNX's stacked weights under torch.nn's names."""

    def stack(blocks: np.ndarray, order: list[int]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([np.split(blocks, len(order))[row] for row in order]))

    found = {}
    for direction, suffix in enumerate(["", "_reverse"][: len(inputs["W"])]):
        W, R = inputs["W"][direction], inputs["R"][direction]
        biases = np.split(inputs["B"][direction], 2) if "B" in inputs else [np.zeros(len(W), W.dtype)] * 2
        found |= {
            f"weight_ih_l0{suffix}": stack(W, ROWS[op]),
            f"weight_hh_l0{suffix}": stack(R, ROWS[op]),
            f"bias_ih_l0{suffix}": stack(biases[0], ROWS[op]),
            f"bias_hh_l0{suffix}": stack(biases[1], ROWS[op]),
        }
        if "P" in inputs:
            found[f"weight_diag_l0{suffix}"] = stack(inputs["P"][direction], PEEPHOLES).reshape(3, -1)
    return found


def run_node(op: str, attributes: dict[str, Any], inputs: Arrays, make: MakeLayer) -> Arrays:
    """What a layer answers to a node: Y, Y_h and, of an LSTM, Y_c."""
    direction, batchwise = attributes.get("direction", "forward"), attributes.get("layout", 0)
    X = torch.from_numpy(inputs["X"])
    options = {"bidirectional": direction == "bidirectional", "dtype": X.dtype}
    layer = make(op, attributes, inputs, options)
    layer.load_state_dict(weights(op, inputs), strict=isinstance(layer, Recurrent))

    x = X.transpose(0, 1) if batchwise else X
    given = [torch.from_numpy(inputs[key]) for key in ("initial_h", "initial_c") if key in inputs]
    states = tuple(state.transpose(0, 1).contiguous() if batchwise else state for state in given)
    if "sequence_lens" in inputs:
        assert (inputs["sequence_lens"] == len(x)).all()  # else a reverse run would have to start elsewhere
    x = x.flip(0) if direction == "reverse" else x
    output, final = layer(x, one_or_all(states) if states else None)
    output = output.flip(0) if direction == "reverse" else output

    Y = output.detach().unflatten(2, (len(inputs["W"]), -1)).transpose(1, 2)  # T, D, B, H
    finals = [state.detach() for state in (final if isinstance(final, tuple) else (final,))]
    if batchwise:
        Y, finals = Y.permute(2, 0, 1, 3), [state.transpose(0, 1) for state in finals]
    return dict(zip(("Y", "Y_h", "Y_c"), (value.numpy() for value in (Y, *finals)), strict=False))


def attributes_of(node) -> dict[str, Any]:
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


@pytest.fixture(scope="module")
def node_cases():
    """(name, operator, attributes, inputs, outputs, tolerances) of ONNX's RNN, GRU and LSTM node cases."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)  # type: ignore[arg-type]
    found = []
    for case in cases:
        assert case.model is not None
        assert case.data_sets is not None
        (node, *others) = case.model.graph.node
        if others or node.op_type not in ROWS:
            continue
        ((inputs, outputs),) = case.data_sets
        named_inputs = dict(zip([n for n in node.input if n], map(np.asarray, inputs), strict=True))
        named_outputs = dict(zip([n for n in node.output if n], map(np.asarray, outputs), strict=True))
        tolerances = case.rtol, case.atol
        found.append((case.name, node.op_type, attributes_of(node), named_inputs, named_outputs, tolerances))
    return found


def passed(node_cases, make: MakeLayer, tolerance: float | None = None) -> set[str]:
    """The names of the cases that a layer answers, within the given tolerance or the case's own."""
    names = set()
    for name, op, attributes, inputs, outputs, (rtol, atol) in node_cases:
        answer = run_node(op, attributes, inputs, make)
        assert outputs.keys() <= answer.keys()
        assert all(answer[key].shape == value.shape for key, value in outputs.items())
        rtol, atol = (tolerance, tolerance) if tolerance else (rtol, atol)
        if all(np.allclose(answer[key], value, rtol, atol) for key, value in outputs.items()):
            names.add(name)
    return names


@pytest.mark.parametrize("engine", [engine.name for engine in ENGINES])
def test_all_18_node_cases_pass(node_cases, engine):
    assert len(node_cases) == 18
    assert passed(node_cases, ours(engine), tolerance=1e-6) == {case[0] for case in node_cases}


def test_torch_itself_passes_16(node_cases):
    failed = {case[0] for case in node_cases} - passed(node_cases, torchs)
    assert failed == {"test_gru_seq_length", "test_lstm_with_peepholes"}


NODES = [
    ("RNN", {}, False),
    ("GRU", {"linear_before_reset": 0}, False),
    ("GRU", {"linear_before_reset": 1}, False),
    ("LSTM", {}, False),
    ("LSTM", {}, True),
]


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "extra", "peepholes"), NODES, ids=str)
@pytest.mark.parametrize("engine", [engine.name for engine in ENGINES])
def test_random_weights_agree_with_onnxs_reference(op, extra, peepholes, direction, layout, engine):
    from onnx.reference import ReferenceEvaluator

    T, B, I, H = 5, 3, 4, 7
    D, G = 2 if direction == "bidirectional" else 1, len(ROWS[op])
    rng = np.random.default_rng(0)
    shapes = {"X": (T, B, I), "W": (D, G * H, I), "R": (D, G * H, H), "B": (D, 2 * G * H), "initial_h": (D, B, H)}
    if op == "LSTM":
        shapes["initial_c"] = (D, B, H)
    if peepholes:
        shapes["P"] = (D, 3 * H)
    inputs = {name: rng.normal(0, 0.6, shape) for name, shape in shapes.items()}
    if layout:
        inputs |= {n: a.swapaxes(0, 1).copy() for n, a in inputs.items() if n in ("X", "initial_h", "initial_c")}
    attributes = {"hidden_size": H, "direction": direction, "layout": layout} | extra

    order = ["X", "W", "R", "B", "", "initial_h", *(name for name in ("initial_c", "P") if name in inputs)]
    outputs = ["Y", "Y_h", "Y_c"] if op == "LSTM" else ["Y", "Y_h"]
    node = onnx.helper.make_node(op, order, outputs, **attributes)
    expected: Any = ReferenceEvaluator(node).run(None, inputs)
    answer = run_node(op, attributes, inputs, ours(engine))
    for name, value in zip(outputs, expected, strict=True):
        assert answer[name].shape == value.shape
        assert np.abs(answer[name] - value).max() <= 1e-12
