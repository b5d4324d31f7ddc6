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
from gatewise.layers import CellLayer
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


def cells_of(model: nn.Module) -> list[Cell]:
    """The cells of a model's recurrent layers, one a layer."""
    return [shape.cell for module in model.modules() if isinstance(module, CellLayer) for shape in module.shapes]


def fingerprint(model: nn.Module) -> str:
    """A mark of the cells' equations: another cell of the same name would make nonsense of the weights.

    Empty for a cell that cannot be traced.
    """
    try:
        graphs = [trace(cell) for cell in {id(cell): cell for cell in cells_of(model)}.values()]
    except UnsupportedOperationError:
        return ""
    parts = [(graph.nodes, graph.results, graph.connections) for graph in graphs]
    return hashlib.sha256(repr(parts[0] if len(parts) == 1 else parts).encode()).hexdigest()[:16]


def check_equations(path: Path, model: nn.Module) -> None:
    """Raise if a model's cells are not those whose weights are in a file."""
    about, names = read_about(path)[0], [cell.written.name for cell in cells_of(model)]
    recorded, named = about.get("equations"), about.get("model")
    listed = named.get("cell") if isinstance(named, dict) else None
    cells = listed if isinstance(listed, list) else [listed]
    same_names = names == cells * (len(names) // max(1, len(cells)))  # an autoencoder has its stack twice
    if same_names and recorded and fingerprint(model) not in ("", recorded):
        raise UserError(
            f"{path}: was trained with other equations of '{', '.join(dict.fromkeys(names))}' than those here; "
            "import the module with the cell it was trained with, or give its file: --cell-file FILE"
        )
