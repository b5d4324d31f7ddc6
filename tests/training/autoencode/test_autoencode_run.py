"""An autoencoder's run: resumed to the bit, measured honestly, stopped where settings are no good."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import torch
from autoencoding import CASES, Killed, trained

from gatewise import UserError
from gatewise.tasks.autoencode import in_batches
from gatewise.training import AutoencodeSettings, TrainedAutoencoder, Watch, load, resume, source_of
from gatewise.training import learner as learners
from gatewise.training.autoencode_run import AutoencodeTraining
from gatewise.training.checkpoint import read_about, read_tensors, write_tensors
from gatewise.training.lifecycle import train
from gatewise.training.progress import Silent
from gatewise.training.settings import settings_from


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
