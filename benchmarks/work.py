"""What is timed: a contestant does the work of a case once at every call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.case import Case, What
from gatewise import LanguageModel, Recurrent

Work = Callable[[], object]
OPENMP = "openmp"


@dataclass(frozen=True)
class Contestant:
    """Someone who does the work of a case.

    Attributes:
        name: as it is printed.
        work: does it once.
        answer: what it computes, to be compared with the reference before anything is timed.
        pool: whose threads it works with; idle ones of another pool must have gone to sleep before it starts.
    """

    name: str
    work: Work
    answer: Callable[[], Tensor]
    pool: str = OPENMP


@dataclass(frozen=True)
class Subject:
    """What all contestants of a case share.

    Attributes:
        case: the case.
        layer: the reference with the weights that everyone copies, where the case is about a layer.
        model: the same for a case about a language model.
        x: (T, B, I) the input, a leaf with a gradient if the case wants it; whole numbers (T + 1, B) for tokens.
        cotangent: (T, B, H) the gradient of a loss by the output. Not that of a sum, which is one number seen through
            strides of zero: no training has such a gradient.
        threads: how many each may use.
    """

    case: Case
    layer: Recurrent
    model: LanguageModel
    x: Tensor
    cotangent: Tensor
    threads: int


def make_subject(case: Case, threads: int) -> Subject:
    """Weights and input of a case, always the same."""
    T, B, I, H = case.sizes
    torch.manual_seed(0)
    model = LanguageModel(I, case.cell, H, engine="eager")
    tokens = case.what.counts_tokens
    x = torch.randint(0, I, (T + 1, B)) if tokens else torch.randn(T, B, I)
    if case.what is What.TRAIN_INPUT:
        x.requires_grad_()
    return Subject(case, model.recurrent, model, x, torch.randn(T, B, H), threads)


def layer_contestant(name: str, module: nn.Module, subject: Subject) -> Contestant:
    """A module ``x -> (output, ...)`` at the work of a layer over a sequence."""
    x, cotangent = subject.x, subject.cotangent
    dtype = next(module.parameters()).dtype
    if dtype != x.dtype:
        x, cotangent = x.to(dtype), cotangent.to(dtype)
    leaves = [*module.parameters(), x]

    def train() -> None:
        for leaf in leaves:
            leaf.grad = None
        module(x)[0].backward(cotangent)

    def infer() -> Tensor:
        with torch.no_grad():
            return module(x)[0]

    return Contestant(name, infer if subject.case.what is What.INFER else train, lambda: infer().float())


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
