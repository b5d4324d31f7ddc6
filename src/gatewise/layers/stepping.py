"""How a session's steps are run: by a compiled stack where the engine has one, else by the module's own call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gatewise.engines import Stack, States, choose, reason
from gatewise.engines.streaming import Head, Lexicon, Stream, Streams
from gatewise.layers.chain import Chain
from gatewise.layers.language_model import LanguageModel
from gatewise.layers.recurrent import Recurrent

Model = Recurrent | LanguageModel


class Stepper(Protocol):
    """Steps of ``batch`` rows from flat states, as :class:`gatewise.layers.states.StateLayout` has them.

    At first, and after ``write(None)``, they are what the layer starts from: zero, or what was learned.
    """

    batch: int

    def step(self, x: Tensor) -> Tensor:
        """From (B, I), or tokens (B,), to (B, H) or (B, V)."""
        ...

    def read(self) -> States: ...

    def write(self, states: States | None) -> None: ...


@dataclass(frozen=True)
class Route:
    """Which engine steps, and why; ``compiled`` opens its stream for a batch, None where the module's call steps."""

    engine: str
    reason: str
    compiled: Callable[[int], Stream] | None


def layer_of(model: Model) -> Recurrent:
    return model.recurrent if isinstance(model, LanguageModel) else model


def route(model: Model) -> Route:
    """The way that a model's steps take."""
    request = layer_of(model).request(steps=1)
    engine = choose(request, layer_of(model).engine)
    why = reason(engine, request, layer_of(model).engine)
    if not isinstance(engine, Streams):
        return Route(engine.name, why, None)
    detour = _detour(model)
    if detour is not None:
        return Route(engine.name, f"{why}; by the module's own call, for {detour}", None)
    lexicon, head = None, None
    if isinstance(model, LanguageModel):
        rows = None if model.embedding is None else model.embedding.weight
        lexicon, head = Lexicon(model.vocabulary_size, rows), Head(model.head.weight, model.head.bias)
    if isinstance(request, Stack):
        layout = layer_of(model).layout
        return Route(engine.name, why, lambda batch: Chain(engine, request, layout, batch, lexicon, head))
    return Route(engine.name, why, lambda batch: engine.open(request, batch, lexicon, head))


def start_of(model: Model, batch: int) -> States | None:
    """The states of the first step; None is zero."""
    layer = layer_of(model)
    if not layer.learned_state:
        return None
    with torch.no_grad():
        return layer.initial_states(batch, next(layer.parameters()))


def _detour(model: Model) -> str | None:
    """Why the equations and the weights alone are not all that the model's call does; None if they are."""
    base = LanguageModel if isinstance(model, LanguageModel) else Recurrent
    if type(model).forward is not base.forward or type(layer_of(model)).forward is not Recurrent.forward:
        return "its forward is its own"
    request = layer_of(model).request()
    if isinstance(request, Stack) and request.residual:
        return "its layers add their input to their output"
    if any(one.some_weight is None for one in (request.layers if isinstance(request, Stack) else (request,))):
        return "it has no weights"
    parts = [(layer_of(model), type(layer_of(model)))]
    if isinstance(model, LanguageModel):
        parts += [(model, type(model)), (model.head, nn.Linear), (model.dropout, nn.Dropout)]
    for module, kind in parts:
        if type(module) is not kind:
            return f"its {kind.__name__} is a {type(module).__name__}"
        if module._forward_hooks or module._forward_pre_hooks:
            return "it has hooks"
        if parametrize.is_parametrized(module):
            return "its weights are parametrized"
    return None


class CompiledStepper:
    """Steps of a compiled stack."""

    def __init__(self, stream: Stream, batch: int, like: Tensor, start: States | None) -> None:
        self.batch, self.stream, self._like, self._start = batch, stream, like, start
        self.read = stream.read
        self.write(None)

    def write(self, states: States | None) -> None:
        self.stream.write(self._start if states is None else states)

    def step(self, x: Tensor) -> Tensor:
        output = torch.empty_like(self._like)
        x = x.to(torch.int64 if x.dtype == torch.int64 else output.dtype).contiguous()  # autocast lets others in
        outcome = self.stream.step(x.data_ptr(), output.data_ptr())
        if outcome:
            self.stream.fail(outcome)
        return output


class ModuleStepper:
    """Steps of the module's own call, on sequences of length one."""

    def __init__(self, model: Model, batch: int) -> None:
        self.batch, self._model = batch, model
        self._time = 1 if isinstance(model, Recurrent) and model.batch_first else 0
        self.write(None)

    def step(self, x: Tensor) -> Tensor:
        like = next(self._model.parameters(), x)
        states = tuple(part.to(like) for part in self._states)  # the weights may have another type by now
        layout = layer_of(self._model).layout
        with torch.no_grad(), evaluating(self._model):
            output, state = self._model(x.unsqueeze(self._time), layout.returned(states))
        self._states = layout.given(state)
        return output.squeeze(self._time)

    def read(self) -> States:
        return self._states

    def write(self, states: States | None) -> None:
        if states is None:
            layer = layer_of(self._model)
            with torch.no_grad():
                states = layer.initial_states(self.batch, next(layer.parameters(), torch.empty(0)))
        self._states = tuple(part.clone() for part in states)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in ``eval()``, and then each as it was."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
