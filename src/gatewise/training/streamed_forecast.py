"""Forecasts from every origin after one reading of a series, from its beginning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gatewise.data.table.encoded import Encoded
from gatewise.data.table.preparation import Preparation
from gatewise.data.table.windows import Batch, Windows
from gatewise.errors import UserError
from gatewise.layers.forecasting import Anchored, Direct
from gatewise.tasks.forecast import Forecasts, gathered


def check_streamable(model: Anchored, preparation: Preparation) -> None:
    """Raise if a model must see a window at once, so that no reading from the beginning is the same.

    Raises:
        UserError: see above.
    """
    inner = model.model
    if not isinstance(inner, Direct):
        why = f"a model of the kind '{type(inner).__name__.lower()}' looks at a window at a time"
    elif inner.encoder.bidirectional:
        why = "it reads every window from its end too"
    elif model.normalise:
        why = "it standardises every window by itself"
    elif preparation.missing == "drop":
        why = "it was trained on windows without gaps, and a series from its beginning may have some"
    else:
        return
    raise UserError(f"--from-start: {why}; leave it out, or train with --model direct --normalise off")


def read_from_start(model: Anchored, encoded: Encoded, series: int) -> Tensor:
    """What the encoder puts out after each row of a series, (T, S), each row as it was seen in its own time."""
    rows = np.arange(encoded.starts[series], encoded.starts[series + 1])[None]
    past, history = (torch.from_numpy(part).transpose(0, 1) for part in (encoded.past(rows), encoded.history(rows)))
    assert isinstance(model.model, Direct)
    output, _ = model.model.encoder(model.model.encoder_input(past, history))
    return output[:, 0]


def forecast_from_start(
    model: Anchored, windows: Windows, season: int, progress: Callable[[int], None] | None = None
) -> Forecasts:
    """As :func:`gatewise.tasks.forecast.forecast_all`, from states that have seen the whole past of their series.

    Raises:
        UserError: the model must see a window at once.
    """
    check_streamable(model, windows.encoded.preparation)
    model.eval()
    with torch.inference_mode():
        states = torch.cat([read_from_start(model, windows.encoded, i) for i in range(len(windows.encoded.keys))])

    def predict(numbers: np.ndarray, batch: Batch) -> Tensor:
        with torch.inference_mode():
            return model.forecast_from(states[windows.rows(numbers)], batch.history, batch.known)

    return gathered(predict, windows, season, progress=progress)
