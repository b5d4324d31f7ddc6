"""Several cells on one text under one budget: what each learns, how fast, and how much of it is luck."""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from gatewise.cells import resolve
from gatewise.errors import UserError, nearest
from gatewise.layers import LanguageModel
from gatewise.tasks import TextTask, perplexity
from gatewise.training.checkpoint import write_text
from gatewise.training.lifecycle import Watch, go_on
from gatewise.training.match import matching_size, step_ratio
from gatewise.training.metrics import finite
from gatewise.training.run import Run
from gatewise.training.settings import listed
from gatewise.training.text_run import TextTraining, model_config, train_text
from gatewise.training.text_settings import TextSettings
from gatewise.training.text_source import Source, prepare

MATCHES = ("params", "time", "hidden")
_CHANGEABLE = {
    "hidden", "layers", "zoneout", "recurrent_dropout", "recurrent_dropout_kind", "weight_drop", "layer_norm",
    "residual", "learned_state", "dropout", "lr",
}  # fmt: skip
_YES_OR_NO = {"": True, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
_GRAIN = 1 / 32  # of a hidden size: two that are nearer take the same time, as nearly as it is measured

StepRatio = Callable[[TextSettings, TextSettings, TextTask, int], float]


@dataclass(frozen=True)
class Variant:
    """One contestant: a cell, and what differs from the settings of all.

    Attributes:
        label: as the user wrote it.
        settings: of its runs, but for the seed.
        parameters: of its model.
        step_ratio: how long its training step takes relative to the first one's, where that decided its size.
    """

    label: str
    settings: TextSettings
    parameters: int
    step_ratio: float | None = None


@dataclass(frozen=True)
class Result:
    """What one variant reached, a figure for every seed."""

    label: str
    hidden: int | str
    parameters: int
    tokens_per_second: list[float]
    losses: list[float]
    step_ratio: float | None = None

    @property
    def loss(self) -> float:
        """The mean held-out loss, nats per token; NaN before the first run."""
        return statistics.fmean(self.losses) if self.losses else float("nan")

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; NaN of one seed alone."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else float("nan")

    def to_dict(self) -> dict[str, Any]:
        more = {"heldout_loss": self.loss, "heldout_perplexity": perplexity(self.loss)}
        more |= {"spread": self.spread if len(self.losses) > 1 else None}
        return finite(asdict(self) | more)


def parse(text: str, settings: TextSettings) -> tuple[str, TextSettings]:
    """``lstm``, or ``gru:zoneout=0.1:hidden=128``: a cell and the settings that are its own.

    With ``+`` between them, cells or hidden sizes are those of the layers: ``lstm+gru:hidden=256+128``.

    >>> parse("gru:zoneout=0.1", TextSettings())[1].zoneout
    0.1
    >>> parse("lstm+gru", TextSettings())[1].cells
    ('lstm', 'gru')
    """
    cell, *changes = text.strip().split(":")
    cell = cell.replace("+", ",")
    for name in cell.split(","):
        resolve(name)
    values: dict[str, Any] = {}
    kinds = {field.name: type(field.default) for field in fields(TextSettings)}
    for change in changes:
        option, _, value = change.partition("=")
        name = option.replace("-", "_")
        if name not in _CHANGEABLE:
            raise UserError(f"--cells {text}: '{option}': {nearest(name, sorted(_CHANGEABLE))}")
        if name == "hidden" and "+" in value:
            values[name] = value.replace("+", ",")
            continue
        try:
            values[name] = _YES_OR_NO[value.lower()] if kinds[name] is bool else kinds[name](value)
        except (ValueError, KeyError):
            wanted = "yes or no" if kinds[name] is bool else "a number"
            raise UserError(f"--cells {text}: {option}={value}: want {wanted}") from None
    layers = listed(cell, values.get("hidden"))
    if layers:
        values.setdefault("layers", layers)
    return text.strip(), replace(settings, cell=cell, **values)


def variants(
    cells: Sequence[str],
    source: Source,
    settings: TextSettings,
    match: str,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
    ratio: StepRatio = step_ratio,
) -> list[Variant]:
    """The contestants. Each has the hidden size that brings it nearest the first one's parameters (``match="params"``),
    or the time of its training step (``"time"``), unless it names its own; with ``"hidden"`` all have the same.

    Args:
        cells: as the user wrote them, see :func:`parse`.
        source: the text.
        settings: of all.
        match: "params", "time" or "hidden".
        folder: of the comparison; sizes that were found there by their time are kept, not measured again.
        say: is told what was measured.
        ratio: measures, see :func:`gatewise.training.match.step_ratio`.

    Raises:
        UserError: fewer than two cells, one twice, an unknown name or option.
    """
    if match not in MATCHES:
        raise UserError(f"--match {match}: {nearest(match, MATCHES)}")
    parsed = [parse(cell, settings) for cell in cells]
    if len(set(cells)) != len(cells) or len(cells) < 2:
        raise UserError("--cells: want two different ones at least, such as rnn,gru,lstm")
    prepared = prepare(source.read(), settings)
    size, first = prepared.tokenizer.size, parsed[0][1]
    wanted = _parameters(first, size)
    recorded = _recorded_sizes(folder, *parsed[0]) if match == "time" else {}
    found: list[Variant] = [Variant(parsed[0][0], first, wanted)]
    for label, own in parsed[1:]:
        hidden, took = own.hidden, None
        if match == "params" and "hidden=" not in label:
            hidden = matching_size(lambda h, own=own: _parameters(replace(own, hidden=h), size) / wanted)
        elif match == "time" and "hidden=" not in label:
            if label in recorded:
                hidden, took = recorded[label]
                told = ", as it was measured when this comparison began"
            else:
                hidden, took = _of_equal_time(
                    lambda h, own=own: ratio(first, replace(own, hidden=h), prepared.task, size)
                )
                told = f": a training step takes {took:.2f} times as long as {found[0].label}'s"
            say(f"{label}: hidden {hidden}{told}")
        sized = replace(own, hidden=hidden)
        found.append(Variant(label, sized, _parameters(sized, size), took))
    return found


def _of_equal_time(ratio: Callable[[int], float]) -> tuple[int, float]:
    """The hidden size whose training step takes as long as another's, as nearly as can be, and their ratio."""
    measured = functools.cache(ratio)
    hidden = matching_size(measured, _GRAIN)
    return hidden, measured(hidden)


def _recorded_sizes(folder: Path | None, first: str, settings: TextSettings) -> dict[str, tuple[int, float]]:
    """The sizes that an earlier call measured against the same first contestant, and the ratios it found."""
    try:
        entries = json.loads((folder / "comparison.json").read_text(encoding="utf-8")) if folder else []
        if not entries or (entries[0]["label"], entries[0]["hidden"]) != (first, settings.hidden):
            return {}
        return {e["label"]: (e["hidden"], e["step_ratio"]) for e in entries if e["step_ratio"] is not None}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder}/comparison.json: is damaged; remove it, or choose another --out") from None


def _parameters(settings: TextSettings, vocabulary_size: int) -> int:
    with torch.device("meta"):
        model = LanguageModel(**model_config(settings, vocabulary_size))
    return sum(p.numel() for p in model.parameters())


def compare_text(
    source: Source,
    contestants: Sequence[Variant],
    seeds: int,
    folder: Path,
    watch: Watch,
    on_result: Callable[[Sequence[Result]], None] = lambda results: None,
) -> list[Result]:
    """Train every contestant with every seed, in turns, so that a slow hour of the machine hits all; what each reached.

    A run that is in ``folder`` already is not trained again, and one that was interrupted goes on.

    Args:
        source: the text.
        contestants: from :func:`variants`.
        seeds: runs of each.
        folder: a run folder a contestant and seed, and ``comparison.json``.
        watch: shows the progress.
        on_result: called after every run with what there is so far.

    Raises:
        UserError: a run of other settings or of another text is in ``folder``, found before anything is trained.
    """
    runs = _runs(source, contestants, seeds, folder)
    summaries: dict[str, list[Mapping[str, Any]]] = {variant.label: [] for variant in contestants}
    _write(folder, contestants, summaries)
    for place, (variant, seed, run, settings) in enumerate(runs, 1):
        watch.report.say(f"[{place} of {len(runs)}] {variant.label}, seed {seed}, {variant.parameters:,} parameters")
        summaries[variant.label].append(_summary(source, settings, run, watch))
        results = [_result(v, summaries[v.label]) for v in contestants if summaries[v.label]]
        _write(folder, contestants, summaries)
        on_result(results)
    return [_result(variant, summaries[variant.label]) for variant in contestants]


def _runs(
    source: Source, contestants: Sequence[Variant], seeds: int, folder: Path
) -> list[tuple[Variant, int, Run, TextSettings]]:
    """Every run in its turn: whose it is, its seed's number, its folder, its settings."""
    data, runs = source.to_config(source.read()), []
    for seed in range(seeds):
        for variant in contestants:
            run = Run(folder / f"{_file_name(variant.label)}-seed{seed}")
            settings = replace(variant.settings, seed=variant.settings.seed + seed)
            if run.config_file.exists():
                recorded = run.read_config()
                if recorded["settings"] | {"threads": settings.threads} != asdict(settings):
                    raise UserError(f"{run.folder}: a run with other settings is there; choose another --out")
                if recorded["data"].get("sha256") != data["sha256"]:
                    raise UserError(f"{run.folder}: a run on another text is there; choose another --out")
            runs.append((variant, seed, run, settings))
    return runs


def _write(folder: Path, contestants: Sequence[Variant], summaries: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """``comparison.json``: every contestant, from the beginning on, with the figures there are so far."""
    folder.mkdir(parents=True, exist_ok=True)
    results = [_result(variant, summaries[variant.label]).to_dict() for variant in contestants]
    write_text(folder / "comparison.json", json.dumps(results, indent=2) + "\n")


def _summary(source: Source, settings: TextSettings, run: Run, watch: Watch) -> Mapping[str, Any]:
    if run.summary_file.exists():
        watch.report.say(f"{run.folder}: is there already")
        return json.loads(run.summary_file.read_text(encoding="utf-8"))
    if run.config_file.exists():
        return go_on(TextTraining(), run, watch)
    return train_text(source, settings, run.folder, watch)[1]


def _result(variant: Variant, summaries: Sequence[Mapping[str, Any]]) -> Result:
    losses = [summary["heldout_loss"] for summary in summaries]
    if any(loss is None for loss in losses):
        raise UserError("nothing is held out to compare by: give --heldout above 0")
    rates = [summary["tokens_per_second"] for summary in summaries]
    return Result(variant.label, variant.settings.hidden, variant.parameters, rates, losses, variant.step_ratio)


def _file_name(label: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in label)
