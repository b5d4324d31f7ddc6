"""What runs a cell over time. ``ENGINES`` is the ordered table: the first engine that does not refuse runs.

Unless one after it says that for this input it is the better one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from gatewise.engines.eager import EagerEngine
from gatewise.engines.native import NativeEngine
from gatewise.engines.native.build import tell_failures
from gatewise.engines.request import Engine, Input, Overtaking, Request, States, Tokens, Weights
from gatewise.engines.scan import ScanEngine
from gatewise.engines.stack import Stack, description, overtaking, refusal, run_layers
from gatewise.engines.torch import TorchEngine
from gatewise.errors import UserError, nearest

ENGINES: list[Engine] = [NativeEngine(), TorchEngine(), ScanEngine(), EagerEngine()]
"""In the order of preference. A new engine is one module and one entry here."""

__all__ = [
    "ENGINES", "Choice", "Engine", "Input", "Overtaking", "Request", "Stack", "States", "Tokens", "Weights",
    "check_engine", "check_precision", "choose", "reason", "run_layers", "which",
]  # fmt: skip


class Choice(NamedTuple):
    """Which engine runs a layer, and why."""

    engine: str
    reason: str


def check_engine(name: str, *others: str) -> None:
    """Raise unless ``name`` is "auto" or an engine's name; ``others`` are known as well where this is asked."""
    known = ["auto", *(e.name for e in ENGINES), *others]
    if name not in known:
        raise UserError(f"no engine is called '{name}': {nearest(name, known)}")


def check_precision(precision: str | None) -> None:
    """Raise unless ``precision`` is None or "bf16"."""
    if precision not in (None, "bf16"):
        raise UserError(f"precision={precision!r}: want None (the weights' own) or 'bf16'")


def choose(request: Request | Stack, name: str = "auto") -> Engine:
    """The engine for a request, or for all layers of a stack.

    Raises:
        UserError: the engine asked for does not exist, or cannot run this request.
    """
    refusals: list[str] = []
    for engine in ENGINES:
        if name in ("auto", engine.name):
            refused = engine.refuses(request) if isinstance(request, Request) else refusal(engine, request)
            if refused is None:
                if refusals:
                    tell_failures(engine.name)
                return engine if name != "auto" else _overtaking(engine, request)[0]
            refusals.append(refused)
    check_engine(name)
    raise UserError(f"engine '{name}' cannot run this: {'; '.join(refusals)}; use engine='auto'")


def _overtaking(engine: Engine, request: Request | Stack) -> tuple[Engine, str | None]:
    """The engine that overtakes this one, and why; itself where none does."""
    for other in ENGINES[ENGINES.index(engine) + 1 :]:
        overtakes = getattr(other, "overtakes", None)
        why = None if overtakes is None else overtaking(overtakes, engine.name, request)
        if why is not None and refusal(other, request) is None:
            return other, why
    return engine, None


def reason(engine: Engine, request: Request | Stack, name: str = "auto") -> str:
    """Why this engine was chosen: what it does, and what kept those before it from the request."""
    if name != "auto":
        return "asked for"
    said = [description(engine, request)]
    for other in ENGINES[: ENGINES.index(engine)]:
        refused = refusal(other, request)
        overtaken = _overtaking(other, request) if refused is None else None
        said += [refused] if refused else [overtaken[1]] if overtaken and overtaken[1] else []
    return "; ".join(dict.fromkeys(said))  # what several say is said once


def which(layer: Any, x: Tensor | None = None) -> Choice:
    """The engine that runs ``layer`` (on the input ``x``), and the reason.

    Args:
        layer: a :class:`gatewise.Recurrent`, or a model with one.
        x: an input; without one the choice is that for inputs of no particular length.

    Example:
        >>> import gatewise
        >>> gatewise.which(gatewise.GRU(3, 5, engine="torch"))
        Choice(engine='torch', reason='asked for')
        >>> gatewise.which(gatewise.Recurrent("rnn", 3, 5, proj_size=2)).engine
        'eager'
    """
    layer = getattr(layer, "model", layer)  # of a trained run
    modules = layer.modules() if hasattr(layer, "modules") else ()
    found = next((module for module in modules if hasattr(module, "request")), None)
    if found is None:
        raise UserError(f"which() takes a gatewise layer, or a model with one, not {layer!r}")
    request = found.request(x)
    engine = choose(request, found.engine)
    return Choice(engine.name, reason(engine, request, found.engine))
