"""The loop as a whole: looks, patience, which weights are kept, what is reported, what stops it."""

import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gatewise import LanguageModel
from gatewise.errors import UserError
from gatewise.tasks import TextTask
from gatewise.training import Source, learner, load_text_run, text_settings, train_text
from gatewise.training.checkpoint import read_about, read_tensors
from gatewise.training.fit import Journal
from gatewise.training.schedule import Position


def settings_of(**chosen: Any):
    plain: dict[str, Any] = {"hidden": 8, "batch": 4, "steps": 8, "epochs": 2, "threads": 1, "lr": 0.02}
    return text_settings(**plain | chosen)


@pytest.fixture
def steps(monkeypatch):
    """(loss, weights before the step) of every step."""
    seen, step = [], learner.TorchLearner.step

    def watched(self, batch, lr, share):
        before = {name: tensor.clone() for name, tensor in self.model().state_dict().items()}
        loss = step(self, batch, lr, share)
        seen.append((loss, before))
        return loss

    monkeypatch.setattr(learner.TorchLearner, "step", watched)
    return seen


@pytest.fixture
def looks(monkeypatch):
    """``looks([3.0, 2.0])`` scripts the held-out estimates; gives the weights at each look."""

    def scripted(estimates):
        answers, weights = iter(estimates), []

        def quick_loss(self, model):
            weights.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            return next(answers)

        monkeypatch.setattr(TextTask, "quick_loss", quick_loss)
        return weights

    return scripted


def same(weights, others):
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def test_training_perplexity_is_that_of_the_last_epoch(steps, tmp_path, text_file):
    _, summary = train_text(Source(text_file), settings_of(epochs=3), tmp_path / "run")
    assert len(steps) == summary["steps"]
    assert len(steps) % 3 == 0
    last = [loss for loss, _ in steps[-len(steps) // 3 :]]
    assert summary["train_loss"] == pytest.approx(sum(last) / len(last), rel=1e-12)
    assert summary["train_perplexity"] == pytest.approx(math.exp(sum(last) / len(last)), rel=1e-12)


def test_every_epoch_is_whole_whatever_its_offset(tmp_path, text_file, monkeypatch):
    starts, start_epoch = [], learner.TorchLearner.start_epoch
    monkeypatch.setattr(learner.TorchLearner, "start_epoch", lambda self: starts.append(1) or start_epoch(self))
    for size in (700, 703, 706, 709, 712):  # 64 tokens a batch: some offsets cost one, some do not
        starts.clear()
        settings = settings_of(train_tokens=size, batch=8, epochs=5, hidden=4)
        run, summary = train_text(Source(text_file), settings, tmp_path / str(size))
        journal = read_about(run.last_file)[0]["journal"]
        assert (journal["position"]["epoch"], journal["position"]["batch"]) == (5, 0)
        assert len(starts) == 5
        assert summary["steps"] % 5 == 0


def test_heldout_loss_counts_every_token_once(tmp_path, text_file):
    run, summary = train_text(Source(text_file), settings_of(cell="lstm"), tmp_path / "run")
    trained = load_text_run(run.folder)
    text = text_file.read_text()
    cut = len(text) - int(len(text) * 0.1)
    losses, state = [], None
    with torch.no_grad():
        for seen, wanted in zip(text[cut - 1 : -1], text[cut:], strict=True):
            logits, state = trained.model(trained.tokenizer.encode(seen).view(1, 1), state)
            losses.append(F.cross_entropy(logits[0], trained.tokenizer.encode(wanted)).item())
    assert len(losses) == len(text) - cut
    assert summary["heldout_loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert summary["heldout_perplexity"] == pytest.approx(math.exp(summary["heldout_loss"]))


@pytest.mark.parametrize("keep", ["best", "last"])
def test_which_weights_are_kept(keep, tmp_path, text_file, looks):
    weights = looks([3.0, 2.0, 2.5, 1.9, 2.2])
    settings = settings_of(evaluations=5, keep=keep)
    run, _ = train_text(Source(text_file), settings, tmp_path / "run")
    assert len(weights) == 5
    kept = read_tensors(run.weights_file)
    assert same(kept, weights[3]) == (keep == "best")
    assert same(kept, weights[4]) == (keep == "last")
    assert same(read_tensors(run.best_file), weights[3])
    assert [float(row["heldout_loss"]) for row in run.read_metrics()] == [3.0, 2.0, 2.5, 1.9, 2.2]


def test_patience(tmp_path, text_file, looks):
    weights = looks([3.0, 2.0, 2.0, 2.5, 2.1, 1.0])  # no better than the best is not better
    settings = settings_of(evaluations=10, patience=3)
    run, summary = train_text(Source(text_file), settings, tmp_path / "run")
    assert len(weights) == 5
    assert same(read_tensors(run.weights_file), weights[1])
    rows = run.read_metrics()
    assert summary["steps"] == int(rows[-1]["step"])
    assert len(rows) == 5


def test_a_gain_gives_patience_anew(tmp_path, text_file, looks):
    weights = looks([3.0, 4.0, 2.0, 4.0, 1.0, 4.0, 0.9, 4.0, 4.0, 0.5])
    train_text(Source(text_file), settings_of(evaluations=10, patience=2), tmp_path / "run")
    assert len(weights) == 9


def test_nothing_held_out(tmp_path, text_file):
    run, summary = train_text(Source(text_file), settings_of(heldout=0.0), tmp_path / "run")
    assert summary["heldout_loss"] is summary["heldout_perplexity"] is None
    assert json.loads(run.summary_file.read_text()) == summary
    assert not run.best_file.exists()
    assert same(read_tensors(run.weights_file), load_text_run(run.folder).model.state_dict())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_good_weights(
    bad, keep, steps, tmp_path, text_file, monkeypatch
):
    loss = TextTask.loss

    def turning_bad(self, model, batch, state, share):
        value, state = loss(self, model, batch, state, share)
        return (value * bad if len(steps) == 20 else value), state

    monkeypatch.setattr(TextTask, "loss", turning_bad)
    settings = settings_of(keep=keep, evaluations=3 if keep == "last" else 30)
    with pytest.raises(UserError, match="loss became") as caught:
        train_text(Source(text_file), settings, tmp_path / "run")
    assert f"{tmp_path / 'run'}: " in str(caught.value)
    assert "step 21" in str(caught.value)
    assert "--lr" in str(caught.value)
    kept = load_text_run(tmp_path / "run")
    if keep == "last":
        assert same(kept.model.state_dict(), steps[19][1])
    assert len("".join(kept.generate("the", 20))) == 20
    assert not (tmp_path / "run" / "summary.json").exists()
    assert not (tmp_path / "run" / "lock.pid").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--cell", "rnn-relu", "--optimizer", "sgd", "--lr", "1e20", "--clip", 0),
        ("--engine", "numpy", "--lr", "9e37", "--clip", 0),
    ],
    ids=["rnn-relu", "numpy"],
)
def test_a_learning_rate_beyond_all_measure(options, tmp_path, text_file, gatewise_):
    run = tmp_path / "run"
    answer = gatewise_("train", "text", text_file, *options, "--hidden", 8, "--epochs", 2, "--threads", 1, "--out", run)
    assert answer.code == 2
    assert answer.out == ""
    errors = [line for line in answer.err.splitlines() if line.startswith("gatewise: ") and "native kernel" not in line]
    assert len(errors) == 1
    assert errors[0].startswith(f"gatewise: {run}: the ")
    assert "Warning" not in answer.err
    assert all(tensor.isfinite().all() for tensor in read_tensors(run / "weights.safetensors").values())
    answer = gatewise_("generate", run, "--length", 20)
    assert answer.code == 0, answer


def test_a_loss_too_large_for_a_perplexity(tmp_path, text_file, gatewise_):
    """exp(loss) overflows: null in the summary, ``inf`` on the screen, no traceback."""
    options = ("--optimizer", "sgd", "--lr", "1e5", "--clip", 0, "--json", "--cell", "gru", "--epochs", 1)
    plain = ("--hidden", 12, "--batch", 4, "--steps", 8, "--threads", 1)
    answer = gatewise_("train", "text", text_file, *plain, *options, "--out", tmp_path / "run")
    assert answer.code == 0, answer
    summary = json.loads(answer.out.splitlines()[-1])
    assert summary["train_loss"] > 710
    assert summary["train_perplexity"] is None
    assert "perplexity inf" in answer.out
    answer = gatewise_("evaluate", tmp_path / "run", "--json")
    assert json.loads(answer.out)["perplexity"] is None


def test_the_optimizer_decays_matrices_alone(tmp_path, text_file, monkeypatch):
    seen = {}
    own = learner.AdamW

    def watched(groups, *args, **more):
        seen["groups"] = groups
        return own(groups, *args, **more)

    monkeypatch.setattr(learner, "AdamW", watched)
    settings = settings_of(weight_decay=0.3, embedding=4, epochs=1)
    train_text(Source(text_file), settings, tmp_path / "run")
    assert all(p.dim() > 1 for p in seen["groups"][0]["params"])
    assert all(p.dim() == 1 for p in seen["groups"][1]["params"])
    assert seen["groups"][1]["weight_decay"] == 0.0
    model = LanguageModel(28, "gru", 8, embedding_size=4)
    assert sum(len(g["params"]) for g in seen["groups"]) == len(list(model.parameters()))


def test_a_journal_survives_its_file():
    journal = Journal.for_epochs_of(5)
    journal.recent.extend([4.0, 3.0, 2.5, 2.0, 1.5, 1.25])
    journal.position = Position(epoch=3, batch=2, step=17, units=544, seconds=0.1)
    journal.rows, journal.best_loss, journal.looks, journal.since_best = [{"step": 3, "lr": 0.1}], 1.75, 4, 2
    read = Journal.from_dict(json.loads(json.dumps(journal.to_dict())))
    assert read == journal
    assert read.recent.maxlen == 5
    assert read.train_loss() == pytest.approx((3.0 + 2.5 + 2.0 + 1.5 + 1.25) / 5)
    fresh = Journal.from_dict(json.loads(json.dumps(Journal().to_dict())))
    assert fresh == Journal()  # the best loss so far is infinity
    assert math.isnan(fresh.train_loss())


@pytest.mark.slow
def test_the_book_s_gru_reaches_the_book_s_perplexity(corpora, tmp_path):
    """Five hundred epochs, some minutes: the book says 1.0 for a library GRU."""
    _, summary = train_text(Source(corpora / "timemachine.txt"), text_settings("d2l", threads=2), tmp_path / "run")
    assert summary["steps"] == 4000
    assert summary["train_perplexity"] <= 1.1
    assert summary["heldout_perplexity"] > 1.5 * summary["train_perplexity"]
