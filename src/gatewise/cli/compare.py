"""The command that sets cells beside each other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from gatewise.cli.app import CellFile, app, load_cell_file
from gatewise.cli.options import with_settings
from gatewise.errors import UserError
from gatewise.show.comparison import draw_comparison
from gatewise.training import Source, TextSettings, Watch, perplexity, reporter, text_settings
from gatewise.training.compare import Result, compare_text, variants
from gatewise.training.run import Run, numbered
from gatewise.training.threads import choose_threads

_COMMON = (
    "minutes", "epochs", "hidden", "layers", "dropout", "lr", "batch", "steps", "tokens", "heldout", "seed", "threads",
)  # fmt: skip

compare_app = App(name="compare", help="Set cells beside each other; each task is a command of its own.")
app.command(compare_app)


@compare_app.command(name="text")
@with_settings(TextSettings, _COMMON, minutes="1", hidden="256; with `--match params` the first cell's alone")
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
    match: Annotated[
        str,
        Parameter(
            help="What else is equal: `params`, `time` (of a training step, measured), both by the hidden size of all "
            "but the first cell; or `hidden`."
        ),
    ] = "params",
    seeds: Annotated[int, Parameter(help="Runs of each cell, whose spread is shown.")] = 3,
    encoding: Annotated[str, Parameter(help="The file's encoding.")] = "utf-8",
    cell_file: CellFile = None,
    out: Annotated[Path | None, Parameter(help="The folder of the comparison (default: runs/NAME-compare-N).")] = None,
    json_: Annotated[
        bool,
        Parameter(name="--json", negative=(), show_default=False, help="Print the results as the last line, as JSON."),
    ] = False,
    quiet: Annotated[bool, Parameter(negative=(), show_default=False, help="Print the result alone.")] = False,
    chosen: dict[str, Any],
) -> None:
    """Train each cell with the same budget and seeds; parameters, speed and held-out loss, as a table and a picture.

    Called again with `--out` naming its folder, it goes on with the runs that are missing; without, it begins anew.
    """
    load_cell_file(cell_file)
    if seeds < 1:
        raise UserError(f"--seeds {seeds}: want 1 at least")
    if not {"minutes", "epochs"} & set(chosen):
        chosen["minutes"] = 1.0
    settings = text_settings(**chosen)
    source = Source(file, encoding)
    names = [cell for cell in cells.split(",") if cell.strip()]
    title = f"{source.name}: {_budget(settings.minutes, settings.epochs)} a run, {seeds} seeds"
    with reporter(quiet) as report:
        # Once, and not for each run: the same for all of them.
        settings = replace(settings, threads=settings.threads or choose_threads(report.say))
        contestants = variants(names, source, settings, match, out, report.say)
        folder = out or numbered(f"{source.name}-compare")
        if Run(folder).config_file.exists():
            raise UserError(f"--out {folder}: is a run, and no comparison; give the folder of one, or a new one")
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
