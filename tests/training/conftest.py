"""Trainings that die, and go on."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from gatewise.training import Run, fit, resume
from gatewise.training import learner as learners
from gatewise.training.checkpoint import read_tensors


class Killed(BaseException):
    """As abrupt as can be had without a second process."""


@pytest.fixture
def killed(monkeypatch) -> Callable[..., AbstractContextManager[None]]:
    """``with killed(after=7):`` the training in it dies at its eighth step; every step before is saved."""
    monkeypatch.setattr(fit, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    @contextmanager
    def killed(after: int = 0) -> Iterator[None]:
        step, left = learners.TorchLearner.step, iter(range(after))

        def dying(*arguments):
            if next(left, None) is None:
                raise Killed
            return step(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(learners.TorchLearner, "step", dying)
            with pytest.raises(Killed):
                yield

    return killed


@pytest.fixture
def ends_with_the_bits_of() -> Callable[[Path, tuple[Run, dict[str, Any]]], Run]:
    """Goes on with the run of a folder, which must come to the weights and the summary of one that did not die."""

    def check(folder: Path, undisturbed: tuple[Run, dict[str, Any]]) -> Run:
        whole, expected = undisturbed
        torch.manual_seed(99)
        run, summary = resume(folder)
        for name in ("weights_file", "last_file", "best_file"):
            one, other = read_tensors(getattr(run, name)), read_tensors(getattr(whole, name))
            assert one.keys() == other.keys()
            assert all(torch.equal(one[key], other[key]) for key in one)
        timed = {"seconds", *(name for name in expected if name.endswith("_per_second"))}
        assert {k: v for k, v in summary.items() if k not in timed} == {
            k: v for k, v in expected.items() if k not in timed
        }
        return run

    return check
