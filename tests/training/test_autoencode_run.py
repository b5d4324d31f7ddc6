"""An autoencoder's run: resumed to the bit, measured honestly, loaded for use, refused where it is damaged."""

import contextlib
import csv
import json
import math
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatewise import UserError
from gatewise.layers import SequenceDecoder, SequenceVAE, TokenEmission
from gatewise.tasks import UnconditionalTask
from gatewise.tasks.autoencode import in_batches
from gatewise.training import AutoencodeSettings, TrainedAutoencoder, Watch, load, resume, source_of
from gatewise.training import learner as learners
from gatewise.training.autoencode_run import AutoencodeTraining
from gatewise.training.checkpoint import read_about, read_tensors, write_tensors
from gatewise.training.lifecycle import train
from gatewise.training.progress import Silent
from gatewise.training.sequence_source import prepare_sequences
from gatewise.training.settings import settings_from
from gatewise.training.unconditional import train_unconditional

CASES = {
    "vae": {"tokens": "char", "word_dropout": 0.4, "anneal": "cyclic", "cycles": 2},
    "vrnn": {"tokens": "char", "model": "vrnn", "cell": "lstm", "free_bits": 0.1},
    "series": {"window": 8, "dropout": 0.2},
    "words": {"cell": "lstm,gru", "hidden": "8,6", "encoder": "forward", "baseline": "none"},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequences")
    draw = random.Random(0)
    words = "the king and his men went to a far land of old".split()  # noqa: SIM905
    lines = [" ".join(draw.choice(words) for _ in range(draw.randint(2, 5))) for _ in range(80)]
    (folder / "lines.txt").write_text("\n".join(lines))
    t = np.arange(300)
    np.save(folder / "waves.npy", np.stack([3 * np.sin(t / 5) + 7, np.cos(t / 3)], 1))
    return folder


def settings_of(case):
    plain = {"hidden": 8, "latent": 3, "embedding": 4, "batch": 16, "epochs": 3, "threads": 1, "engine": "eager"}
    return settings_from(AutoencodeSettings, plain | {"lr": 0.02, "evaluations": 4, "samples": 3} | CASES[case])


def trained(files, case, out, watch=None):
    source = source_of(files / ("waves.npy" if case == "series" else "lines.txt"))
    return train(AutoencodeTraining(), source, settings_of(case), out, watch)


@pytest.fixture(scope="module")
def runs(files, tmp_path_factory):
    """Finished runs, by case; not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = {case: trained(files, case, folder / case)[0].folder for case in CASES}
    torch.set_num_threads(threads)
    return made


class Killed(BaseException):
    pass


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_goes_on_to_the_same_bits(files, runs, case, tmp_path, monkeypatch):
    taken, step = iter(range(7)), learners.TorchLearner.step

    def dying(self, batch, lr, share=0.0):
        if next(taken, None) is None:
            raise Killed
        return step(self, batch, lr, share)

    monkeypatch.setattr("gatewise.training.fit.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(learners.TorchLearner, "step", dying)
        with pytest.raises(Killed):
            trained(files, case, tmp_path / "run")
    torch.rand(3)
    resume(tmp_path / "run")
    for name in ("weights.safetensors", "checkpoint/last.safetensors"):
        one, other = read_tensors(runs[case] / name), read_tensors(tmp_path / "run" / name)
        assert one.keys() == other.keys()
        assert [key for key in one if not torch.equal(one[key], other[key])] == []
    summaries = [json.loads((run / "summary.json").read_text()) for run in (runs[case], tmp_path / "run")]
    for summary in summaries:
        for name in [name for name in summary if name == "seconds" or name.endswith("per_second")]:
            del summary[name]
    assert summaries[0] == summaries[1]
    for name in ("samples.npy", "reconstructions.npy") if case == "series" else ("samples.txt",):
        assert (runs[case] / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_the_summary_says_what_was_measured(runs, case):
    summary = json.loads((runs[case] / "summary.json").read_text())
    assert summary["task"] == "autoencode"
    assert summary["elbo"] == pytest.approx(-summary["reconstruction"] - summary["kl"], abs=1e-4)
    model = load(runs[case])
    assert isinstance(model, TrainedAutoencoder)
    heldout = list(model.prepared().task.heldout)
    generator = torch.Generator().manual_seed(1)
    with torch.inference_mode():
        (batch,) = in_batches(heldout, model.model.emission)
        weights = model.model.log_weights(*batch, 3, generator).double().numpy()
        means = model.model.evidence(*batch).means.double().numpy()
    assert summary["iw_bound"]["bound"] == pytest.approx(np.log(np.exp(weights).mean(0)).mean(), rel=1e-5)
    assert summary["iw_bound"]["elbo"] == pytest.approx(weights.mean(), rel=1e-5)
    assert summary["latent"] == 3
    if case != "vrnn":  # whose means depend on what was drawn
        assert summary["active_units"] == int((means.var(0, ddof=1) > 0.01).sum())
    assert f"{summary['kl']:.2g} nats" in summary["verdict"] or f"{summary['kl']:.1f} nats" in summary["verdict"]
    assert (summary["mutual_information"] is None) == (case == "vrnn")
    assert ("unconditional" in summary["baselines"]) == (case != "words")
    if case != "words":  # the same sequences on both sides: so few that the bound is of all
        assert summary["baselines"]["unconditional_of_bounded"] == summary["baselines"]["unconditional"]
        lead = summary["baselines"]["unconditional"] + summary["iw_bound"]["bound"]
        other = "a recurrent model" if case == "vrnn" else "the same decoder"  # which a vrnn's is not
        said = f"{abs(lead):.1f} nats {'better' if lead > 0 else 'worse'} than {other} without a latent"
        assert said in summary["verdict"]
    rows = list(csv.DictReader((runs[case] / "metrics.csv").open()))
    best = min(float(row["heldout_loss"]) for row in rows)
    # The best weights are those of the full bound on what is held out, not those of an annealed loss.
    assert summary["heldout_loss"] == pytest.approx(best, abs=1e-6)


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
    assert said[0].startswith(f"a model, trained for comparison, diverged at step {dies}")
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


def test_a_finished_run_is_loaded_for_use(runs):
    model = load(runs["vae"])
    assert isinstance(model, TrainedAutoencoder)
    assert model.sample(4, 1.0, seed=1) == model.sample(4, 1.0, seed=1)
    assert model.sample(4, 1.0, seed=1) != model.sample(4, 1.0, seed=2)
    ends = [model.encode("the king"), model.encode("went to a far land")]
    way = model.interpolate(ends[0], ends[1], 5)
    assert len(way) == 5
    assert [way[0], way[-1]] == [model.decode(one) for one in model.reconstruct(ends)]
    assert all("<unk>" not in line for line in model.sample(50, 1.0))
    many = model.reconstruct([ends[0]] * 300)  # more than are taken at once
    assert len(many) == 300
    assert all(torch.equal(one, many[0]) for one in many)
    with pytest.raises(UserError, match="--from is empty"):
        model.encode("", "--from")


def test_all_that_is_encoded_is_not_encoded_at_once(runs, monkeypatch):
    model = load(runs["vae"])
    assert isinstance(model, TrainedAutoencoder)
    assert isinstance(model.model, SequenceVAE)
    sequences = [model.encode(" ".join(["king"] * (1 + i % 4))) for i in range(300)]
    posterior, rows = SequenceVAE.posterior, []

    def counting(self, x, lengths):
        rows.append(len(lengths))
        return posterior(self, x, lengths)

    monkeypatch.setattr(SequenceVAE, "posterior", counting)
    found = model.posterior(sequences)
    assert rows == [128, 128, 44]
    for i in (0, 129, 299):
        torch.testing.assert_close(found.mean[i : i + 1], model.posterior([sequences[i]]).mean, rtol=0, atol=1e-6)


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


def test_series_come_back_in_the_files_units(files, runs):
    model = load(runs["series"])
    prepared = model.prepared()
    heldout = list(prepared.task.heldout)
    originals = np.stack([model.decode(one) for one in heldout])
    np.testing.assert_allclose(originals[0], np.load(files / "waves.npy")[270:278], atol=1e-5)
    written = [model.decode(one) for one in model.reconstruct(heldout)]
    assert [one.shape for one in written] == [(8, 2)] * len(heldout)
    assert 4 < np.stack(written)[..., 0].mean() < 10  # about 7, and not about 0
    assert model.interpolate(heldout[0], heldout[1], 3)[1].shape == (8, 2)
    assert model.sample(2)[0].shape == (8, 2)


def test_a_vrnn_has_no_latent_of_a_whole_sequence(runs):
    model = load(runs["vrnn"])
    assert len(model.sample(3)) == 3
    with pytest.raises(UserError, match="latent at every step"):
        model.interpolate(model.encode("the king"), model.encode("the land"), 3)


def spoil(about, tensors, how):
    if how == "no codec":
        del about["tokenizer"]
    elif how == "another size":
        about["model"]["hidden_size"] = 9
    elif how == "unknown model":
        about["model"]["kind"] = "gan"
    elif how == "smaller vocabulary":
        about["model"]["emission"]["vocabulary_size"] -= 1
    elif how == "no longest":
        del about["longest"]
    elif how == "nan":
        tensors["head.linear.bias"][0] = math.nan
    elif how == "other equations":
        about["equations"] = "0" * 16


@pytest.mark.parametrize(
    "how",
    ["no codec", "another size", "unknown model", "smaller vocabulary", "no longest", "nan", "other equations"],
)
def test_spoiled_weights_are_refused_in_one_line(runs, tmp_path, how):
    run = shutil.copytree(runs["vae"], tmp_path / "run")
    path = run / "weights.safetensors"
    about, tensors = read_about(path)[0], read_tensors(path)
    spoil(about, tensors, how)
    write_tensors(path, tensors, about)
    with pytest.raises(UserError, match=r"weights\.safetensors"):
        load(run)


def test_data_that_changed_are_refused(files, runs, tmp_path):
    source = tmp_path / "waves.npy"
    np.save(source, np.load(files / "waves.npy"))
    run, _ = train(AutoencodeTraining(), source_of(source), settings_of("series"), tmp_path / "run")
    np.save(source, np.load(source) + 1)
    with pytest.raises(UserError, match=r"waves\.npy: is not what"):
        load(run.folder).prepared()


@pytest.mark.parametrize(
    "change", [("batch = 16", "batch = 8"), ("window = 8", "window = 9"), ("heldout = 0.1", "heldout = 0.05")],
    ids=lambda change: change[1],
)  # fmt: skip
def test_a_run_does_not_go_on_with_other_settings(runs, tmp_path, change):
    """With a smaller part held out it would learn what it is then measured on."""
    run = shutil.copytree(runs["series"], tmp_path / "run")
    (run / "summary.json").unlink()
    config = run / "config.toml"
    kept = config.read_text()
    assert kept.count(change[0]) == 1
    config.write_text(kept.replace(*change))
    with pytest.raises(UserError, match=r"does not belong to the settings in .*config\.toml"):
        resume(run)
    assert not (run / "summary.json").exists()


def test_a_run_goes_on_with_other_threads_and_without_a_mark(runs, tmp_path):
    run = shutil.copytree(runs["series"], tmp_path / "run")
    (run / "summary.json").unlink()
    config, last = run / "config.toml", run / "checkpoint" / "last.safetensors"
    assert "threads = 1" in config.read_text()
    config.write_text(config.read_text().replace("threads = 1", "threads = 2"))
    threads = torch.get_num_threads()
    try:
        resume(run)
    finally:
        torch.set_num_threads(threads)
    about = read_about(last)[0]
    del about["settings"]  # as a version before this one wrote it
    write_tensors(last, read_tensors(last), about)
    (run / "summary.json").unlink()
    resume(run)


def test_lines_that_are_left_out_are_told(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(["abcd"] * 5 + ["x", "a long, long line"] + ["dcba"] * 5))
    said = []

    class Telling(Silent):
        def say(self, text):
            said.append(text)

    settings = settings_from(
        AutoencodeSettings, {"tokens": "char", "longest": 8, "epochs": 1, "hidden": 4, "latent": 2, "heldout": 0.0}
    )
    run, summary = train(
        AutoencodeTraining(), source_of(tmp_path / "a.txt"), settings, tmp_path / "run", Watch(Telling())
    )
    assert "2 of 12 lines to learn are left out" in said[0]
    assert "elbo" not in summary  # nothing is held out
    assert load(run.folder).model.latent_size == 2


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"word_dropout": 1.5}, "word-dropout"), ({"model": "vea"}, "did you mean 'vae'"), ({"latent": 0}, "latent"),
        ({"anneal": "cyclical"}, "did you mean 'cyclic'"), ({"free_bits": -1.0}, "free-bits"),
        ({"window": 1}, "window"),
        ({"longest": 1}, "longest"), ({"anneal_share": 1.5}, "anneal-share"), ({"variance": "unti"}, "'unit'"),
        ({"kl_weight": math.inf}, "kl-weight"), ({"cell": "gruu"}, "gru"), ({"encoder": "bith"}, "'both'"),
    ],
)  # fmt: skip
def test_settings_out_of_range(chosen, message):
    with pytest.raises(UserError, match=message):
        settings_from(AutoencodeSettings, chosen)
