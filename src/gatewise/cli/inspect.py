"""Commands that look at cells and at this machine: cells, explain, doctor."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Annotated

import torch
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from gatewise.cells import CELLS
from gatewise.cli.app import CellFile, app, load_cell_file
from gatewise.engines import which
from gatewise.graph import explain
from gatewise.layers import Recurrent


@app.command(name="cells")
def cells_command(*, cell_file: CellFile = None) -> None:
    """List the cells: gates, states, size, engine, source."""
    load_cell_file(cell_file)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("cell", "gates", "states", "parameters", "engine", "source"):
        table.add_column(heading, justify="right" if heading == "parameters" else "left")
    for name, cell in CELLS.items():
        layer = Recurrent(name, 256, 256)
        count = sum(p.numel() for p in layer.parameters())
        table.add_row(name, " ".join(cell.gates), " ".join(cell.states), f"{count:,}", which(layer).engine, cell.paper)
    console = Console()
    console.print(table if console.is_terminal else _plain(table, console))
    console.print("parameters of one layer with 256 inputs and 256 units; `gatewise explain CELL` prints its equations")


def _plain(table: Table, console: Console) -> Table:
    console.width = max(console.width, 160)
    return table


@app.command(name="explain")
def explain_command(
    cell: Annotated[str, Parameter(help="A cell's name.")],
    /,
    *,
    latex: Annotated[bool, Parameter(negative=(), help="Print LaTeX.")] = False,
    cell_file: CellFile = None,
) -> None:
    """Print a cell's equations: forward, backward, and every weight's gradient."""
    load_cell_file(cell_file)
    explain(cell, latex)


@app.command(name="doctor")
def doctor_command() -> None:
    """Show what this machine has, and what is switched off and why."""
    rows = [
        ("gatewise", version("gatewise")),
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("PyTorch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("CPU", torch.backends.cpu.get_cpu_capability()),
        ("oneDNN", "yes" if torch.backends.mkldnn.is_available() else "no"),
        ("GPU", torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none that PyTorch can use"),
        ("engine torch", "ready: rnn, rnn-relu, gru, lstm"),
        ("engine eager", "ready: every cell"),
        ("extra bpe", _extra("tokenizers")),
        ("extra tensorboard", _extra("tensorboard")),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def _extra(module: str) -> str:
    if find_spec(module) is None:
        return f"not installed: pip install {module}"
    try:
        return f"ready: {module} {version(module)}"
    except PackageNotFoundError:
        return "ready"
