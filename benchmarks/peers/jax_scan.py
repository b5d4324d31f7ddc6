"""JAX: the equations in ``lax.scan``, compiled as a whole; gradients by ``jax.value_and_grad``."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.case import Case, What
from benchmarks.peers.peer import Peer
from benchmarks.work import Contestant, Subject

Arrays = dict[str, Any]
Step = Callable[[Any, Arrays, tuple[Any, ...], Any], tuple[Any, ...]]
"""(jax, weights, states, projected input of a step) -> next states."""


def _gru(jax: Any, w: Arrays, states: tuple[Any, ...], x_t: Any) -> tuple[Any, ...]:
    (h,) = states
    (x_r, x_z, x_n), (u_r, u_z, u_n) = (jax.numpy.split(v, 3, 1) for v in (x_t, _recurrent(w, h)))
    r, z = jax.nn.sigmoid(x_r + u_r), jax.nn.sigmoid(x_z + u_z)
    n = jax.numpy.tanh(x_n + r * u_n)
    return ((1 - z) * n + z * h,)


def _gru_before(jax: Any, w: Arrays, states: tuple[Any, ...], x_t: Any) -> tuple[Any, ...]:
    (h,) = states
    H = h.shape[1]
    x_r, x_z, x_n = jax.numpy.split(x_t, 3, 1)
    u_r, u_z = jax.numpy.split(_recurrent(w, h, slice(2 * H)), 2, 1)
    r, z = jax.nn.sigmoid(x_r + u_r), jax.nn.sigmoid(x_z + u_z)
    n = jax.numpy.tanh(x_n + _recurrent(w, r * h, slice(2 * H, None)))
    return ((1 - z) * n + z * h,)


def _lstm(jax: Any, w: Arrays, states: tuple[Any, ...], x_t: Any) -> tuple[Any, ...]:
    h, c = states
    p_i, p_f, p_o = w.get("weight_diag_l0", (0.0, 0.0, 0.0))
    i, f, g, o = jax.numpy.split(x_t + _recurrent(w, h), 4, 1)
    i, f = jax.nn.sigmoid(i + p_i * c), jax.nn.sigmoid(f + p_f * c)
    c = f * c + i * jax.numpy.tanh(g)
    return jax.nn.sigmoid(o + p_o * c) * jax.numpy.tanh(c), c


def _rnn(jax: Any, w: Arrays, states: tuple[Any, ...], x_t: Any) -> tuple[Any, ...]:
    return (jax.numpy.tanh(x_t + _recurrent(w, states[0])),)


def _minimal_gate(jax: Any, w: Arrays, states: tuple[Any, ...], x_t: Any) -> tuple[Any, ...]:
    (h,) = states
    H = h.shape[1]
    x_f, x_n = jax.numpy.split(x_t, 2, 1)
    f = jax.nn.sigmoid(x_f + _recurrent(w, h, slice(H)))
    n = jax.numpy.tanh(x_n + _recurrent(w, f * h, slice(H, None)))
    return ((1 - f) * h + f * n,)


def _soft_leak(jax: Any, w: Arrays, states: tuple[Any, ...], x_t: Any) -> tuple[Any, ...]:
    (h,) = states
    s, n = jax.numpy.split(x_t + _recurrent(w, h), 2, 1)
    a = jax.numpy.exp(-jax.nn.softplus(s) * jax.nn.softplus(w["vector_l0"][0]))
    return (a * h + (1 - a) * jax.numpy.tanh(n),)


def _recurrent(w: Arrays, operand: Any, rows: slice = slice(None)) -> Any:
    return operand @ w["weight_hh_l0"][rows].T + w["bias_hh_l0"][rows]


STEPS: dict[str, tuple[Step, int]] = {
    "gru": (_gru, 1),
    "gru-before": (_gru_before, 1),
    "lstm": (_lstm, 2),
    "lstm-peephole": (_lstm, 2),
    "rnn": (_rnn, 1),
    "MinimalGate": (_minimal_gate, 1),
    "SoftLeak": (_soft_leak, 1),
}
"""Cell -> its step, and how many states it has."""


def takes(case: Case) -> bool:
    return (case.what.over_a_sequence or case.what is What.STEP) and case.in_float32 and case.cell_name in STEPS


def build(subject: Subject) -> Contestant:
    jax = _jax(subject.threads)
    x, cotangent = (jax.numpy.asarray(value.detach().numpy()) for value in (subject.x, subject.cotangent))
    weights = {name: jax.numpy.asarray(value.numpy()) for name, value in subject.layer.state_dict().items()}
    step, count = STEPS[subject.case.cell_name]
    zero = (jax.numpy.zeros(cotangent.shape[1:], "float32"),) * count

    def run(w: Arrays, x: Any, states: tuple[Any, ...]) -> tuple[Any, Any]:
        def body(states: tuple[Any, ...], x_t: Any) -> tuple[tuple[Any, ...], Any]:
            following = step(jax, w, states, x_t)
            return following, following[0]

        return jax.lax.scan(body, states, x @ w["weight_ih_l0"].T + w["bias_ih_l0"])

    def loss(w: Arrays, x: Any) -> Any:
        return (run(w, x, zero)[1] * cotangent).sum()

    what = subject.case.what
    forward = jax.jit(run)

    def answer() -> Tensor:
        states, outputs = zero, []
        for _ in range(3 if what is What.STEP else 1):
            states, output = forward(weights, x, states)
            outputs.append(np.array(output))
        return torch.from_numpy(np.concatenate(outputs))

    if what is What.INFER:
        work = _ready(jax, lambda: forward(weights, x, zero))
    elif what is What.STEP:
        work = _ready(jax, _carrying(lambda states: forward(weights, x, states)[0], zero))
    else:
        train = jax.jit(jax.value_and_grad(loss, (0, 1) if what is What.TRAIN_INPUT else 0))
        work = _ready(jax, lambda: train(weights, x))
    return Contestant("JAX lax.scan", work, answer, "xla")


def _carrying(step: Callable[[Any], Any], states: Any) -> Callable[[], Any]:
    def work() -> Any:
        nonlocal states
        states = step(states)
        return states

    return work


def _ready(jax: Any, work: Callable[[], Any]) -> Callable[[], object]:
    """JAX answers before the work is done."""
    return lambda: jax.block_until_ready(work())


def _jax(threads: int) -> Any:
    # Read when JAX makes its pool of threads: once a process.
    os.environ.setdefault("NPROC", str(threads))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    return import_module("jax")


PEER = Peer("jax", takes, build, ("jax",))
