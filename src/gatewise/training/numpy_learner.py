"""The learner of ``--engine numpy``: the textbook's GRU, every gradient derived by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from gatewise import scratch
from gatewise.layers import LanguageModel
from gatewise.tasks import TextTask
from gatewise.tasks.text import Batch
from gatewise.training.learner import CARRIED, Diverged, under


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

    def step(self, batch: Batch, lr: float, share: float = 0.0) -> float:
        del share
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
        self._put({name: tensor.numpy() for name, tensor in under("model.", saved).items()})
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
