"""The forecasting task: its losses against NumPy, its batches, its look, forecasts without learning beside it."""

import numpy as np
import pytest
import torch
from torch import nn

from gatewise.data.table.encoded import Encoded
from gatewise.data.table.preparation import Preparation, Roles
from gatewise.data.table.series_table import Series, SeriesTable
from gatewise.data.table.split import Split
from gatewise.data.table.windows import Batch, Windows
from gatewise.tasks import forecast
from gatewise.tasks.forecast import LOSSES, ForecastTask, balance, forecast_all


def series_of(key: str, steps: int, seed: int) -> Series:
    values = np.random.default_rng(seed).standard_normal((steps, 3)).cumsum(0)
    values[[0, 1, 5, steps - 2], 1] = np.nan
    return Series(key, values, None, np.arange(2, steps + 2))


@pytest.fixture
def encoded() -> Encoded:
    """Two series of which the columns b and c are forecast; four values of b are missing in each, the first two too."""
    table = SeriesTable(
        "made up", ("a", "b", "c"), ("a", "b", "c"), (series_of("x", 50, 1), series_of("y", 40, 2)), None
    )
    roles = Roles(("b", "c"), ("a", "b", "c"))
    return Preparation.fitted(table, roles, Split.parse("0.6,0.2,0.2"), "interpolate").encode(table)


class Guess(nn.Module):
    """The last value of every target, and some noise while training; counts how often it is called."""

    def __init__(self, horizon: int, outputs: int = 1) -> None:
        super().__init__()
        self.horizon, self.outputs, self.calls = horizon, outputs, 0
        self.noise = nn.Dropout(0.5)

    def forward(self, past, history, known, share=1.0, targets=None):
        self.calls += 1
        last = self.noise(history[-1:]).expand(self.horizon, -1, -1)
        return torch.stack([last + j for j in range(self.outputs)], -1)


def by_hand(loss: str, quantiles: tuple[float, ...], predicted: np.ndarray, truth: np.ndarray) -> float:
    total, count = 0.0, 0
    for place in np.ndindex(truth.shape):
        if np.isnan(truth[place]):
            continue
        outputs = predicted[place].astype(float)
        error = truth[place] - outputs[len(outputs) // 2]
        count += 1
        if loss == "pinball":
            parts = [q * (truth[place] - o) if truth[place] > o else (1 - q) * (o - truth[place])
                     for q, o in zip(quantiles, outputs, strict=True)]  # fmt: skip
            total += sum(parts) / len(parts)
        elif loss == "huber":
            total += error**2 / 2 if abs(error) < 1 else abs(error) - 0.5
        else:
            total += error**2 if loss == "mse" else abs(error)
    return total / count


@pytest.mark.parametrize("loss", [*LOSSES, "pinball"])
def test_the_loss_is_the_mean_over_what_is_known(encoded, loss):
    quantiles = (0.1, 0.5, 0.8) if loss == "pinball" else ()
    windows = Windows(encoded, 4, 3, "train")
    task = ForecastTask(windows, None, 8, loss, quantiles)
    batch = windows.batch(range(8))
    assert batch.targets.isnan().any()
    model = Guess(3, len(quantiles) or 1).eval()
    found, state = task.loss(model, batch)
    predicted = model(batch.past, batch.history, batch.known).numpy()
    assert state is None
    assert found.item() == pytest.approx(by_hand(loss, quantiles, predicted, batch.targets.numpy()), rel=1e-5)


def same(one: Batch, other: Batch) -> bool:
    """To the bit, and laid out alike, so that what is computed of them is the same to the bit too."""
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(a.stride() == b.stride() and torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0)) for a, b in pairs)


@pytest.mark.parametrize("room", [1, 500, 1 << 19], ids=["one at a time", "a few", "all"])
def test_batches_gathered_together_are_those_gathered_one_by_one(encoded, room, monkeypatch):
    monkeypatch.setattr("gatewise.tasks.forecast._GATHERED", room)
    train = Windows(encoded, 4, 3, "train")
    batches = ForecastTask(train, None, 8, seed=1).batches(2)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(1_000_003 + 2))
    wanted = [train.batch(numbers) for numbers in order.split(8)]
    assert len(batches) == len(wanted) > 5
    assert len(wanted[-1].targets[0]) == len(train) % 8 != 0
    for found in (list(batches), [batches[i] for i in range(len(batches))], [batches[0], *batches[1:3], *batches[3:]]):
        assert all(same(one, other) for one, other in zip(found, wanted, strict=True))
    assert same(batches[-1], wanted[-1])
    with pytest.raises(IndexError):
        batches[len(wanted)]


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("loss", [*LOSSES, "pinball"])
def test_the_loss_of_targets_that_are_all_known(loss, balanced):
    series = Series("", np.random.default_rng(3).standard_normal((30, 2)).cumsum(0), None, np.arange(2, 32))
    table = SeriesTable("made up", ("a", "b"), ("a", "b"), (series,), None)
    made = Preparation.fitted(table, Roles(("a", "b"), ("a", "b")), Split.parse("0.6,0.2,0.2"))
    quantiles = (0.1, 0.5, 0.8) if loss == "pinball" else ()
    windows = Windows(made.encode(table), 4, 3, "train")
    batch = windows.batch(range(8))
    predicted = Guess(3, len(quantiles) or 1)(batch.past, batch.history, batch.known)
    weights = balance(windows) if balanced else torch.ones(3)
    steps = [by_hand(loss, quantiles, predicted[[h]].numpy(), batch.targets[[h]].numpy()) for h in range(3)]
    wanted = np.average(steps, weights=weights)
    found = ForecastTask(windows, None, 8, loss, quantiles, balanced=balanced).error(predicted, batch.targets)
    assert found.item() == pytest.approx(wanted, rel=1e-5)


def test_gaps_in_the_test_part_leave_every_bit_of_the_loss_as_it_is():
    values, found = np.random.default_rng(3).standard_normal((60, 2)).cumsum(0), []
    for gap in (False, True):
        given = values.copy()
        given[-5:, 1] = np.nan if gap else given[-5:, 1]
        series = Series("", given, None, np.arange(2, 62))
        table = SeriesTable("made up", ("a", "b"), ("a", "b"), (series,), None)
        made = Preparation.fitted(table, Roles(("a", "b"), ("a", "b")), Split.parse("0.6,0.2,0.2"), "mask").encode(
            table
        )
        train, look, test = (Windows(made, 4, 3, part) for part in ("train", "validation", "test"))
        assert [windows.targets_are_complete for windows in (train, look, test)] == [True, True, not gap]
        task = ForecastTask(train, look, 8, balanced=True)
        batch = train.batch(range(8))
        predicted = batch.history[-1:, ..., None].expand(3, -1, -1, -1).clone().requires_grad_()
        loss = task.error(predicted, batch.targets)
        found.append((loss, *torch.autograd.grad(loss, predicted)))
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize(
    ("row", "complete"), [(20, [False, True, True]), (40, [True, False, True]), (57, [True, True, False])]
)
def test_a_gap_counts_in_the_part_in_which_it_is(row, complete):
    values = np.random.default_rng(3).standard_normal((60, 1)).cumsum(0)
    values[row] = np.nan
    table = SeriesTable("made up", ("a",), ("a",), (Series("", values, None, np.arange(2, 62)),), None)
    made = Preparation.fitted(table, Roles(("a",), ("a",)), Split.parse("0.6,0.2,0.2"), "mask").encode(table)
    train, look, test = (Windows(made, 4, 3, part) for part in ("train", "validation", "test"))
    assert [windows.targets_are_complete for windows in (train, look, test)] == complete
    batch = look.batch(range(len(look)))
    wanted = by_hand("mse", (), batch.history[-1:, ..., None].expand(3, -1, -1, -1).numpy(), batch.targets.numpy())
    assert ForecastTask(train, look, 8).held_out(Guess(3))["loss"] == pytest.approx(wanted, rel=1e-5)


def test_steps_weigh_by_what_is_expected_of_them(encoded):
    windows = Windows(encoded, 4, 5, "train")
    batch = windows.batch(range(len(windows)))
    errors = np.sqrt(np.nanmean((batch.targets - batch.history[-1]).numpy() ** 2, (1, 2)))
    weights = 1 / errors / (1 / errors).mean()
    assert (np.diff(weights) < 0).all()  # these series wander
    np.testing.assert_allclose(balance(windows).numpy(), weights, rtol=1e-5)
    task = ForecastTask(windows, None, 8, "mae", balanced=True)
    predicted = Guess(5).eval()(batch.past, batch.history, batch.known)
    absolute = np.abs(predicted[..., 0].numpy() - batch.targets.numpy()) * weights[:, None, None]
    known = ~np.isnan(batch.targets.numpy()) * weights[:, None, None]
    assert task.error(predicted, batch.targets).item() == pytest.approx(np.nansum(absolute) / known.sum(), rel=1e-5)


def test_targets_that_never_move_weigh_all_the_same():
    series = Series("", np.ones((30, 1)), None, np.arange(2, 32))
    table = SeriesTable("made up", ("a",), ("a",), (series,), None)
    made = Preparation.fitted(table, Roles(("a",), ("a",)), Split.parse("0.6,0.2,0.2"))
    assert torch.equal(balance(Windows(made.encode(table), 4, 3, "train")), torch.ones(3))


def test_a_batch_in_which_nothing_is_known_teaches_nothing(encoded):
    task = ForecastTask(Windows(encoded, 4, 3, "train"), None, 8)
    weight = torch.ones(3, 2, 2, 1, requires_grad=True)
    task.error(weight, torch.full((3, 2, 2), torch.nan)).backward()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_every_window_comes_once_an_epoch_and_an_epoch_is_the_same_whenever_it_is_asked_for(encoded):
    windows = Windows(encoded, 4, 3, "train")
    task, again = (ForecastTask(windows, None, 8, seed=5) for _ in range(2))
    everything = windows.batch(range(len(windows))).past

    def marks(batches) -> list[float]:
        return [mark for batch in batches for mark in batch.past[:, :, 0].double().sum(0).tolist()]

    assert sorted(marks(task.batches(3))) == sorted(everything[:, :, 0].double().sum(0).tolist())
    assert marks(task.batches(3)) == marks(again.batches(3))
    assert marks(task.batches(3)) != marks(task.batches(4))
    assert marks(task.batches(3)[1:]) == marks(task.batches(3))[8:]
    assert [task.size(batch) for batch in task.batches(0)] == [8] * (len(windows) // 8) + [len(windows) % 8]


def test_the_look_is_of_the_validation_part_and_leaves_no_trace(encoded, monkeypatch):
    monkeypatch.setattr(forecast, "AT_ONCE", 2)
    look = Windows(encoded, 4, 3, "validation")
    task = ForecastTask(Windows(encoded, 4, 3, "train"), look, 8, "mae")
    model, state = Guess(3), torch.get_rng_state()
    found = task.held_out(model)
    assert model.training
    assert model.calls == -(-len(look) // 2)
    assert torch.equal(torch.get_rng_state(), state)
    batch: Batch = look.batch(range(len(look)))
    predicted = model.eval()(batch.past, batch.history, batch.known).numpy()
    assert found == {"loss": pytest.approx(by_hand("mae", (), predicted, batch.targets.numpy()), rel=1e-5)}
    assert np.isnan(ForecastTask(look, None, 8).held_out(model)["loss"])


def test_a_long_validation_part_is_looked_at_here_and_there(encoded, monkeypatch):
    monkeypatch.setattr(forecast, "_LOOKED_AT", 3)
    look = Windows(encoded, 4, 3, "validation")
    chosen = []
    monkeypatch.setattr(look, "batch", lambda numbers: chosen.extend(numbers) or Windows.batch(look, numbers))
    ForecastTask(look, look, 8).held_out(Guess(3))
    assert chosen == [0, (len(look) - 1) // 2, len(look) - 1]


@pytest.mark.parametrize("season", [3, 9])  # shorter and longer than what is looked back on
def test_every_forecast_stands_beside_those_without_learning(encoded, monkeypatch, season):
    monkeypatch.setattr(forecast, "AT_ONCE", 3)
    windows, horizon = Windows(encoded, 5, 4, "test"), 4
    found = forecast_all(Guess(horizon, 3), windows, season)
    np.testing.assert_array_equal(found.origins, windows.origins)
    assert found.point.shape == found.truth.shape == (horizon, len(windows), 2)
    for n, (series, origin) in enumerate(windows.origins):
        row = encoded.starts[series] + origin
        past = encoded.history(np.arange(row - 11, row + 1)[:, None])[:, 0]  # as it is seen at the origin
        for h in range(horizon):
            np.testing.assert_array_equal(found.truth[h, n], encoded.targets(np.array(row + 1 + h)))
            np.testing.assert_array_equal(found.point[h, n], past[-1] + 1)
            again = past[-season + h % season]
            first = encoded.starts[series] + np.array([2, 0])  # of b and of c
            begin = np.array([encoded.targets(np.array(first[k]))[k] for k in range(2)])
            line = past[-1] + (h + 1) * (past[-1] - begin) / (row - first)
            for name, expected in (("naive", past[-1]), ("seasonal_naive", again), ("drift", line)):
                np.testing.assert_allclose(found.baselines[name][h, n], expected, rtol=1e-5, atol=1e-6)


def test_no_line_is_drawn_to_what_is_still_to_come(encoded):
    windows = Windows(encoded, 1, 3, "all")
    found = forecast_all(Guess(3), windows, 1).baselines["drift"]
    for n, (_, origin) in enumerate(windows.origins):
        if origin <= 2:  # nothing of b was observed before row 2
            np.testing.assert_array_equal(found[:, n, 0], windows.batch([n]).history[-1, 0, 0].expand(3))
    assert np.isfinite(found).all()


def test_a_season_that_began_before_the_series_is_not_known(encoded):
    windows = Windows(encoded, 2, 3, "all")
    found = forecast_all(Guess(3), windows, season=6).baselines["seasonal_naive"]
    for n, (series, origin) in enumerate(windows.origins):
        for h in range(3):
            row = origin + 1 + h - 6
            start = encoded.starts[series]
            rows = np.arange(start, start + origin + 1)[:, None]
            expected = encoded.history(rows)[row, 0] if row >= 0 else np.full(2, np.nan)
            np.testing.assert_array_equal(found[h, n], expected)


def test_windows_can_be_left_out(encoded):
    windows, counted = Windows(encoded, 5, 4, "test"), []
    whole = forecast_all(Guess(4), windows, 2)
    thin = forecast_all(Guess(4), windows, 2, stride=2, progress=counted.append)
    assert sum(counted) == len(thin.origins) == -(-len(windows) // 2)
    again = whole.every(2)
    for one, other in ((thin.truth, again.truth), (thin.predicted, again.predicted), (thin.origins, again.origins)):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(thin.baselines["drift"], again.baselines["drift"])
