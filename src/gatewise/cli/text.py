"""Commands of the text task: train, resume, generate, evaluate."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from gatewise.cli.app import CellFile, app, load_cell_file, train_app
from gatewise.data import read_text
from gatewise.errors import UserError
from gatewise.show import draw_run
from gatewise.tasks import Sampling, longest_copy
from gatewise.training import (
    Run,
    Source,
    TrainedText,
    Watch,
    finite,
    load_text_run,
    perplexity,
    reporter,
    resume_text,
    text_settings,
    train_text,
)

DATA = Group("Text", sort_key=1)
MODEL = Group("Model", sort_key=2)
TRAINING = Group("Training", sort_key=3)
OUTPUT = Group("Output", sort_key=4)


def _option(group: Group, help: str) -> Parameter:
    return Parameter(group=group, help=help)


@train_app.command(name="text")
def train_text_command(
    file: Annotated[Path | None, _option(DATA, "A text file; without one, Python's own language reference.")] = None,
    /,
    *,
    recipe: Annotated[
        str | None, _option(TRAINING, "A named set of settings: `d2l` is the experiment of Dive into Deep Learning.")
    ] = None,
    encoding: Annotated[str, _option(DATA, "The file's encoding.")] = "utf-8",
    tokens: Annotated[str | None, _option(DATA, "`char` (default), `word`, `byte` or `bpe`.")] = None,
    vocabulary: Annotated[int | None, _option(DATA, "Most tokens of the vocabulary (default: all; bpe 1024).")] = None,
    clean: Annotated[str | None, _option(DATA, "`none` (default), or `d2l`: letters only, lower case.")] = None,
    heldout: Annotated[
        float | None, _option(DATA, "Share of the text, its end, that is held out (default 0.1).")
    ] = None,
    train_tokens: Annotated[
        int | None, _option(DATA, "Train on the first so many characters, hold out the rest.")
    ] = None,
    cell: Annotated[
        str | None,
        _option(MODEL, "The cell's name; `gatewise cells` lists them (default `gru`); `lstm,gru`: one a layer."),
    ] = None,
    cell_file: CellFile = None,
    layers: Annotated[int | None, _option(MODEL, "Recurrent layers (default 1).")] = None,
    hidden: Annotated[
        str | None, _option(MODEL, "Units of a layer (default 256); `256,128`: one number a layer.")
    ] = None,
    embedding: Annotated[
        int | None,
        _option(MODEL, "Features of a learned embedding (0: one-hot; default: 64 up to 256 tokens, else 128)."),
    ] = None,
    dropout: Annotated[
        float | None, _option(MODEL, "Dropout between layers and before the head (default 0.1).")
    ] = None,
    zoneout: Annotated[float | None, _option(MODEL, "Rate at which units keep their old state (default 0).")] = None,
    recurrent_dropout: Annotated[
        float | None, _option(MODEL, "Dropout on the recurrent products' input, one mask a window (default 0).")
    ] = None,
    recurrent_dropout_kind: Annotated[
        str | None, _option(MODEL, "`gal` (default, as above), or `semeniuta`: on the candidate, one mask a step.")
    ] = None,
    weight_drop: Annotated[float | None, _option(MODEL, "Dropout of recurrent weights (default 0).")] = None,
    layer_norm: Annotated[
        bool, Parameter(group=MODEL, negative=(), help="Normalise both projections of every step.")
    ] = False,
    residual: Annotated[
        bool, Parameter(group=MODEL, negative=(), help="Every layer but the first adds its input to its output.")
    ] = False,
    learned_state: Annotated[
        bool, Parameter(group=MODEL, negative=(), help="Learn the state in which a text starts.")
    ] = False,
    init: Annotated[str | None, _option(MODEL, "`default`, or `d2l`: N(0, 0.01) and zero biases.")] = None,
    engine: Annotated[
        str | None, _option(MODEL, "`auto` (default), `native`, `torch`, `eager`, or `numpy`: every gradient by hand.")
    ] = None,
    precision: Annotated[
        str | None, _option(MODEL, "`float32` (default), or `bf16` for the products: faster on a CPU with AMX.")
    ] = None,
    minutes: Annotated[float | None, _option(TRAINING, "Wall-clock budget (default 3).")] = None,
    epochs: Annotated[
        int | None, _option(TRAINING, "Passes over the text; with `--minutes` too, whichever ends first.")
    ] = None,
    batch: Annotated[int | None, _option(TRAINING, "Rows of a batch (default 64).")] = None,
    steps: Annotated[int | None, _option(TRAINING, "Tokens of a window (default 32).")] = None,
    partition: Annotated[
        str | None, _option(TRAINING, "`sequential` (default: the state is carried) or `random` (it starts at zero).")
    ] = None,
    optimizer: Annotated[str | None, _option(TRAINING, "`adamw` (default) or `sgd`.")] = None,
    lr: Annotated[float | None, _option(TRAINING, "Peak learning rate (default 0.01).")] = None,
    weight_decay: Annotated[float | None, _option(TRAINING, "Of AdamW (default 0.05).")] = None,
    clip: Annotated[
        float | None, _option(TRAINING, "Largest norm of the gradient (default 1; 0: no clipping).")
    ] = None,
    schedule: Annotated[str | None, _option(TRAINING, "`cosine` (default) or `constant`.")] = None,
    warmup: Annotated[float | None, _option(TRAINING, "Share of the run in which lr rises (default 0.05).")] = None,
    evaluations: Annotated[int | None, _option(TRAINING, "Looks at the held-out text on the way (default 10).")] = None,
    patience: Annotated[
        int | None, _option(TRAINING, "Stop after so many looks without a gain (default: never).")
    ] = None,
    keep: Annotated[
        str | None, _option(TRAINING, "Which weights the run is left with: `best` (default) or `last`.")
    ] = None,
    seed: Annotated[int | None, _option(TRAINING, "The same seed gives the same run (default 0).")] = None,
    threads: Annotated[
        int | None,
        _option(TRAINING, "Threads of PyTorch (default: its own choice; 1 where other work keeps the cores busy)."),
    ] = None,
    out: Annotated[Path | None, _option(OUTPUT, "The run folder (default: runs/NAME-CELL-N).")] = None,
    tensorboard: Annotated[bool, Parameter(group=OUTPUT, negative=(), help="Also write a TensorBoard log.")] = False,
    json_: Annotated[
        bool, Parameter(name="--json", group=OUTPUT, negative=(), help="Print the summary as the last line, as JSON.")
    ] = False,
    quiet: Annotated[bool, Parameter(group=OUTPUT, negative=(), help="Plain lines instead of a bar.")] = False,
) -> None:
    """Train a language model on a text, measure it on the held-out end, and write samples.

    Without `--minutes` or `--epochs` it trains for three minutes. Ctrl-C saves; `gatewise resume RUN` goes on.
    """
    load_cell_file(cell_file)
    settings = text_settings(
        recipe, tokens=tokens, vocabulary=vocabulary, clean=clean, heldout=heldout, train_tokens=train_tokens,
        cell=cell, layers=layers, hidden=hidden, embedding=embedding, dropout=dropout, zoneout=zoneout,
        recurrent_dropout=recurrent_dropout, recurrent_dropout_kind=recurrent_dropout_kind, weight_drop=weight_drop,
        layer_norm=layer_norm or None, residual=residual or None, learned_state=learned_state or None, init=init,
        engine=engine,
        precision=precision, minutes=minutes, epochs=epochs, batch=batch, steps=steps, partition=partition,
        optimizer=optimizer, lr=lr, weight_decay=weight_decay,
        clip=clip, schedule=schedule, warmup=warmup, evaluations=evaluations,
        patience=patience, keep=keep, seed=seed, threads=threads,
    )  # fmt: skip
    log = _tensorboard(tensorboard)
    with reporter(quiet) as report:
        run, summary = train_text(Source(file, encoding), settings, out, Watch(report, log, draw_run))
    _finish(run, summary, json_, cell_file)


@app.command(name="resume")
def resume_command(
    run: Annotated[Path, Parameter(help="The folder of an interrupted run.")],
    /,
    *,
    cell_file: CellFile = None,
    tensorboard: Annotated[bool, Parameter(group=OUTPUT, negative=(), help="Also write a TensorBoard log.")] = False,
    json_: Annotated[
        bool, Parameter(name="--json", group=OUTPUT, negative=(), help="Print the summary as the last line, as JSON.")
    ] = False,
    quiet: Annotated[bool, Parameter(group=OUTPUT, negative=(), help="Plain lines instead of a bar.")] = False,
) -> None:
    """Go on with an interrupted run, exactly as it would have gone on."""
    load_cell_file(cell_file)
    log = _tensorboard(tensorboard)
    with reporter(quiet) as report:
        done, summary = resume_text(run, Watch(report, log, draw_run))
    _finish(done, summary, json_, cell_file)


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
    greedy: Annotated[bool, Parameter(negative=(), help="Always the likeliest token.")] = False,
    seed: Annotated[
        int | None, Parameter(help="The same seed gives the same text (default: a new one, printed).")
    ] = None,
    cell_file: CellFile = None,
) -> None:
    """Write text with a trained model; the longest passage copied from the training text is reported."""
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
    json_: Annotated[bool, Parameter(name="--json", negative=(), help="Print the figures as JSON.")] = False,
    quiet: Annotated[bool, Parameter(negative=(), help="No progress bar.")] = False,
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


def _tensorboard(wanted: bool) -> Callable[[Run, dict[str, Any]], None] | None:
    if not wanted:
        return None
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise UserError("--tensorboard: not installed; run: pip install tensorboard") from None

    def log(run: Run, row: dict[str, Any]) -> None:
        with SummaryWriter(str(run.folder / "tensorboard")) as writer:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, row["step"])

    return log


def _finish(run: Run, summary: dict[str, Any], as_json: bool, cell_file: Path | None) -> None:
    _write(load_text_run(run.folder), None, 300, Sampling(temperature=0.7))
    print()
    train, heldout = summary["train_loss"], summary["heldout_loss"]
    print(f"training   loss {train:.4f}  perplexity {perplexity(train):.3f}  (the last epoch's, at most 100 steps)")
    if heldout is not None:
        print(f"held out   loss {heldout:.4f}  perplexity {perplexity(heldout):.3f}")
        print(_difference(perplexity(heldout - train)))
    print(
        f"{summary['steps']:,} steps in {summary['seconds']:.0f} s, {summary['tokens_per_second']:,} tokens/s, "
        f"engine {summary['engine']}"
    )
    print(f"run        {run.folder}")
    # What is printed can be pasted, also where the virtual environment is not activated.
    command = "gatewise" if shutil.which("gatewise") else os.path.relpath(sys.argv[0])
    with_cell = f" --cell-file {cell_file}" if cell_file else ""
    print(f"next       {command} generate {run.folder}{with_cell}")
    print(f"           {command} evaluate {run.folder} FILE{with_cell}")
    for cell in dict.fromkeys(summary["cell"].split(",")):
        print(f"           {command} explain {cell.strip()}{with_cell}")
    if as_json:
        print(json.dumps(summary))


def _difference(ratio: float) -> str:
    """What the held-out perplexity says, so many times the one in training."""
    if ratio > 1.5:
        meaning = f"{ratio:.1f} times as uncertain on text it never saw: much is learned by heart"
    elif ratio >= 1:
        meaning = f"{ratio:.2f} times as uncertain on text it never saw: what it learned carries over"
    else:
        meaning = "lower than in training, whose mean is over an epoch in which it still learned"
    return f"           {meaning}"
