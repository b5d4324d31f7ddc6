"""Regression: the linear baselines against their closed form, what is chosen by, what stands beside."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from made_up_tables import random_values, table_of  # type: ignore[import-not-found]

from gatewise.data.table.preparation import Preparation, Roles
from gatewise.data.table.split import Split
from gatewise.data.table.windows import Windows
from gatewise.tasks import regress
from gatewise.tasks.regress import Linear, RegressTask, baselines, predict_all

ROLES, W = Roles(("c", "d"), ("a", "b")), 3


def windows(part="train", gaps=0.0, roles=ROLES, lookback=W, policy="mask"):
    values = [random_values(n, 40, 4, gaps) for n in range(2)]
    for one in values:
        one[:, :2] = random_values(int(one[0, 0]) + 99, 40, 2, 0.0)
    preparation = Preparation.fitted(
        table_of(*values), roles, Split.parse("0.5,0.25,0.25"), "mask" if gaps else "error"
    )
    return Windows(preparation.encode(table_of(*values)), lookback, part=part, same_step=True)


def slow_ridge(rows, truth):
    """min |y − Xβ − b|² + |β|²: the constant is not punished."""
    known = ~np.isnan(truth)
    rows, truth = rows[known], truth[known]
    x, y = rows - rows.mean(0), truth - truth.mean()
    beta = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
    return beta, truth.mean() - rows.mean(0) @ beta


@pytest.mark.parametrize("gaps", [0.0, 0.3])
@pytest.mark.parametrize("steps", [1, W])
def test_linear_baselines_are_ridge_regressions_on_the_training_windows(steps, gaps):
    train = windows(gaps=gaps)
    batch = train.batch(range(len(train)))
    rows = batch.past.double().numpy()[-steps:].swapaxes(0, 1).reshape(len(train), -1)
    linear = Linear.fitted(train, steps)
    for place in range(2):
        beta, intercept = slow_ridge(rows, batch.targets[0, :, place].double().numpy())
        np.testing.assert_allclose(linear.coefficients[place], beta, atol=1e-8)
        np.testing.assert_allclose(linear.intercepts[place], intercept, atol=1e-8)
    np.testing.assert_allclose(linear(batch.past.numpy()), rows @ linear.coefficients.T + linear.intercepts, atol=1e-6)


def test_a_target_that_is_nowhere_known_gets_its_mean():
    train = windows(gaps=0.3)
    train.encoded.filled.last[:, train.encoded.filled.gappy[3]] = -1
    linear = Linear.fitted(train, 1)
    assert not linear.coefficients[1].any()
    assert linear.intercepts[1] == 0


def test_of_many_windows_some_are_enough(monkeypatch):
    train = windows()
    monkeypatch.setattr(regress, "MOST_NUMBERS", 2 * 2 * W * 5)
    few = Linear.fitted(train, W)
    batch = train.batch(np.linspace(0, len(train) - 1, 10).astype(int))
    rows = batch.past.double().numpy().swapaxes(0, 1).reshape(10, -1)
    beta, _ = slow_ridge(rows, batch.targets[0, :, 0].double().numpy())
    np.testing.assert_allclose(few.coefficients[0], beta, atol=1e-8)


class Sum(nn.Module):
    """The sum of the last step's inputs, and of the first's, in a form that a model of regression has."""

    def forward(self, past, *beside):
        return torch.stack([past[-1].sum(-1), past[0].sum(-1)], -1)[None, :, :, None]


@pytest.mark.parametrize(("gaps", "policy"), [(0.0, "error"), (0.3, "mask"), (0.3, "drop"), (0.3, "interpolate")])
def test_what_stands_beside_is_of_the_same_windows(gaps, policy, monkeypatch):
    monkeypatch.setattr("gatewise.tasks.forecast.AT_ONCE", 7)
    monkeypatch.setattr(regress, "AT_ONCE", 7)
    train, test = windows(gaps=gaps, policy=policy), windows("all", gaps, policy=policy)
    counted = []
    found = predict_all(Sum(), test, baselines(train), counted.append)
    assert sum(counted) == len(test) == len(found.truth) == 2 * (40 - W + 1)
    batch = test.batch(range(len(test)))
    np.testing.assert_allclose(found.predicted[:, 1], batch.past[0].sum(-1), atol=1e-6)
    np.testing.assert_array_equal(found.truth, batch.targets[0])
    np.testing.assert_array_equal(found.origins, test.origins)
    assert not found.baselines["training_mean"].any()
    for name, steps in (("linear_last_step", 1), ("linear_window", W)):
        np.testing.assert_allclose(found.baselines[name], Linear.fitted(train, steps)(batch.past.numpy()), atol=1e-6)
    truth = test.encoded.targets(np.arange(80)).reshape(2, 40, 2)
    for (series, row), previous in zip(found.origins, found.baselines["previous_value"], strict=True):
        for place in range(2):
            before = [value for value in truth[series, :row, place] if not np.isnan(value)]
            assert previous[place] == (before[-1] if before else 0)


def test_the_first_row_of_a_series_has_none_before():
    train = windows(lookback=1)
    found = predict_all(Sum(), windows("all", lookback=1), baselines(train))
    assert "linear_window" not in found.baselines
    assert not found.baselines["previous_value"][[0, 40]].any()
    np.testing.assert_array_equal(found.baselines["previous_value"][41], found.truth[40])


def test_weights_are_chosen_by_the_geometric_mean_of_the_targets_losses():
    train, look = windows(gaps=0.2), windows("validation", gaps=0.2)
    task = RegressTask(train, look, 8)
    batch = look.batch(range(len(look)))
    off = (Sum()(batch.past)[0, :, :, 0] - batch.targets[0]).double().numpy() ** 2
    losses = np.nanmean(off, 0)
    found = task.held_out(Sum())
    assert found["loss"] == pytest.approx(np.sqrt(losses.prod()), rel=1e-5)
    assert found["mean"] == pytest.approx(losses.mean(), rel=1e-5)
    look.encoded.filled.last[:, look.encoded.filled.gappy[3]] = -1  # the second target is nowhere known
    assert task.held_out(Sum())["loss"] == pytest.approx(losses[0], rel=1e-5)
    look.encoded.filled.last[:, look.encoded.filled.gappy[2]] = -1
    assert np.isnan(task.held_out(Sum())["loss"])
    assert np.isnan(RegressTask(train, None, 8).held_out(Sum())["loss"])
