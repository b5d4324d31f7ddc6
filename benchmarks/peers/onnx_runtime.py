"""ONNX Runtime's own GRU, LSTM and RNN: inference alone, one operator made by hand."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.case import Case, What
from benchmarks.peers.peer import Peer
from benchmarks.work import Contestant, Subject

# The operator for a cell, its attributes, and where the operator's gates stand among ours.
OPERATORS: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "gru": ("GRU", {"linear_before_reset": 1}, [1, 0, 2]),
    "gru-before": ("GRU", {"linear_before_reset": 0}, [1, 0, 2]),
    "lstm": ("LSTM", {}, [0, 3, 1, 2]),
    "rnn": ("RNN", {}, [0]),
}
NEWEST_IR = 10  # ONNX Runtime reads a file format only some time after the package onnx writes it
OPSET = 14


def takes(case: Case) -> bool:
    return case.what in (What.INFER, What.STEP) and case.cell_name in OPERATORS


def build(subject: Subject) -> Contestant:
    session = _session(_model(subject), subject.threads)
    x = subject.x.detach().numpy()
    name = "ONNX Runtime"
    if subject.case.what is What.INFER:
        return Contestant(name, lambda: session.run(["Y"], {"X": x}), lambda: _sequence(session, x), "onnxruntime")
    _, B, _, H = subject.case.sizes
    carried = np.zeros((1, B, H), np.float32)

    def work() -> np.ndarray:
        nonlocal carried
        (carried,) = session.run(["Y_h"], {"X": x, "initial_h": carried})
        return carried

    return Contestant(name, work, lambda: torch.from_numpy(np.concatenate([work() for _ in range(3)])), "onnxruntime")


def _sequence(session: Any, x: np.ndarray) -> Tensor:
    (Y,) = session.run(["Y"], {"X": x})
    return torch.from_numpy(Y[:, 0])


def _model(subject: Subject) -> bytes:
    """One recurrent operator; ``initial_h`` is an input for a streaming step alone."""
    import onnx
    from onnx import helper, numpy_helper

    T, B, I, H = subject.case.sizes
    operator, attributes, order = OPERATORS[subject.case.cell_name]
    weights = {name.removesuffix("_l0"): value.numpy() for name, value in subject.layer.state_dict().items()}
    ordered = {
        name: np.concatenate([np.split(value, len(order))[gate] for gate in order]) for name, value in weights.items()
    }
    constants = {
        "W": ordered["weight_ih"][None],
        "R": ordered["weight_hh"][None],
        "B": np.concatenate([ordered["bias_ih"], ordered["bias_hh"]])[None],
    }
    carries = subject.case.what is What.STEP
    inputs = {"X": [T, B, I]} | ({"initial_h": [1, B, H]} if carries else {})
    node_inputs = ["X", "W", "R", "B", *(["", "initial_h"] if carries else [])]
    node = helper.make_node(operator, node_inputs, ["Y", "Y_h"], hidden_size=H, **attributes)
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("Y", "Y_h")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = min(model.ir_version, NEWEST_IR)
    return model.SerializeToString()


def _session(model: bytes, threads: int) -> Any:
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Its threads may wait busily while it runs, but not while another contestant does.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


PEER = Peer("onnxruntime", takes, build, ("onnxruntime", "onnx"))
