"""How Gatewise does the work of a case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import gatewise
from benchmarks.case import What
from benchmarks.work import Contestant, Subject, layer_contestant
from gatewise.engines import ENGINES
from gatewise.tasks import Sampling, TextTask
from gatewise.tasks.generate import generate_tokens
from gatewise.training.learner import TorchLearner

RATE = 0.1
"""The learning rate of a timed step: a thousand steps on one batch must not lead the weights astray."""


def default_engine() -> str:
    """The native engine where there is one."""
    return "native" if any(engine.name == "native" for engine in ENGINES) else "auto"


def contestant(subject: Subject, engine: str, precision: str = "float32") -> Contestant:
    """Ours, with an engine."""
    what = subject.case.what
    if what.counts_tokens:
        model = language_model(subject, engine)
        return (_generation if what is What.GENERATE else _text_step)("ours", model, subject)
    layer = layer_of(subject, engine, precision)
    return _streaming(layer, subject) if what is What.STEP else layer_contestant("ours", layer, subject)


def layer_of(subject: Subject, engine: str, precision: str = "float32") -> gatewise.Recurrent:
    """The case's layer with the shared weights."""
    _, _, I, H = subject.case.sizes
    more: dict[str, Any] = {} if precision == "float32" else {"precision": precision}
    layer = gatewise.Recurrent(subject.case.cell, I, H, engine=engine, **more)
    layer.load_state_dict(subject.layer.state_dict())
    return layer


def language_model(subject: Subject, engine: str) -> gatewise.LanguageModel:
    """The case's language model with the shared weights."""
    _, _, V, H = subject.case.sizes
    model = gatewise.LanguageModel(V, subject.case.cell, H, engine=engine)
    model.load_state_dict(subject.model.state_dict())
    return model


def _streaming(layer: gatewise.Recurrent, subject: Subject) -> Contestant:
    """One step with the state carried on, by ``gatewise.stream`` where the engine has it."""
    x = subject.x[0]

    def steps(count: int) -> Tensor:
        step = _stepper(layer)
        return torch.stack([step(x) for _ in range(count)])

    step = _stepper(layer)
    return Contestant("ours", lambda: step(x), lambda: steps(3))


def _stepper(layer: gatewise.Recurrent) -> Callable[[Tensor], Tensor]:
    stream = getattr(gatewise, "stream", None)
    if stream is not None and gatewise.which(layer).engine != "eager":
        return stream(layer).step
    state: Any = None

    def step(x: Tensor) -> Tensor:
        nonlocal state
        with torch.no_grad():
            output, state = layer(x.unsqueeze(0), state)
        return output[0]

    return step


def _generation(name: str, model: gatewise.LanguageModel, subject: Subject) -> Contestant:
    prompt, length = subject.x[:1, 0], subject.case.sizes.T

    def write(sampling: Sampling) -> list[int]:
        return list(generate_tokens(model, prompt, length, sampling))

    return Contestant(name, lambda: write(Sampling()), lambda: torch.tensor(write(Sampling(greedy=True))))


def _text_step(name: str, model: gatewise.LanguageModel, subject: Subject) -> Contestant:
    """All that ``gatewise train text`` does in a step: the check of the loss and the copy of the weights too."""
    T, B, *_ = subject.case.sizes
    task = TextTask(torch.zeros(2 * T * B, dtype=torch.long), torch.zeros(0, dtype=torch.long), B, T)
    learner = TorchLearner(model, task, torch.optim.SGD(model.parameters(), RATE), clip=1.0)
    batch = subject.x[:-1], subject.x[1:]
    learner.start_epoch()

    def work() -> float:
        return learner.step(batch, RATE)

    return Contestant(name, work, lambda: torch.tensor([work(), work()]))
