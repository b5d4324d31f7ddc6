"""The hidden size with which a model is as large, or as slow to train, as another."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable

import torch

from gatewise.layers import LanguageModel
from gatewise.tasks import TextTask
from gatewise.training.learner import Learner, torch_learner
from gatewise.training.text_run import model_config
from gatewise.training.text_settings import TextSettings

_WARMING, _ROUNDS, _SECONDS = 2, 5, 0.5


def matching_size(relative: Callable[[int], float], grain: float = 0.0) -> int:
    """The hidden size for which ``relative``, which grows with it, is nearest 1.

    Args:
        relative: of a hidden size: the model's cost, divided by the one that is wanted.
        grain: the search ends where two sizes are this near, relative to their size; 0: at neighbours.

    >>> matching_size(lambda hidden: hidden**2 / 1000)
    32
    """
    relative = functools.cache(relative)
    low, high = 1, 2
    while relative(high) < 1:
        low, high = high, 2 * high
    while high - low > max(1.0, grain * high):
        middle = (low + high) // 2
        low, high = (middle, high) if relative(middle) < 1 else (low, middle)
    return min(low, high, key=lambda hidden: abs(relative(hidden) - 1))


def step_ratio(
    first: TextSettings, other: TextSettings, task: TextTask, vocabulary_size: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:  # fmt: skip
    """How long a training step takes with ``other``, relative to ``first``.

    Their steps take turns, so that a slow moment of the machine hits both; the medians are divided. Both learners use
    a batch of the run's own size. Random numbers go on afterwards as if nothing had been measured.

    Args:
        first: the settings of the one.
        other: those of the other.
        task: gives the batch.
        vocabulary_size: of both.
        clock: seconds.
    """
    if first.threads:
        torch.set_num_threads(first.threads)
    batch = task.batches(0)[0]
    with torch.random.fork_rng(devices=[]):
        learners = [_learner(settings, task, vocabulary_size) for settings in (first, other)]
        times: list[list[float]] = [[], []]
        began = clock()
        while len(times[0]) < _WARMING + _ROUNDS or clock() - began < _SECONDS:
            for learner, own in zip(learners, times, strict=True):
                start = clock()
                learner.step(batch, lr=1e-4)
                own.append(clock() - start)
    one, two = (statistics.median(own[_WARMING:]) for own in times)
    return two / one


def _learner(settings: TextSettings, task: TextTask, vocabulary_size: int) -> Learner:
    precision = None if settings.precision == "float32" else settings.precision
    model = LanguageModel(**model_config(settings, vocabulary_size), engine=settings.engine, precision=precision)
    return torch_learner(model, task, settings)
