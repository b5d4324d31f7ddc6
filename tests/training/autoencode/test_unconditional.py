"""The model without a latent that an autoencoder is compared with: trained as it is, kept at its best, let go."""

import contextlib
import math
from dataclasses import replace

import pytest
import torch
from autoencoding import Killed, settings_of, trained

from gatewise.layers import SequenceDecoder, TokenEmission
from gatewise.tasks import UnconditionalTask
from gatewise.training import Watch
from gatewise.training import learner as learners
from gatewise.training.progress import Silent
from gatewise.training.sequence_source import prepare_sequences
from gatewise.training.unconditional import train_unconditional


def test_the_unconditional_model_learns_and_keeps_its_best_weights(files):
    """Trained alone, its loss is that of the words: it must come near the text's own uncertainty."""
    settings = settings_of("vae")
    prepared = prepare_sequences((files / "lines.txt").read_text(), settings)
    task = prepared.task
    torch.manual_seed(0)
    decoder = SequenceDecoder(TokenEmission(prepared.codec.size, 8), "gru", 24, 0, engine="eager")
    before = UnconditionalTask(task).held_out(decoder)["loss"]
    counted = []

    class Counting(Silent):
        def counting(self, what, total):
            counted.append((what, total))
            return super().counting(what, total)

    train_unconditional(decoder, task, settings, 60, Counting(), lambda: None)
    after = UnconditionalTask(task).held_out(decoder)["loss"]
    assert after < 0.75 * before
    assert counted == [("training the same decoder without a latent", 60)]

    def stop():
        raise Killed

    with pytest.raises(Killed):
        train_unconditional(decoder, task, settings, 60, Silent(), stop)


def test_the_unconditional_model_is_left_with_its_best_weights(files, monkeypatch):
    settings = settings_of("vae")
    prepared = prepare_sequences((files / "lines.txt").read_text(), settings)
    decoder = SequenceDecoder(TokenEmission(prepared.codec.size, 8), "gru", 6, 0, engine="eager")
    losses, seen = iter([3.0, 1.0, 2.0, 4.0]), []

    def held_out(self, model):
        seen.append(model.head.bias.detach().clone())
        return {"loss": next(losses)}

    monkeypatch.setattr(UnconditionalTask, "held_out", held_out)
    train_unconditional(decoder, prepared.task, settings, 20, Silent(), lambda: None)
    assert torch.equal(decoder.head.bias, seen[1])
    assert not torch.equal(seen[1], seen[3])
    losses, seen = iter([3.0, 1.0, 2.0, 4.0]), []
    train_unconditional(decoder, prepared.task, replace(settings, keep="last"), 20, Silent(), lambda: None)
    assert torch.equal(decoder.head.bias, seen[3])  # the last look is after the last step


@pytest.mark.parametrize("dies", [3, 12])
def test_an_unconditional_model_that_diverges_does_not_keep_the_run_from_its_end(files, dies, monkeypatch):
    settings = settings_of("vae")
    prepared = prepare_sequences((files / "lines.txt").read_text(), settings)
    decoder = SequenceDecoder(TokenEmission(prepared.codec.size, 8), "gru", 6, 0, engine="eager")
    step, losses, seen, said = learners.TorchLearner.step, iter([3.0, 4.0]), [], []

    def diverging(self, batch, lr, share=0.0, taken=iter(range(1, 99))):  # noqa: B008
        if next(taken) == dies:
            raise learners.Diverged(math.nan)
        return step(self, batch, lr, share)

    def held_out(self, model):
        seen.append(model.head.bias.detach().clone())
        return {"loss": next(losses)}

    class Telling(Silent):
        def say(self, text):
            said.append(text)

    monkeypatch.setattr(learners.TorchLearner, "step", diverging)
    monkeypatch.setattr(UnconditionalTask, "held_out", held_out)
    settings = replace(settings, keep="last")
    found = train_unconditional(decoder, prepared.task, settings, 20, Telling(), lambda: None, "a model")
    assert found == (dies == 12)  # after two looks; the third step is before the first
    assert said[0] == "now a model, 20 steps, to compare with"
    assert said[1].startswith(f"a model, trained for comparison, diverged at step {dies}")
    if found:
        assert torch.equal(decoder.head.bias, seen[0])


def test_a_run_ends_without_the_comparison_that_diverged(files, tmp_path, monkeypatch):
    monkeypatch.setattr("gatewise.training.autoencode_run.train_unconditional", lambda *args: False)
    counted, done = [], []

    class Counting(Silent):
        @contextlib.contextmanager
        def counting(self, what, total):
            counted.append(total)
            yield done.append

    _, summary = trained(files, "vrnn", tmp_path / "run", Watch(Counting()))
    assert summary["baselines"] == {"unconditional": None, "unconditional_of_bounded": None}
    assert "without a latent" not in summary["verdict"]
    assert counted == [sum(done)]  # the bar ends where the work does


def test_the_comparison_takes_the_runs_steps_at_the_runs_rates(files, tmp_path, monkeypatch):
    step, taken = learners.TorchLearner.step, {}

    def noting(self, batch, lr, share=0.0):
        taken.setdefault(type(self._model).__name__, []).append((lr, batch[0].shape))
        return step(self, batch, lr, share)

    monkeypatch.setattr(learners.TorchLearner, "step", noting)
    _, summary = trained(files, "vae", tmp_path / "run")
    assert taken["SequenceDecoder"] == taken["SequenceVAE"]
    assert len(taken["SequenceVAE"]) == summary["steps"]
    assert len({lr for lr, _ in taken["SequenceVAE"]}) > 3  # they are no constant
