"""PyTorch's AdamW, by a shorter way: in a small model its bookkeeping takes longer than its arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class AdamW(torch.optim.AdamW):
    """``torch.optim.AdamW(..., fused=True)`` of Loshchilov and Hutter 2019 (arXiv:1711.05101), to the bit.

    PyTorch sorts parameters, states and steps anew at every step; here they are sorted once, for the same kernel. Hooks
    on the optimiser are not called.

    Args:
        groups, lr, betas, weight_decay: as ``torch.optim.AdamW`` has them.

    Example:
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> weight.grad = torch.tensor([1.0, -1.0])
        >>> AdamW([weight], lr=0.5, weight_decay=0.0).step()
        >>> weight.data.round(decimals=4).tolist()
        [0.5, 1.5]
    """

    def __init__(self, groups: Any, lr: float, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.01):
        self._sorted: list[tuple[dict[str, Any], tuple[list[Tensor], ...]]] = []
        super().__init__(groups, lr, betas=betas, weight_decay=weight_decay, fused=True)

    def load_state_dict(self, state_dict: Any) -> None:
        self._sorted = []
        super().load_state_dict(state_dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._sorted = []

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        self._sorted = []

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        gradients = [[p.grad for p in group["params"]] for group in self.param_groups]
        complete = all(gradient is not None for group in gradients for gradient in group)
        if closure is not None or not complete or not self._sort():
            return super().step(closure)  # type: ignore[arg-type]
        for (group, (parameters, means, squares, steps)), found in zip(self._sorted, gradients, strict=True):
            if not parameters:
                continue
            torch._foreach_add_(steps, 1)  # type: ignore[attr-defined]
            torch._fused_adamw_(  # type: ignore[attr-defined]
                parameters, found, means, squares, [], steps, lr=group["lr"], beta1=group["betas"][0],  # type: ignore[arg-type]
                beta2=group["betas"][1], weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False,
                maximize=False,
            )  # fmt: skip
        return None

    # PyTorch would wrap it in calls of hooks and of its profiler.
    step.hooked = True  # type: ignore[attr-defined]

    def _sort(self) -> bool:
        """Whether every parameter has the state that the first step makes; sorts them."""
        if self._sorted and self.state:
            return True
        self._sorted = []
        if any(p not in self.state for group in self.param_groups for p in group["params"]):
            return False
        for group in self.param_groups:
            states = [self.state[p] for p in group["params"]]
            slots = ([state[slot] for state in states] for slot in ("exp_avg", "exp_avg_sq", "step"))
            self._sorted.append((group, (group["params"], *slots)))
        return True
