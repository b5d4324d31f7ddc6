"""What takes a training step: a model with its optimiser and the state carried from batch to batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gatewise import scratch
from gatewise.layers import LanguageModel
from gatewise.tasks.text import Batch, TextTask

CARRIED = "carried."


class Diverged(Exception):  # noqa: N818  (an outcome of a step, not a mistake)
    """The loss or the gradient is not finite; the weights are the last with which the loss was."""

    def __init__(self, loss: float) -> None:
        self.loss = loss


class Learner(Protocol):
    """Takes training steps; can be saved and restored to the bit."""

    task: TextTask

    def start_epoch(self) -> None:
        """Forget the carried state."""
        ...

    def step(self, batch: Batch, lr: float) -> float:
        """Train on a batch; its loss. Raises :class:`Diverged` and leaves the last good weights."""
        ...

    def prove(self, batch: Batch) -> None:
        """Raise :class:`Diverged` if the last update spoiled the weights, and put back those from before it."""
        ...

    def model(self) -> LanguageModel:
        """The model with the present weights, for evaluation and generation."""
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
        model: the language model.
        task: gives the loss.
        optimizer: an optimiser over the model's parameters.
        clip: largest global norm of the gradient; 0 does not clip.
    """

    def __init__(self, model: LanguageModel, task: TextTask, optimizer: torch.optim.Optimizer, clip: float) -> None:
        self._model, self.task, self._optimizer = model, task, optimizer
        self._clip = clip or math.inf
        self._state: Any = None
        self._good = self._weights()  # from before the last update
        model.train()

    def start_epoch(self) -> None:
        self._state = None

    def step(self, batch: Batch, lr: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        loss, state = self.task.loss(self._model, batch, self._state)
        self._require_finite(loss.item())
        self._optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
        if not math.isfinite(norm.item()):
            raise Diverged(loss.item())
        self._good = self._weights()
        self._optimizer.step()
        self._state = state
        return loss.item()

    def _weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self._model.parameters()]

    def _require_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        with torch.no_grad():  # it was the last update that spoiled them
            for parameter, good in zip(self._model.parameters(), self._good, strict=True):
                parameter.copy_(good)
        raise Diverged(loss)

    def prove(self, batch: Batch) -> None:
        self._model.eval()  # no dropout: proving must not use up random numbers
        with torch.inference_mode():
            loss, _ = self.task.loss(self._model, batch, self._state)
        self._model.train()
        self._require_finite(loss.item())

    def model(self) -> LanguageModel:
        return self._model

    def save(self) -> dict[str, Tensor]:
        saved = {f"model.{name}": tensor for name, tensor in self._model.state_dict().items()}
        for index, slots in self._optimizer.state_dict()["state"].items():
            saved |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if value is not None}
        saved |= {f"{CARRIED}{i}": state for i, state in enumerate(self._model.recurrent.layout.flat(self._state))}
        return saved | {"rng": torch.get_rng_state()}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        self._model.load_state_dict(_under("model.", saved))
        self._good = self._weights()
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", saved).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = value.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": slots, "param_groups": groups})
        carried = sorted(_under(CARRIED, saved).items(), key=lambda item: int(item[0]))
        states = tuple(state.clone() for _, state in carried)
        self._state = self._model.recurrent.layout.returned(states) if states else None
        torch.set_rng_state(saved["rng"])


def _under(prefix: str, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}


class NumpyLearner:
    """The NumPy GRU of :mod:`gatewise.scratch`: its own forward and backward pass, clipping and SGD.

    Args:
        gru: the NumPy model, one-hot tokens in, scores out.
        task: gives the batches.
        clip: largest global norm of the gradient; 0 does not clip.
    """

    def __init__(self, gru: scratch.GRU, task: TextTask, clip: float) -> None:
        self._gru, self.task, self._clip = gru, task, clip or math.inf
        self._state: np.ndarray | None = None
        self._good: scratch.Named = {}  # the weights before the last update

    def start_epoch(self) -> None:
        self._state = None

    def step(self, batch: Batch, lr: float) -> float:
        inputs, targets = (tokens.numpy() for tokens in batch)
        state = self._state if self.task.carries_state else None
        before = {name: array.copy() for name, array in self._gru.parameters.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # the loss tells
            loss, norm, following = scratch.train_step(self._gru, inputs, targets, state, lr, self._clip)
        if not math.isfinite(loss):
            self._put(self._good)  # it was the last update that spoiled them
        if not math.isfinite(loss + norm):
            raise Diverged(loss)
        self._good, self._state = before, following
        return loss

    def prove(self, batch: Batch) -> None:
        with torch.inference_mode():
            loss, _ = self.task.loss(self.model(), batch, None)
        if not math.isfinite(loss.item()):
            self._put(self._good)
            raise Diverged(loss.item())

    def model(self) -> LanguageModel:
        return language_model_of(self._gru)

    def save(self) -> dict[str, Tensor]:
        saved = {f"model.{name}": torch.from_numpy(array.copy()) for name, array in self._gru.parameters.items()}
        return saved if self._state is None else saved | {f"{CARRIED}0": torch.from_numpy(self._state.copy())}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        self._put({name: tensor.numpy() for name, tensor in _under("model.", saved).items()})
        carried = saved.get(f"{CARRIED}0")
        self._state = None if carried is None else carried.numpy().copy()

    def _put(self, weights: scratch.Named) -> None:
        for name, array in weights.items():
            self._gru.parameters[name][...] = array


def language_model_of(gru: scratch.GRU) -> LanguageModel:
    """The same model in PyTorch: ``LanguageModel(V, "gru-before", H)`` with the NumPy GRU's weights.

    Example:
        >>> import numpy as np, torch
        >>> gru = scratch.GRU(4, 5, 4, dtype=np.float32)
        >>> logits, _ = language_model_of(gru)(torch.tensor([[1], [2]]))
        >>> X = scratch.one_hot(np.array([[1], [2]]), 4, np.float32)
        >>> np.allclose(gru.forward(X)[0], logits.detach().numpy(), atol=1e-6)
        True
    """
    p = {name: torch.from_numpy(array.copy()) for name, array in gru.parameters.items()}
    hidden, size = p["W_hq"].shape
    model = LanguageModel(size, "gru-before", hidden)
    biases = torch.cat([p["b_r"], p["b_z"], p["b_h"]])
    model.load_state_dict(
        {
            "recurrent.weight_ih_l0": torch.cat([p["W_xr"], p["W_xz"], p["W_xh"]], dim=1).T,
            "recurrent.weight_hh_l0": torch.cat([p["W_hr"], p["W_hz"], p["W_hh"]], dim=1).T,
            "recurrent.bias_ih_l0": biases,
            "recurrent.bias_hh_l0": torch.zeros_like(biases),
            "head.weight": p["W_hq"].T,
            "head.bias": p["b_q"],
        }
    )
    return model
