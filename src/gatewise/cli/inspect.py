"""Commands that look at cells: cells, explain."""

from __future__ import annotations

import time
from typing import Annotated

import torch
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gatewise.cells import CELLS, resolve
from gatewise.cli.app import CellFile, app, load_cell_file
from gatewise.engines import which
from gatewise.engines.native.build import source
from gatewise.engines.native.cache import cache_folder
from gatewise.engines.native.prepare import is_built, prepare, why_off
from gatewise.errors import UnsupportedOperationError, UserError
from gatewise.graph import explain, trace, updates
from gatewise.layers import Recurrent
from gatewise.layers.options import TRANSFORMATIONS


@app.command(name="cells")
def cells_command(
    *,
    build: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Compile every cell's kernel now, in float32.")
    ] = False,
    double: Annotated[bool, Parameter(negative=(), show_default=False, help="With `--build`: in float64 too.")] = False,
    cell_file: CellFile = None,
) -> None:
    """List the cells: gates, states, size, engine, source, equations; and the transforms of any cell.

    With `--build`, compile the cells' kernels.
    """
    if double and not build:
        raise UserError("--double goes with --build: gatewise cells --build --double")
    load_cell_file(cell_file)
    if build:
        _build((torch.float32, torch.float64) if double else (torch.float32,))
    else:
        _list()


def _list() -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for heading in ("cell", "gates", "states", "parameters", "engine"):
        table.add_column(heading, justify="right" if heading == "parameters" else "left", no_wrap=True)
    table.add_column("source", no_wrap=True, overflow="ellipsis", ratio=1)
    off, engines = why_off(), []
    for name, cell in CELLS.items():
        layer = Recurrent(name, 256, 256)
        count = sum(p.numel() for p in layer.parameters())
        engines.append(_engine(layer, off))
        table.add_row(name, " ".join(cell.gates), " ".join(cell.states), f"{count:,}", engines[-1], cell.paper)
    console = Console()
    if not console.is_terminal:  # whole lines, without blanks at their end
        console.width, table.expand = 1000, False
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line if console.is_terminal else line.rstrip())
    if "native*" in engines:
        print("* compiled when first used, or now by `gatewise cells --build`")
    print("parameters: of one layer with 256 inputs and 256 units")
    print("equations but those of the gates; `gatewise explain CELL` prints them all")
    for name in CELLS:
        for place, line in enumerate(_updates(name)):
            print(f"  {'' if place else name:16} {line}")
    print("transforms of any cell, options of every layer: m is random zeros and ones")
    for option, what in TRANSFORMATIONS.items():
        print(f"  {option:18}{what.equation}\n{'':20}{what.paper}")


def _updates(name: str) -> list[str]:
    try:
        return updates(trace(name))
    except UnsupportedOperationError:
        return ["(its equations cannot be traced)"]


def _engine(layer: Recurrent, off: str | None) -> str:
    """The engine that runs a layer by default, found without compiling anything."""
    if off is None:
        try:
            return "native" if is_built(layer.cell, torch.get_default_dtype()) else "native*"
        except UserError:  # the graph has no node for one of the cell's operations
            pass
    return which(layer).engine


def _build(dtypes: tuple[torch.dtype, ...]) -> None:
    """Compile what is not there: a bar on a terminal, lines elsewhere, a line for each failure anywhere."""
    if reason := why_off():
        raise UserError(reason)
    kernels = [(name, dtype) for name in CELLS for dtype in dtypes]
    compiled, there, failed, start = 0, 0, 0, time.perf_counter()
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=len(kernels))
        for name, dtype in kernels:
            kernel = f"{name}, {str(dtype).removeprefix('torch.')}"
            bar.update(task, description=f"compiling {kernel}")
            try:
                if not prepare(resolve(name), dtype):
                    there += 1
                else:
                    compiled += 1
                    if bar.disable:
                        console.print(f"{kernel}: compiled")
            except UserError as error:
                failed += 1
                console.print(f"{kernel}: {error}")
            bar.advance(task)
    seconds = time.perf_counter() - start
    print(f"{compiled} compiled in {seconds:.0f} s, {there} there already, {failed} failed; in {cache_folder()}")
    if failed:
        raise UserError(f"{failed} of {len(kernels)} kernels could not be compiled; the lines above say why")


@app.command(name="explain")
def explain_command(
    cell: Annotated[str, Parameter(help="A cell's name.")],
    /,
    *,
    latex: Annotated[bool, Parameter(negative=(), show_default=False, help="Print LaTeX.")] = False,
    source_: Annotated[
        bool,
        Parameter(
            name="--source", negative=(), show_default=False, help="Print the C++ that the native engine compiles."
        ),
    ] = False,
    cell_file: CellFile = None,
) -> None:
    """Print a cell's equations: forward, backward, and every weight's gradient; or the C++ made from them."""
    if latex and source_:
        raise UserError("--latex prints formulas, --source C++: give one of the two")
    load_cell_file(cell_file)
    if source_:
        print(source(resolve(cell)), end="")
    else:
        explain(cell, latex)
