"""Several cells on one text under one budget: what each learns, how fast, and how much of it is luck."""

from __future__ import annotations

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
from gatewise.tasks import perplexity
from gatewise.training.checkpoint import write_text
from gatewise.training.lifecycle import Watch
from gatewise.training.run import Run
from gatewise.training.text_run import model_config, train_text
from gatewise.training.text_settings import TextSettings
from gatewise.training.text_source import Source, prepare

MATCHES = ("params", "hidden")
_CHANGEABLE = {"hidden", "layers", "zoneout", "recurrent_dropout", "weight_drop", "layer_norm", "dropout", "lr"}


@dataclass(frozen=True)
class Variant:
    """One contestant: a cell, and what differs from the settings of all.

    Attributes:
        label: as the user wrote it.
        settings: of its runs, but for the seed.
        parameters: of its model.
    """

    label: str
    settings: TextSettings
    parameters: int


@dataclass(frozen=True)
class Result:
    """What one variant reached, a figure for every seed."""

    label: str
    hidden: int
    parameters: int
    tokens_per_second: list[float]
    losses: list[float]

    @property
    def loss(self) -> float:
        """The mean held-out loss, nats per token."""
        return statistics.fmean(self.losses)

    @property
    def spread(self) -> float:
        """The standard deviation over the seeds; NaN of one seed alone."""
        return statistics.stdev(self.losses) if len(self.losses) > 1 else float("nan")

    def to_dict(self) -> dict[str, Any]:
        more = {"heldout_loss": self.loss, "heldout_perplexity": perplexity(self.loss)}
        more |= {"spread": self.spread if len(self.losses) > 1 else None}
        return asdict(self) | more


def parse(text: str, settings: TextSettings) -> tuple[str, TextSettings]:
    """``lstm``, or ``gru:zoneout=0.1:hidden=128``: a cell and the settings that are its own.

    >>> parse("gru:zoneout=0.1", TextSettings())[1].zoneout
    0.1
    """
    cell, *changes = text.strip().split(":")
    resolve(cell)
    values: dict[str, Any] = {}
    kinds = {field.name: type(field.default) for field in fields(TextSettings)}
    for change in changes:
        option, _, value = change.partition("=")
        name = option.replace("-", "_")
        if name not in _CHANGEABLE:
            raise UserError(f"--cells {text}: '{option}': {nearest(name, sorted(_CHANGEABLE))}")
        try:
            values[name] = value.lower() in ("", "1", "true", "yes") if kinds[name] is bool else kinds[name](value)
        except ValueError:
            raise UserError(f"--cells {text}: {option}={value}: want a number") from None
    return text.strip(), replace(settings, cell=cell, **values)


def variants(cells: Sequence[str], source: Source, settings: TextSettings, match: str) -> list[Variant]:
    """The contestants; with ``match="params"`` each has the hidden size that brings it nearest the first one's size.

    Raises:
        UserError: fewer than two cells, one twice, an unknown name or option.
    """
    if match not in MATCHES:
        raise UserError(f"--match {match}: {nearest(match, MATCHES)}")
    if len(set(cells)) != len(cells) or len(cells) < 2:
        raise UserError("--cells: want two different ones at least, such as rnn,gru,lstm")
    size = prepare(source.read(), settings).tokenizer.size
    found: list[Variant] = []
    for cell in cells:
        label, own = parse(cell, settings)
        if match == "params" and found and "hidden=" not in cell:
            own = replace(own, hidden=_hidden_for(found[0].parameters, own, size))
        found.append(Variant(label, own, _parameters(own, size)))
    return found


def _parameters(settings: TextSettings, vocabulary_size: int) -> int:
    with torch.device("meta"):
        model = LanguageModel(**model_config(settings, vocabulary_size))
    return sum(p.numel() for p in model.parameters())


def _hidden_for(wanted: int, settings: TextSettings, vocabulary_size: int) -> int:
    """The hidden size with which a model's size is nearest to ``wanted``."""
    low, high = 1, 2
    while _parameters(replace(settings, hidden=high), vocabulary_size) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _parameters(replace(settings, hidden=middle), vocabulary_size) < wanted:
            low = middle
        else:
            high = middle
    return min(low, high, key=lambda h: abs(_parameters(replace(settings, hidden=h), vocabulary_size) - wanted))


def compare_text(
    source: Source,
    contestants: Sequence[Variant],
    seeds: int,
    folder: Path,
    watch: Watch,
    on_result: Callable[[Sequence[Result]], None] = lambda results: None,
) -> list[Result]:
    """Train every contestant with every seed, in turns, so that a slow hour of the machine hits all; what each reached.

    A run that is in ``folder`` already, finished and with the same settings, is not trained again: an interrupted
    comparison goes on.

    Args:
        source: the text.
        contestants: from :func:`variants`.
        seeds: runs of each.
        folder: a run folder a contestant and seed, and ``comparison.json``.
        watch: shows the progress.
        on_result: called after every run with what there is so far.
    """
    summaries: dict[str, list[Mapping[str, Any]]] = {variant.label: [] for variant in contestants}
    total = seeds * len(contestants)
    for seed in range(seeds):
        for variant in contestants:
            done = sum(map(len, summaries.values())) + 1
            watch.report.say(f"[{done} of {total}] {variant.label}, seed {seed}, {variant.parameters:,} parameters")
            place = folder / f"{_file_name(variant.label)}-seed{seed}"
            settings = replace(variant.settings, seed=variant.settings.seed + seed)
            summaries[variant.label].append(_summary(source, settings, place, watch))
            results = [_result(v, summaries[v.label]) for v in contestants if summaries[v.label]]
            write_text(folder / "comparison.json", json.dumps([r.to_dict() for r in results], indent=2) + "\n")
            on_result(results)
    return [_result(variant, summaries[variant.label]) for variant in contestants]


def _summary(source: Source, settings: TextSettings, place: Path, watch: Watch) -> Mapping[str, Any]:
    run = Run(place)
    if run.summary_file.exists():
        recorded = run.read_config()["settings"] | {"threads": settings.threads}
        if recorded == asdict(settings):
            watch.report.say(f"{place}: is there already")
            return json.loads(run.summary_file.read_text(encoding="utf-8"))
        raise UserError(f"{place}: a run with other settings is there; choose another --out")
    return train_text(source, settings, place, watch)[1]


def _result(variant: Variant, summaries: Sequence[Mapping[str, Any]]) -> Result:
    losses = [summary["heldout_loss"] for summary in summaries]
    if any(loss is None for loss in losses):
        raise UserError("nothing is held out to compare by: give --heldout above 0")
    rates = [summary["tokens_per_second"] for summary in summaries]
    return Result(variant.label, variant.settings.hidden, variant.parameters, rates, losses)


def _file_name(label: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in label)
