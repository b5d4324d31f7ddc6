"""Nothing is timed that has not just been proven right, by the comparison that the contract tests are made of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.case import What
from benchmarks.ours import language_model, layer_of
from benchmarks.work import Contestant, Subject, threads
from gatewise import Cell, LanguageModel, which

SMALL = ((17, (4, 7, 1, 7, 2)), (33, None), (33, (4, 7, 1, 7, 2)))
"""Hidden units and lengths of the comparison at small, odd sizes."""

TOLERANCE = {"float32": 1e-5, "bf16": 1e-2}
PEERS_TOLERANCE = 1e-4
"""Peers sum in another order, some in TF32-like shortcuts of their own; what is looked for here is another function."""


@cache
def _comparison() -> Any:
    """The contract tests' module; the one place where the benchmarks reach into the tests."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "contract"))
    return import_module("comparison")


def objection(subject: Subject, engine: str) -> str | None:
    """Why this engine's times for the case must not be printed, or None.

    The comparison of the contract tests at small odd sizes, in the case's number of threads; then everything at the
    case's own sizes: output, final states and every gradient; of a language model its scores and every gradient.
    """
    case = subject.case
    if case.in_float32:
        problem = _small(case.cell, engine, subject.threads)
        if problem:
            return problem
    return _language_model(subject, engine) if case.what.counts_tokens else _own_sizes(subject, engine)


@cache
def _small(cell: str | type[Cell], engine: str, count: int) -> str | None:
    comparison = _comparison()
    for hidden, lengths in SMALL:
        setting = comparison.Setting(hidden, torch.float32, count, lengths)
        try:
            comparison.assert_engine_agrees_with_reference(cell, engine, setting)
        except Exception as error:
            return f"{_saying(error)}; {setting}"
    return None


def _own_sizes(subject: Subject, engine: str) -> str | None:
    case, comparison = subject.case, _comparison()
    layer, reference = layer_of(subject, engine, case.precision), subject.layer
    if which(layer).engine == "eager" and case.in_float32:
        return None  # the reference itself
    T, B, I, _ = case.sizes
    x = torch.randn(T, B, I, generator=torch.Generator().manual_seed(5))
    states = comparison.random_states(reference, B)
    return _agreement(subject, lambda each: comparison.everything(each, x, states), layer, reference)


def _language_model(subject: Subject, engine: str) -> str | None:
    """Tokens have a path of their own: a look-up in place of a product."""

    def everything(model: LanguageModel) -> dict[str, Tensor]:
        scores, _ = model(subject.x[:-1])
        loss = F.cross_entropy(scores.flatten(0, 1), subject.x[1:].flatten())
        names, parameters = zip(*model.named_parameters(), strict=True)
        grads = torch.autograd.grad(loss, parameters)
        return {"scores": scores.detach()} | {f"d {name}": grad for name, grad in zip(names, grads, strict=True)}

    return _agreement(subject, everything, language_model(subject, engine), subject.model)


def _agreement(subject: Subject, everything: Callable[[Any], Any], ours: nn.Module, reference: nn.Module) -> str | None:
    try:
        with threads(subject.threads):
            _comparison().assert_agree(everything(ours), everything(reference), TOLERANCE[subject.case.precision])
    except Exception as error:
        return f"{_saying(error)}; T,B,I,H = {subject.case.sizes}"
    return None


def _saying(error: Exception) -> str:
    """What went wrong in one line: the comparison's words, or what an engine raised."""
    line = (str(error).splitlines() or [""])[0]
    return line if isinstance(error, AssertionError) and line else f"{type(error).__name__}: {line}"


def disagreement(contestant: Contestant, expected: Tensor, subject: Subject, peer: bool) -> str | None:
    """Why a contestant does not do the work that is asked for, or None: its answer beside the reference's."""
    tolerance = TOLERANCE[subject.case.precision]
    tolerance = max(tolerance, PEERS_TOLERANCE) if peer else tolerance
    if peer and not subject.case.in_float32:
        tolerance *= 5  # a peer may keep its states in bf16, over all the steps
    try:
        actual = contestant.answer()
    except Exception as error:
        return _saying(error)
    if actual.shape != expected.shape:
        return f"answer has the shape {tuple(actual.shape)}, the reference's {tuple(expected.shape)}"
    if subject.case.what is What.GENERATE:
        return None if torch.equal(actual, expected) else "another text than the reference's, greedily"
    error = (actual.detach() - expected.detach()).abs().max().item()
    largest = expected.abs().max().item()
    return None if error <= tolerance * largest else f"answer differs by {error:.1e} from the reference's"
