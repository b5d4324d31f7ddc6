"""What takes a training step: a model with its optimiser and the state carried from batch to batch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gatewise.layers.shapes import PARTS
from gatewise.tasks import Task
from gatewise.training.adamw import AdamW
from gatewise.training.settings import TrainingSettings

CARRIED = "carried."


class Diverged(Exception):  # noqa: N818  (an outcome of a step, not a mistake)
    """The loss or the gradient is not finite; the weights are the last with which the loss was."""

    def __init__(self, loss: float) -> None:
        self.loss = loss


class Learner(Protocol):
    """Takes training steps; can be saved and restored to the bit."""

    @property
    def task(self) -> Task:
        """What gives batches and their loss."""
        ...

    def start_epoch(self) -> None:
        """Forget the carried state."""
        ...

    def step(self, batch: Any, lr: float, share: float = 0.0) -> float:
        """Train on a batch, with so large a share of the budget spent; its loss.

        Raises :class:`Diverged` and leaves the last good weights.
        """
        ...

    def prove(self, batch: Any) -> None:
        """Raise :class:`Diverged` if the last update spoiled the weights, and put back those from before it."""
        ...

    def model(self) -> Any:
        """The model with the present weights, for evaluation and use."""
        ...

    def save(self) -> dict[str, Tensor]:
        """Everything that later steps depend on."""
        ...

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Go on exactly as the learner that was saved would have."""
        ...


class TorchLearner:
    """Autograd through the layer's engine, global-norm clipping, an optimiser of PyTorch.

    Args:
        model: what is trained.
        task: gives the loss.
        optimizer: an optimiser over the model's parameters.
        clip: largest global norm of the gradient; 0 does not clip.
    """

    def __init__(self, model: nn.Module, task: Task, optimizer: torch.optim.Optimizer, clip: float) -> None:
        self._model, self.task, self._optimizer = model, task, optimizer
        self._clip = clip or math.inf
        self._state: Any = None
        self._parameters: list[Tensor] = list(model.parameters())
        self._good = self._weights()  # from before the last update
        model.train()

    def start_epoch(self) -> None:
        self._state = None

    def step(self, batch: Any, lr: float, share: float = 0.0) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        loss, state = self.task.loss(self._model, batch, self._state, share)
        self._require_finite(loss.item())
        for parameter in self._parameters:
            parameter.grad = None
        loss.backward()
        if not math.isfinite(self._clipped()):
            raise Diverged(loss.item())
        with torch.no_grad():
            torch._foreach_copy_(self._good, self._parameters)  # pyright: ignore[reportPrivateImportUsage]
        self._optimizer.step()
        self._state = state
        return loss.item()

    def _clipped(self) -> float:
        """Cut the gradient to the largest norm allowed; the norm that it had."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))  # type: ignore[arg-type]
        size = norm.item()
        if size + 1e-6 > self._clip:  # PyTorch's margin; below it nothing is scaled
            nn.utils.clip_grads_with_norm_(self._parameters, self._clip, norm)
        return size

    def _weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self._parameters]

    def _require_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        with torch.no_grad():  # it was the last update that spoiled them
            for parameter, good in zip(self._parameters, self._good, strict=True):
                parameter.copy_(good)
        raise Diverged(loss)

    def prove(self, batch: Any) -> None:
        self._model.eval()
        with torch.inference_mode(), torch.random.fork_rng(devices=()):  # proving must not use up random numbers
            loss, _ = self.task.loss(self._model, batch, self._state, 1.0)
        self._model.train()
        self._require_finite(loss.item())

    def model(self) -> nn.Module:
        return self._model

    def save(self) -> dict[str, Tensor]:
        saved = {f"model.{name}": tensor for name, tensor in self._model.state_dict().items()}
        for index, slots in self._optimizer.state_dict()["state"].items():
            saved |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if value is not None}
        saved |= dict(_tensors(self._state, CARRIED.rstrip(".")))
        return saved | {"rng": torch.get_rng_state()}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        self._model.load_state_dict(under("model.", saved))
        self._good = self._weights()
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in under("optimizer.", saved).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = value.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": slots, "param_groups": groups})
        carried = {tuple(map(int, path.split("."))): state.clone() for path, state in under(CARRIED, saved).items()}
        states = _nested(carried) if carried else (None,)
        self._state = states[0] if len(states) == 1 else states
        torch.set_rng_state(saved["rng"])


def _tensors(state: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a state: ``name.0`` if it is one, ``name.0``, ``name.1`` of a tuple, ``name.1.0`` of one in it."""
    for i, part in enumerate(() if state is None else state if isinstance(state, tuple) else (state,)):
        yield from [(f"{name}.{i}", part)] if isinstance(part, Tensor) else _tensors(part, f"{name}.{i}")


def _nested(tensors: Mapping[tuple[int, ...], Tensor]) -> Any:
    """The tuple of tensors, or of tuples of them, in which each has this place."""
    if () in tensors:
        return tensors[()]
    parts = sorted({place[0] for place in tensors})
    return tuple(_nested({p[1:]: tensor for p, tensor in tensors.items() if p[0] == i}) for i in parts)


def under(prefix: str, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose name begins so, without that beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a weight is a product's; a layer's diagonals and learned vectors stand in one tensor, a row each.

    >>> rows = torch.zeros(6, 8)
    >>> is_matrix("recurrent.weight_hh_l0", rows), is_matrix("recurrent.vector_l0_reverse", rows)
    (True, False)
    """
    rows_of_vectors = (f"{PARTS['diag']}_l", f"{PARTS['vector']}_l")
    return parameter.dim() > 1 and not name.rpartition(".")[2].startswith(rows_of_vectors)


def torch_learner(model: nn.Module, task: Task, settings: TrainingSettings) -> TorchLearner:
    """With the optimiser that the settings ask for; biases and other vectors do not decay."""
    if settings.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), settings.lr)
    else:
        matrices = [p for name, p in model.named_parameters() if is_matrix(name, p)]
        others = [p for name, p in model.named_parameters() if not is_matrix(name, p)]
        groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
        optimizer = AdamW(groups, settings.lr, betas=(0.9, 0.99), weight_decay=settings.weight_decay)
    return TorchLearner(model, task, optimizer, settings.clip)
