"""The network of a forecast: built from what its file says, and the form it takes where the user leaves that open."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from gatewise.data.table.preparation import Preparation
from gatewise.layers.forecasting import FORECASTING, Anchored, forecasting_model
from gatewise.tasks.forecast import ForecastTask
from gatewise.training.forecast_settings import ForecastSettings
from gatewise.training.learner import Diverged, torch_learner

STEPS = 100
"""Steps of a trial of a form; the learning rate rises in the first fifth."""

TIE = 0.02
"""Share of its loss by which a form must be better than others: trials are short, the validation part is one stretch of
time."""


@dataclass(frozen=True)
class Form:
    """How a network's output becomes a forecast; see :class:`gatewise.layers.forecasting.Anchored`.

    Attributes:
        anchor: what it is the distance from.
        normalise: whether every window is standardised by itself.
        season: steps of a season.
        places: where the targets stand among the inputs.
    """

    anchor: str
    normalise: bool
    season: int
    places: tuple[int, ...]

    def __str__(self) -> str:
        anchors = {"none": "no anchor", "last": "from the last value", "mean": "from the window's mean"}
        anchor = anchors.get(self.anchor, "from the last season's value")
        return f"{anchor}, windows {'standardised' if self.normalise else 'as they are'}"


def target_channels(preparation: Preparation) -> tuple[int, ...]:
    """Where the targets' own columns stand in what a network is given; none where PCA has mixed them."""
    if preparation.projection is not None:
        return ()
    return tuple(preparation.input_places.index(place) for place in preparation.target_places)


def model_config(
    settings: ForecastSettings, preparation: Preparation, lookback: int, horizon: int
) -> dict[str, Any]:  # fmt: skip
    """What :func:`gatewise.layers.forecasting.forecasting_model` is called with."""
    return {
        "name": settings.model, "input_size": preparation.input_size, "target_size": len(preparation.target_names),
        "known_size": preparation.known_size, "lookback": lookback, "horizon": horizon,
        "outputs": len(settings.levels) or 1, "feed_history": not target_channels(preparation), **settings.stack(),
        "dropout": settings.dropout, **settings.noise(), **settings.model_options(),
    }  # fmt: skip


def build(about: Mapping[str, Any], settings: ForecastSettings | None = None) -> Anchored:
    """The network that a file's metadata describes.

    Args:
        about: with ``model`` as :func:`model_config` gives it and ``form`` as :class:`Form` has it.
        settings: with the engine that runs it and the precision of its products; None for those of any network.
    """
    running: dict[str, Any] = {"engine": settings.engine} if settings else {}
    if settings and settings.precision != "float32":
        running["precision"] = settings.precision
    model = forecasting_model(**about["model"], **running)
    form = about["form"]
    return Anchored(model, form["anchor"], form["normalise"], form["season"], form["places"])


def suited_form(
    settings: ForecastSettings, task: ForecastTask, model: Mapping[str, Any], plain: Form, say: Callable[[str], None]
) -> Form:
    """The form that the settings ask for; where they leave it open the one that learns fastest.

    Each form that comes into question is tried in a hundred steps of `direct`: what suits a table depends little on the
    model, and others take up to a hundred times as long for a step. The one with the least loss of the validation part
    is taken; of those that are as good within :data:`TIE` one that standardises its windows, which a level unlike those
    of training and validation does not lead astray. A model with an anchor of its own, and a run without a validation
    part, take the plainest.

    Args:
        settings: with ``anchor`` and ``normalise``.
        task: gives the batches and the loss.
        model: as :func:`model_config` has it.
        plain: with the season and the places, which all forms have.
        say: is told what was tried.
    """
    own = FORECASTING[settings.model].anchored
    anchors = [settings.anchor] if settings.anchor != "auto" else ["none"] if own else ["last"]
    if anchors == ["last"] and settings.anchor == "auto" and 1 < plain.season <= model["lookback"]:
        anchors.append("seasonal")
    normal = [settings.normalise == "on"] if settings.normalise != "auto" else [False] if own else [False, True]
    forms = [Form(anchor, on, plain.season, plain.places) for anchor, on in itertools.product(anchors, normal)]
    if len(forms) == 1 or task.look is None:
        return forms[0]
    tried = _plainest(settings, model)
    losses = {form: _trial(settings, task, {"model": tried, "form": asdict(form)}) for form in forms}
    tied = [form for form, loss in losses.items() if loss <= (1 + TIE) * min(losses.values())]
    best = min(tied, key=lambda form: (not form.normalise, losses[form]))
    others = ", ".join(f"{form} {loss:.3g}" for form, loss in losses.items() if form != best)
    say(f"forecasts {best}: after {STEPS} steps of direct the validation loss is {losses[best]:.3g} so; {others}")
    return best


def _plainest(settings: ForecastSettings, model: Mapping[str, Any]) -> dict[str, Any]:
    """`direct` with the layers that a model has, without the options of its own."""
    own = set() if model["name"] == "direct" else set(settings.model_options())
    return {name: value for name, value in model.items() if name not in own} | {"name": "direct"}


def _trial(settings: ForecastSettings, task: ForecastTask, about: Mapping[str, Any]) -> float:
    """The least validation loss of a short training, halfway and at its end."""
    torch.manual_seed(settings.seed)
    learner = torch_learner(build(about, settings), task, settings)
    endless = itertools.chain.from_iterable(task.batches(epoch) for epoch in itertools.count())
    least = math.inf
    for step, batch in enumerate(itertools.islice(endless, STEPS), 1):
        try:
            learner.step(batch, settings.lr * min(1.0, 5 * step / STEPS))
        except Diverged:
            return math.inf
        if step in (STEPS // 2, STEPS):
            least = min(least, task.held_out(learner.model())["loss"])
    return least
