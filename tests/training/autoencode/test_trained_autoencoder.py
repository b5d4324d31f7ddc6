"""A finished autoencoder's run, loaded for use, and refused where it is damaged."""

import math
import shutil

import numpy as np
import pytest
import torch
from autoencoding import settings_of

from gatewise import UserError
from gatewise.layers import SequenceVAE
from gatewise.training import TrainedAutoencoder, load, source_of
from gatewise.training.autoencode_run import AutoencodeTraining
from gatewise.training.checkpoint import read_about, read_tensors, write_tensors
from gatewise.training.lifecycle import train


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
