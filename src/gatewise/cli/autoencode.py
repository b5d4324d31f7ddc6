"""Commands of the autoencoding task: train, sample, reconstruct, interpolate."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter
from torch import Tensor

from gatewise.cli.app import CellFile, app, load_cell_file
from gatewise.cli.options import GROUPS
from gatewise.cli.training import ENDINGS, Asked, Ending, train_command
from gatewise.data import UNKNOWN, lines_of, read_series, read_text
from gatewise.errors import UserError
from gatewise.show import draw_latent_run, draw_series
from gatewise.tasks import edits, longest_copy
from gatewise.training import AutoencodeSettings, Run, TrainedAutoencoder, load_autoencoder, source_of
from gatewise.training.autoencode_settings import refuse_idle
from gatewise.training.checkpoint import replacing
from gatewise.training.latent_model import UNCONDITIONAL
from gatewise.training.sequence_source import SeriesSource
from gatewise.training.settings import settings_from

_SUFFIX = re.compile(r"\S\.(txt|text|md|rst|csv|tsv|json|log|html|xml|npy)$", re.IGNORECASE)
_LOOKED_AT = 50  # of many lines written: to look for copies takes longer than to write
_RunFolder = Annotated[Path, Parameter(help="The folder of a trained autoencoder.")]
_Out = Annotated[
    Path | None,
    Parameter(
        help="Where series go: a .npy file, with pictures of the same name beside it (default: named as the command, "
        "in the run's folder, where an earlier one is replaced)."
    ),
]


@train_command("autoencode", AutoencodeSettings)
def train_autoencode(
    file: Annotated[
        Path | None,
        Parameter(
            group=GROUPS["Data"],
            help="A text, of which every line is a sequence, or a .npy file of series, (N, T, d) or (T, d); without "
            "one, Python's own language reference.",
        ),
    ] = None,
    /,
    *,
    encoding: Annotated[str, Parameter(group=GROUPS["Data"], help="The file's encoding.")] = "utf-8",
    chosen: dict[str, Any],
) -> Asked:
    """Train a variational autoencoder of lines or series; it tells how much its latent carries.

    Without `--minutes` or `--epochs` it trains for four minutes. Then, beyond that budget, a model without a latent, a
    vae's the same decoder, learns for as many steps, to compare with, unless `--baseline none` is given. Ctrl-C saves;
    `gatewise resume RUN` goes on.
    """
    source = source_of(file, encoding)
    refuse_idle(chosen, isinstance(source, SeriesSource))
    return source, settings_from(AutoencodeSettings, chosen)


@app.command(name="sample")
def sample_command(
    run: _RunFolder,
    /,
    *,
    count: Annotated[int, Parameter(name=["-n", "--count"], help="How many.")] = 10,
    temperature: Annotated[float, Parameter(help="Of the decoder's steps; 0 takes the likeliest always.")] = 0.5,
    seed: Annotated[int | None, Parameter(help="The same seed gives the same (default: a new one, printed).")] = None,
    out: _Out = None,
    cell_file: CellFile = None,
) -> None:
    """Draw latents from the prior, and write what the decoder makes of them: lines, or `sample.npy` and pictures."""
    load_cell_file(cell_file)
    trained = load_autoencoder(run)
    place = _place(trained, "sample", out)
    drawn = secrets.randbelow(1 << 31) if seed is None else _seed(seed)
    _give(trained, place, trained.sample(count, temperature, drawn))
    if seed is None:
        print(f"(seed {drawn}: --seed {drawn} draws the same again)", file=sys.stderr)


@app.command(name="reconstruct")
def reconstruct_command(
    run: _RunFolder,
    given: Annotated[
        tuple[str, ...],
        Parameter(help="Lines, or files: of text, or .npy for a run of series; without any, lines held out."),
    ] = (),
    /,
    *,
    most: Annotated[int, Parameter(name="--count", help="At most so many lines or series.")] = 10,
    encoding: Annotated[str, Parameter(help="A file's encoding.")] = "utf-8",
    out: _Out = None,
    cell_file: CellFile = None,
) -> None:
    """Encode, and write what the decoder makes of the posterior's mean: how much of a sequence its latent keeps.

    Of series `reconstruct.npy` has (N, 2, T, d): each original and its reconstruction.
    """
    load_cell_file(cell_file)
    trained = load_autoencoder(run)
    place = _place(trained, "reconstruct", out)
    if most < 1:
        raise UserError(f"--count {most}: want a whole number of at least 1")
    originals = _sequences(trained, given, encoding)
    originals = originals[:: max(1, len(originals) // most)][:most]
    encoded = [one for _, one in originals]
    written = trained.reconstruct(encoded)
    _tell_unknown(trained, encoded if given else ())
    pairs = [(shown, trained.decode(made)) for (shown, _), made in zip(originals, written, strict=True)]
    if trained.is_series:
        errors = [float(np.sqrt(np.mean((a - b) ** 2))) for a, b in pairs]
        _give(trained, place, [np.stack(pair) for pair in pairs])
        print(f"root mean squared error {np.mean(errors):.4g}, in the file's units, over {len(pairs)} series")
        return
    total = wrong = 0
    for original, text in pairs:
        distance = edits(original, text)
        total, wrong = total + len(original), wrong + distance
        print(f"{original}\n  -> {text}  ({distance} edits of {len(original)} characters)")
    lines = "1 line" if len(pairs) == 1 else f"{len(pairs)} lines"
    print(f"{wrong} edits of {total} characters of the originals, {wrong / total:.1%}, over {lines}")


@app.command(name="interpolate")
def interpolate_command(
    run: _RunFolder,
    /,
    *,
    start: Annotated[str, Parameter(name="--from", help="A line; for series the number of one that is held out.")],
    end: Annotated[str, Parameter(name="--to", help="Likewise.")],
    steps: Annotated[int, Parameter(help="Latents on the way, both ends included.")] = 7,
    way: Annotated[str, Parameter(help="`linear`, or `spherical`: at an even distance from the origin.")] = "linear",
    out: _Out = None,
    cell_file: CellFile = None,
) -> None:
    """Go from one sequence's latent to another's in even steps, and write what the decoder makes of each."""
    load_cell_file(cell_file)
    trained = load_autoencoder(run)
    place = _place(trained, "interpolate", out)
    ends = [_one(trained, value, name) for value, name in ((start, "--from"), (end, "--to"))]
    made = trained.interpolate(ends[0], ends[1], steps, way)
    _tell_unknown(trained, ends)
    _give(trained, place, made)


def _seed(seed: int) -> int:
    if abs(seed) >= 1 << 63:
        raise UserError(f"--seed {seed}: want a whole number below 2^63")
    return seed


def _tell_unknown(trained: TrainedAutoencoder, given: Sequence[Tensor]) -> None:
    unknown, count = sum(map(trained.unknown, given)), sum(map(len, given))
    if unknown:
        print(f"({unknown} of the {count} tokens given are unknown to the run, and read as {UNKNOWN})", file=sys.stderr)


def _one(trained: TrainedAutoencoder, value: str, name: str) -> Any:
    if not trained.is_series:
        return trained.encode(value, name)
    heldout = trained.prepared().task.heldout
    if not value.isdecimal() or int(value) >= len(heldout):
        raise UserError(f"{name} {value}: want the number of a series that is held out, 0 ... {len(heldout) - 1}")
    return heldout[int(value)]


def _sequences(trained: TrainedAutoencoder, given: tuple[str, ...], encoding: str) -> list[tuple[Any, Tensor]]:
    """What is to be reconstructed: as it was given, and encoded."""
    if not given:
        heldout = list(trained.prepared().task.heldout)
        if not heldout:
            raise UserError(f"{trained.run.folder}: held nothing out; give a line or a file")
        return [(trained.decode(one), one) for one in heldout]
    if trained.is_series:
        series = [one for path in given for one in _series_in(read_series(path), trained.longest)]
        lengths = sorted({len(one) for one in series})
        if len(lengths) > 1:
            raise UserError(
                f"{', '.join(given)}: series of {lengths[0]} and of {lengths[-1]} steps; call once for each"
            )
        return [(one, trained.encode(one)) for one in series]
    lines = [line for one in given for line in (lines_of(read_text(one, encoding)) if _is_file(one) else [one])]
    return [(line, trained.encode(line)) for line in lines]


def _is_file(one: str) -> bool:
    """Whether a line is the name of a file. One that is mistyped is a name still, to be refused where it is read."""
    return os.path.isfile(one) or bool(_SUFFIX.search(one)) or (os.sep in one and not re.search(r"\s", one))


def _series_in(values: np.ndarray, window: int) -> list[np.ndarray]:
    """The series of a file; one that is longer than those learned, as windows side by side."""
    if values.ndim == 3:
        return list(values)
    return [values[i : i + window] for i in range(0, len(values) - window + 1, window)] or [values]


def _place(trained: TrainedAutoencoder, command: str, out: Path | None) -> Path:
    """Where a command's series go."""
    if out is None:
        return trained.run.folder / f"{command}.npy"
    if not trained.is_series:
        raise UserError(f"--out {out}: is of series, and {trained.run.folder} writes lines: save them with > FILE")
    if out.suffix != ".npy":
        raise UserError(f"--out {out}: want a name that ends in .npy")
    return out


def _give(trained: TrainedAutoencoder, place: Path, made: list[Any]) -> None:
    """Lines on the screen, numbered, since one may be empty; series in a file, with pictures."""
    if not trained.is_series:
        print(_numbered(made))
        print(_copied(trained, made), file=sys.stderr)
        return
    replaced = " (replaced)" if place.exists() else ""
    with replacing(place) as temporary, temporary.open("wb") as file:
        np.save(file, np.stack(made))
    pictures = draw_series(made, place.parent, place.stem, f"{trained.run.folder.name}: {place.stem}")
    print("\n".join([f"{place}{replaced}", *map(str, pictures)]))


def _numbered(lines: list[str]) -> str:
    width = len(str(len(lines)))
    return "\n".join(f"{number:{width}}  {line}".rstrip() for number, line in enumerate(lines, 1))


def _copied(trained: TrainedAutoencoder, written: list[str]) -> str:
    """How much of what was written is copied, in words."""
    learned = trained.learned_lines()
    if learned is None:
        return "(the training text is gone or changed, so copies could not be looked for)"
    known, text = set(learned), "\n".join(learned)
    copied = max((longest_copy(line, text) for line in written[:_LOOKED_AT]), key=len)
    of_first = f" by the first {_LOOKED_AT}" if len(written) > _LOOKED_AT else ""
    return (
        f"({sum(line in known for line in written)} of {len(written)} are lines it learned, word for word; longest "
        f"passage copied from them{of_first}: {len(copied)} characters, {copied!r})"
    )


def _figure(value: float | None, width: int = 9) -> str:
    """A figure in its column; one that is not finite is not in a summary."""
    return "not finite" if value is None else f"{value:{width}.2f}"


def _tell(run: Run, summary: dict[str, Any]) -> None:
    """What came out, in words."""
    trained = load_autoencoder(run.folder)
    if not trained.is_series:
        drawn = trained.sample(5, 0.0)
        print(_numbered(drawn))
        print(f"{_copied(trained, drawn)}\n")
    if "elbo" not in summary:
        print("nothing was held out: what the latent carries was not measured")
        return
    bound = summary["iw_bound"]
    loss = "not finite" if summary["heldout_loss"] is None else f"{summary['heldout_loss']:.4f}"
    print(f"held out, nats of a sequence ({loss} of a step at most)")
    print(f"  ELBO            {_figure(summary['elbo'])}   = −(reconstruction + KL)")
    print(f"  reconstruction  {_figure(summary['reconstruction'])}   −log p(x | z), z from its own line or series")
    active = "not known how many" if summary["active_units"] is None else summary["active_units"]
    print(f"  KL              {_figure(summary['kl'])}   {active} of {summary['latent']} units active")
    print(
        f"  log p(x) at least {_figure(bound['bound'], 7)}   {bound['samples']} samples, {bound['sequences']} sequences"
    )
    if summary["reconstruction_shuffled"] is not None:
        print(f"  another's latent {summary['reconstruction_shuffled']:8.2f}   −log p(x | z), z from another sequence")
        print(
            f"  I(x; z)         {_figure(summary['mutual_information'])}   no more than "
            f"{summary['mutual_information_at_most']:.2f} can be found with this number of sequences"
        )
    unconditional = summary["baselines"].get("unconditional")
    if unconditional is not None:
        name = UNCONDITIONAL[summary["model"]]
        print(f"  without a latent {unconditional:8.2f}   −log p(x), {name}, as many steps")
    elif "unconditional" in summary["baselines"]:
        print("  without a latent      not finite: the model to compare with diverged; lower --lr")
    print(summary["verdict"])


def _next(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """A model with a latent at every step has none to go from; series that are held out are called by number."""
    commands = ("sample {run}", "reconstruct {run}")
    if summary["model"] == "vrnn":
        return commands
    if "steps_per_second" not in summary:
        return (*commands, "interpolate {run} --from A --to B")
    return (*commands, "interpolate {run} --from 0 --to 1") if summary.get("active_units") is not None else commands


ENDINGS["autoencode"] = Ending(draw_latent_run, _tell, _next)
