"""From a run's file of weights back to its model, everything checked before a weight is allocated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from gatewise.cells import Cell
from gatewise.errors import UnsupportedOperationError, UserError
from gatewise.graph import trace
from gatewise.training.checkpoint import read_about, read_tensors
from gatewise.training.run import Run
from gatewise.training.settings import check_cell

Model = TypeVar("Model", bound=nn.Module)


def load_model(run: Run, build: Callable[[dict[str, Any]], Model]) -> Model:
    """The model whose weights a run holds, in ``eval()``.

    Args:
        run: the run.
        build: makes the model from what the file says of it; called first on the meta device, without memory. Whatever
            it raises of what a configuration can cause is answered as a damaged file.

    Raises:
        UserError: weights that are damaged, or that disagree with their configuration or with the cell's equations.
    """
    about, found = read_about(run.weights_file)
    check_cell(run.weights_file, about.get("model"))
    try:
        if about["model"]["num_layers"] > len(found):  # without building them
            raise ValueError("more layers than tensors")
        with torch.device("meta"):
            shapes = {name: tuple(tensor.shape) for name, tensor in build(about).state_dict().items()}
    except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError, AttributeError) as error:
        raise UserError(
            f"{run.weights_file}: its configuration does not describe a model ({error}); use another copy"
        ) from None
    tensors = read_tensors(run.weights_file, shapes)
    model = build(about)
    check_equations(run.weights_file, model)
    model.load_state_dict(tensors)
    return model.eval()


def cell_of(model: nn.Module) -> Cell:
    """The cell of a model's recurrent layers."""
    cells = (getattr(module, "cell", None) for module in model.modules())
    return next(cell for cell in cells if isinstance(cell, Cell))


def fingerprint(model: nn.Module) -> str:
    """A mark of the cell's equations: another cell of the same name would make nonsense of the weights.

    Empty for a cell that cannot be traced.
    """
    try:
        graph = trace(cell_of(model))
    except UnsupportedOperationError:
        return ""
    return hashlib.sha256(repr((graph.nodes, graph.results, graph.connections)).encode()).hexdigest()[:16]


def check_equations(path: Path, model: nn.Module) -> None:
    """Raise if a model's cell is not the one whose weights are in a file."""
    about, cell = read_about(path)[0], cell_of(model)
    recorded, named = about.get("equations"), about.get("model")
    same_name = isinstance(named, dict) and named.get("cell") == cell.written.name
    if same_name and recorded and fingerprint(model) not in ("", recorded):
        raise UserError(
            f"{path}: was trained with other equations of '{cell.name}' than those here; give the file with the cell "
            "it was trained with: --cell-file FILE"
        )
