"""The forecasting task: windows of the past in, the steps to come out, measured beside forecasts without learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewise.data.table.windows import Batch, Windows
from gatewise.layers.forecasting import middle
from gatewise.tasks.baselines import BASELINES, drift, naive, seasonal_naive
from gatewise.tasks.gathered import Gathered
from gatewise.tasks.intervals import pinball
from gatewise.tasks.lazy import InGroups

AT_ONCE = 512
"""Windows that are forecast together, where they are not long."""

_STEPS_AT_ONCE = 1 << 16
"""And the steps they look back on, of all together: beyond them fresh memory costs more than is gained."""

_LOOKED_AT = 1000
"""Windows that a look at a part is of, evenly spread."""


_GATHERED = 1 << 19
"""Numbers of training windows that are gathered together, where a batch is not larger."""

LOSSES: Mapping[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}
"""Of the error in standard deviations, by name: Huber's (1964) is half the square up to 1, from there on a line. With
quantiles there is ``pinball`` instead."""


class ForecastTask:
    """Learn from the windows of the training part, choose with those of the validation part.

    The loss is the mean over all targets that are known of the squared error, the absolute, Huber's, or, with
    quantiles, the mean of their pinball losses; in units of the targets' standard deviations. What forecast makes it
    least does not depend on the weights of the steps; how soon it is learned does.

    Args:
        train: windows to learn from, each once an epoch, in an order of the epoch's own.
        look: windows to choose the weights with; without any, or None, nothing is held out.
        batch_size: windows of a batch; an epoch's last batch has what is left.
        loss: one of :data:`LOSSES`, or ``pinball``.
        quantiles: what the model's outputs are, for ``pinball``.
        seed: fixes the orders.
        balanced: whether steps are weighed by :func:`balance`, so that what is soon is not lost beside what is far.

    Example:
        >>> from gatewise.data.table.preparation import Preparation, Roles
        >>> from gatewise.data.table.series_table import Series, SeriesTable
        >>> from gatewise.data.table.split import Split
        >>> series = Series("", np.arange(40.0)[:, None], None, np.arange(2, 42))
        >>> table = SeriesTable("made up", ("a",), ("a",), (series,), None)
        >>> made = Preparation.fitted(table, Roles(("a",), ("a",)), Split.parse("0.6,0.2,0.2")).encode(table)
        >>> task = ForecastTask(Windows(made, 4, 2, "train"), Windows(made, 4, 2, "validation"), batch_size=8)
        >>> [task.size(batch) for batch in task.batches(epoch=0)]
        [8, 8, 3]
    """

    unit = "samples"

    def __init__(
        self, train: Windows, look: Windows | None, batch_size: int, loss: str = "mse", quantiles: Sequence[float] = (),
        seed: int = 0, balanced: bool = False,
    ) -> None:  # fmt: skip
        self.train, self.look = train, look if look is not None and len(look) else None
        self.batch_size, self._loss, self._seed = batch_size, loss, seed
        self._quantiles = torch.tensor(quantiles)
        self._weights = balance(train).reshape(-1, 1, 1) if balanced else None
        # Of these parts alone: nothing of the test part, not even whether it has gaps, is to touch a weight's last bit.
        self._complete = all(windows.targets_are_complete for windows in (train, self.look) if windows is not None)
        self.loss_unit = f"{loss}, standardised"

    def batches(self, epoch: int) -> Sequence[Batch]:
        """The epoch's batches."""
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + epoch) % (1 << 63))
        order = torch.randperm(len(self.train), generator=generator)
        size = self.batch_size

        def gathered(places: range) -> list[Batch]:
            return self.train.batches(order[places.start * size : places.stop * size], size)

        together = max(1, _GATHERED // (size * self.train.numbers_a_window))
        return InGroups(range(math.ceil(len(order) / size)), gathered, together)

    def size(self, batch: Batch) -> int:
        """Windows in a batch."""
        return batch.targets.shape[1]

    def loss(self, model: nn.Module, batch: Batch, state: None = None, share: float = 1.0) -> tuple[Tensor, None]:
        """Mean loss of the targets that are known."""
        predicted = model(batch.past, batch.history, batch.known, share, batch.targets)
        return self.error(predicted, batch.targets), None

    def error(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of forecasts (H, B, k, q) of targets (H, B, k), of which NaN ones are not counted."""
        if self._complete and self._weights is None and self._loss != "pinball":
            return LOSSES[self._loss](middle(predicted), targets)
        truth = targets if self._complete else targets.nan_to_num()
        if self._loss == "pinball":
            losses = pinball(truth.unsqueeze(-1), predicted, self._quantiles).mean(-1)
        else:
            losses = LOSSES[self._loss](middle(predicted), truth, reduction="none")
        weights = torch.ones_like(losses) if self._weights is None else self._weights.expand_as(losses)
        if not self._complete:
            weights = weights * ~targets.isnan()
        return (losses * weights).sum() / weights.sum().clamp(min=1e-9)

    def held_out(self, model: nn.Module) -> dict[str, float]:
        """The loss on the validation part; NaN where there is none."""
        seen = self.looked_at(model)
        return {"loss": float("nan") if seen is None else self.error(*seen).item()}

    def looked_at(self, model: nn.Module) -> tuple[Tensor, Tensor] | None:
        """Forecasts (H, B, k, q) and targets (H, B, k) of the validation part; None where there is none."""
        if self.look is None:
            return None
        batches = map(self.look.batch, in_parts(_spread(len(self.look)), self.look.lookback))
        pairs = [(predicted_by(model, batch), batch.targets) for batch in batches]
        predicted, targets = (torch.cat(parts, 1) for parts in zip(*pairs, strict=True))
        return predicted, targets

    def figures(self, loss: float) -> Mapping[str, float]:
        return {}


def balance(windows: Windows) -> Tensor:
    """A weight for each step of the horizon, 1 over the root mean squared error of the last value as its forecast;
    their mean is 1. Of a thousand windows, evenly spread."""
    numbers = _spread(len(windows))
    total, count = torch.zeros(windows.horizon), torch.zeros(windows.horizon)
    for batch in map(windows.batch, in_parts(numbers, windows.lookback)):
        squares = (batch.targets - batch.history[-1:]).square()
        total += squares.nansum((1, 2))
        count += (~squares.isnan()).sum((1, 2))
    errors = (total / count.clamp(min=1)).sqrt()
    usable = errors > 0
    if not usable.any():  # a target that never moves
        return torch.ones(windows.horizon)
    weights = 1 / torch.where(usable, errors, errors[usable].min())
    return weights / weights.mean()


def _spread(count: int) -> np.ndarray:
    return np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(int)


def predicted_by(model: nn.Module, batch: Batch) -> Tensor:
    """The forecasts (H, B, k, q) of windows, as the model gives them when it does not train."""
    training = model.training
    model.eval()
    with torch.inference_mode():
        predicted = model(batch.past, batch.history, batch.known)
    model.train(training)
    return predicted


def in_parts(numbers: np.ndarray, lookback: int) -> Iterator[np.ndarray]:
    """Of so many windows as are predicted together.

    >>> [len(part) for part in in_parts(np.arange(200), lookback=720)]
    [91, 91, 18]
    """
    count = min(AT_ONCE, max(1, _STEPS_AT_ONCE // lookback))
    return (numbers[start : start + count] for start in range(0, len(numbers), count))


@dataclass(frozen=True)
class Forecasts:
    """What was forecast for windows, in standard deviations of the targets.

    Attributes:
        origins: (N, 2), the series and the row in it of the last value that was known.
        truth: (H, N, k), NaN where it is unknown.
        predicted: (H, N, k, q).
        baselines: the forecasts without learning by name, (H, N, k) each.
    """

    origins: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray
    baselines: Mapping[str, np.ndarray]

    @property
    def point(self) -> np.ndarray:
        """(H, N, k), the one forecast that stands for all of a value."""
        return self.predicted[..., self.predicted.shape[-1] // 2]

    def every(self, stride: int) -> Forecasts:
        """Those of every so manieth window."""
        thinned = {name: values[:, ::stride] for name, values in self.baselines.items()}
        return Forecasts(self.origins[::stride], self.truth[:, ::stride], self.predicted[:, ::stride], thinned)


def forecast_all(
    model: nn.Module, windows: Windows, season: int, stride: int = 1, progress: Callable[[int], None] | None = None
) -> Forecasts:
    """The forecasts of every ``stride``-th window, and those without learning beside them.

    Args:
        model: one of :data:`gatewise.layers.forecasting.FORECASTING`.
        windows: what to forecast.
        season: steps of a season. A longer one than the windows look back on is looked up in the series itself.
        stride: from one window that is forecast to the next.
        progress: called with the number of windows just forecast.
    """
    return gathered(lambda _, batch: predicted_by(model, batch), windows, season, stride, progress)


def gathered(
    predict: Callable[[np.ndarray, Batch], Tensor], windows: Windows, season: int, stride: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Forecasts:  # fmt: skip
    """As :func:`forecast_all`, with forecasts by ``predict`` of windows' numbers and these windows."""
    numbers = np.arange(0, len(windows), stride)
    horizon, found = windows.horizon, Gathered(len(numbers), axis=1)
    begins = windows.encoded.filled.first_observed(windows.encoded.preparation.target_places)
    for some in in_parts(numbers, windows.lookback):
        batch = windows.batch(some)
        ends, steps = _since(begins, windows, some, batch)
        found.put(
            truth=batch.targets,
            predicted=predict(some, batch),
            naive=naive(batch.history, horizon),
            seasonal_naive=seasonal_naive(_past(windows, some, batch, season), horizon, season),
            drift=drift(ends, horizon, steps=steps),
        )
        if progress is not None:
            progress(len(some))
    baselines = {name: found[name] for name in BASELINES}
    return Forecasts(windows.origins_of(numbers), found["truth"], found["predicted"], baselines)


def _since(begins: np.ndarray, windows: Windows, numbers: np.ndarray, batch: Batch) -> tuple[Tensor, Tensor]:
    """The targets' first observation and their last value (2, B, k), and the steps between (B, k).

    Of the whole series, and not of the lookback: a line through two values that stand close is a poor forecast.
    """
    last = windows.rows(numbers)[:, None]
    first = np.minimum(begins[windows.origins_of(numbers)[:, 0]], last)  # nothing observed yet: no line
    values, places = windows.encoded.filled.values, windows.encoded.preparation.target_places
    begin = torch.from_numpy(values[first, places])
    steps = torch.from_numpy(last - first)
    present = batch.history[-1]
    return torch.stack([torch.where(steps > 0, begin, present), present]), steps


def _past(windows: Windows, numbers: np.ndarray, batch: Batch, season: int) -> Tensor:
    """The targets' past, a season of it at least; NaN where the series had not begun."""
    if season <= windows.lookback:
        return batch.history
    rows = windows.rows(numbers) + np.arange(1 - season, 1)[:, None]
    begins = np.array(windows.encoded.starts)[windows.origins_of(numbers)[:, 0]]
    past = windows.encoded.history(np.maximum(rows, begins))
    return torch.from_numpy(np.where((rows < begins)[..., None], np.float32(np.nan), past))
