"""The command that sets cells beside each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from gatewise.cli.app import CellFile, app, load_cell_file
from gatewise.errors import UserError
from gatewise.show.comparison import draw_comparison
from gatewise.training import Source, Watch, perplexity, reporter, text_settings
from gatewise.training.compare import Result, compare_text, variants

compare_app = App(name="compare", help="Set cells beside each other; each task is a command of its own.")
app.command(compare_app)


@compare_app.command(name="text")
def compare_text_command(
    file: Annotated[Path | None, Parameter(help="A text file; without one, Python's own language reference.")] = None,
    /,
    *,
    cells: Annotated[
        str,
        Parameter(
            help="Cells, each with settings of its own if wanted: `gru,lstm,gru:zoneout=0.1:layers=2`; "
            "`lstm+gru` is a stack with one a layer."
        ),
    ] = "rnn,gru,lstm",
    minutes: Annotated[float | None, Parameter(help="Wall-clock budget of each run (default 1).")] = None,
    epochs: Annotated[
        int | None, Parameter(help="Passes over the text; with `--minutes` too, whichever ends first.")
    ] = None,
    match: Annotated[
        str,
        Parameter(
            help="What else is equal: `params`, `time` (of a training step, measured), both by the hidden size of all "
            "but the first cell; or `hidden`."
        ),
    ] = "params",
    seeds: Annotated[int, Parameter(help="Runs of each cell, whose spread is shown.")] = 3,
    hidden: Annotated[str | None, Parameter(help="Units of a layer (of the first cell, default 256).")] = None,
    layers: Annotated[int | None, Parameter(help="Recurrent layers (default 1).")] = None,
    lr: Annotated[float | None, Parameter(help="Peak learning rate (default 0.01).")] = None,
    batch: Annotated[int | None, Parameter(help="Rows of a batch (default 64).")] = None,
    steps: Annotated[int | None, Parameter(help="Tokens of a window (default 32).")] = None,
    tokens: Annotated[str | None, Parameter(help="`char` (default), `word`, `byte` or `bpe`.")] = None,
    threads: Annotated[int | None, Parameter(help="Threads of PyTorch (default: its own choice).")] = None,
    encoding: Annotated[str, Parameter(help="The file's encoding.")] = "utf-8",
    cell_file: CellFile = None,
    out: Annotated[Path | None, Parameter(help="The folder of the comparison (default: runs/NAME-compare).")] = None,
    json_: Annotated[
        bool, Parameter(name="--json", negative=(), help="Print the results as the last line, as JSON.")
    ] = False,
    quiet: Annotated[bool, Parameter(negative=(), help="Plain lines instead of a bar.")] = False,
) -> None:
    """Train each cell with the same budget and seeds; parameters, speed and held-out loss, as a table and a picture.

    Interrupted, it goes on with the runs that are missing when it is called again with the same `--out`.
    """
    load_cell_file(cell_file)
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: want 1 at least")
    minutes = 1.0 if minutes is None and epochs is None else minutes
    settings = text_settings(
        minutes=minutes, epochs=epochs, hidden=hidden, layers=layers, lr=lr, batch=batch, steps=steps, tokens=tokens,
        threads=threads,
    )  # fmt: skip
    source = Source(file, encoding)
    names = [cell for cell in cells.split(",") if cell.strip()]
    folder = out or Path("runs") / f"{source.name}-compare"
    title = f"{source.name}: {_budget(settings.minutes, settings.epochs)} a run, {seeds} seeds"
    with reporter(quiet) as report:
        contestants = variants(names, source, settings, match, folder, report.say)
        results = compare_text(
            source, contestants, seeds, folder, Watch(report), lambda found: _draw(found, folder, title)
        )
    _print(results)
    print(f"folder     {folder} (comparison.json, comparison.svg, comparison.png)")
    if json_:
        print(json.dumps([result.to_dict() for result in results]))


def _draw(results: Sequence[Result], folder: Path, title: str) -> None:
    draw_comparison(results, folder, title)


def _budget(minutes: float, epochs: int) -> str:
    return " or ".join([f"{minutes:g} min"] * (minutes > 0) + [f"{epochs} epochs"] * (epochs > 0))


def _print(results: Sequence[Result]) -> None:
    rows = [("cell", "hidden", "parameters", "tokens/s", "held-out loss", "perplexity")]
    for r in results:
        spread = f" ± {r.spread:.4f}" if len(r.losses) > 1 else ""
        rate = sum(r.tokens_per_second) / len(r.tokens_per_second)
        hidden = f"{r.hidden:,}" if isinstance(r.hidden, int) else r.hidden
        rows.append(
            (r.label, hidden, f"{r.parameters:,}", f"{rate:,.0f}", f"{r.loss:.4f}{spread}", f"{perplexity(r.loss):.3f}")
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        print("  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]))
