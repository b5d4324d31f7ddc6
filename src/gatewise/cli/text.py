"""Commands of the text task: train, generate, evaluate."""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from gatewise.cli.app import CellFile, app, load_cell_file
from gatewise.cli.options import GROUPS
from gatewise.cli.training import ENDINGS, Asked, Ending, train_command
from gatewise.data import read_text
from gatewise.errors import UserError
from gatewise.show import draw_run
from gatewise.tasks import Sampling, longest_copy
from gatewise.training import (
    Run,
    Source,
    TextSettings,
    TrainedText,
    finite,
    load_text_run,
    perplexity,
    reporter,
    text_settings,
)


@train_command("text", TextSettings)
def train_text(
    file: Annotated[
        Path | None, Parameter(group=GROUPS["Data"], help="A text file; without one, Python's own language reference.")
    ] = None,
    /,
    *,
    recipe: Annotated[
        str | None,
        Parameter(
            group=GROUPS["Training"],
            help="A named set of settings: `d2l` is the experiment of Dive into Deep Learning; or a .toml file of "
            "settings, as `gatewise tune` writes it.",
        ),
    ] = None,
    encoding: Annotated[str, Parameter(group=GROUPS["Data"], help="The file's encoding.")] = "utf-8",
    chosen: dict[str, Any],
) -> Asked:
    """Train a language model on a text, measure it on the held-out end, and write samples.

    Without `--minutes` or `--epochs` it trains for three minutes. Ctrl-C saves; `gatewise resume RUN` goes on.
    `--engine numpy` is the textbook's GRU, every gradient by hand.
    """
    return Source(file, encoding), text_settings(recipe, **chosen)


@app.command(name="generate")
def generate_command(
    run: Annotated[Path, Parameter(help="The folder of a trained run.")],
    /,
    *,
    prompt: Annotated[str | None, Parameter(help="What to write on from (default: the run's own first words).")] = None,
    length: Annotated[int, Parameter(help="Tokens to write.")] = 300,
    temperature: Annotated[float, Parameter(help="Below 1 is tamer, above 1 wilder; 0 is greedy.")] = 0.8,
    top_k: Annotated[int, Parameter(help="Choose among the k likeliest tokens (0: all).")] = 0,
    top_p: Annotated[float, Parameter(help="Choose among the likeliest tokens with this probability together.")] = 1.0,
    greedy: Annotated[bool, Parameter(negative=(), show_default=False, help="Always the likeliest token.")] = False,
    seed: Annotated[
        int | None, Parameter(help="The same seed gives the same text (default: a new one, printed).")
    ] = None,
    cell_file: CellFile = None,
) -> None:
    """Write text with a trained model; the longest passage copied from the training text is reported."""
    if length < 1:
        raise UserError(f"--length {length}: want a whole number of at least 1")
    load_cell_file(cell_file)
    drawn = secrets.randbelow(1 << 31) if seed is None else seed
    sampling = Sampling(temperature, top_k, top_p, greedy, drawn)
    _write(load_text_run(run), prompt, length, sampling)
    if seed is None and not greedy:
        print(f"(seed {drawn}: --seed {drawn} writes the same again)", file=sys.stderr)


def _write(trained: TrainedText, prompt: str | None, length: int, sampling: Sampling) -> None:
    """Print generated text as it comes, and then how much of it is copied."""
    source = trained.training_text()
    prompt = trained.default_prompt(source) if prompt is None else prompt
    pieces = trained.generate(prompt, length, sampling)
    print(prompt, end="", flush=True)
    written = []
    for piece in pieces:
        print(piece, end="", flush=True)
        written.append(piece)
    print()
    if source is None:
        print("(the training text is gone or changed, so copies could not be looked for)", file=sys.stderr)
        return
    copied = longest_copy("".join(written), source)
    print(f"(longest passage copied from the training text: {len(copied)} characters, {copied!r})", file=sys.stderr)


@app.command(name="evaluate")
def evaluate_command(
    run: Annotated[Path, Parameter(help="The folder of a trained run.")],
    file: Annotated[Path | None, Parameter(help="A text file; without one, the run's own held-out text.")] = None,
    /,
    *,
    encoding: Annotated[str, Parameter(help="The file's encoding.")] = "utf-8",
    cell_file: CellFile = None,
    json_: Annotated[
        bool, Parameter(name="--json", negative=(), show_default=False, help="Print the figures as JSON.")
    ] = False,
    quiet: Annotated[bool, Parameter(negative=(), show_default=False, help="Print the result alone.")] = False,
) -> None:
    """Measure a trained model: loss in nats per token and perplexity, one pass with carried state."""
    load_cell_file(cell_file)
    trained = load_text_run(run)
    with reporter(quiet) as report:
        if file is None:
            what, (loss, count) = "the held-out text", trained.heldout_loss(report)
        else:
            what, (loss, count) = str(file), trained.loss_on(read_text(file, encoding), report)
    figures = {"text": what, "tokens": count, "loss": loss, "perplexity": perplexity(loss)}
    if json_:
        print(json.dumps(finite(figures)))
    else:
        print(f"{what}: {count:,} tokens, loss {loss:.4f} nats per token, perplexity {perplexity(loss):.3f}")


def _tell(run: Run, summary: dict[str, Any]) -> None:
    _write(load_text_run(run.folder), None, 300, Sampling(temperature=0.7))
    print()
    train, heldout = summary["train_loss"], summary["heldout_loss"]
    print(f"training   loss {train:.4f}  perplexity {perplexity(train):.3f}  (the last epoch's, at most 100 steps)")
    if heldout is not None:
        print(f"held out   loss {heldout:.4f}  perplexity {perplexity(heldout):.3f}")
        print(_difference(perplexity(heldout - train)))


def _difference(ratio: float) -> str:
    """What the held-out perplexity says, so many times the one in training."""
    if ratio > 1.5:
        meaning = f"{ratio:.1f} times as uncertain on text it never saw: much is learned by heart"
    elif ratio >= 1:
        meaning = f"{ratio:.2f} times as uncertain on text it never saw: what it learned carries over"
    else:
        meaning = "lower than in training, whose mean is over an epoch in which it still learned"
    return f"           {meaning}"


ENDINGS["text"] = Ending(draw_run, _tell, lambda _: ("generate {run}", "evaluate {run} FILE", "explain {cell}"))
