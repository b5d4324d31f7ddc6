"""Training on frames from end to end: what is written, what is measured, resuming to the bit, what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from skimage.metrics import structural_similarity

from gatewise import UserError, load
from gatewise.data import read_frames
from gatewise.training import TRAININGS, resume
from gatewise.training.frames_settings import FramesSettings
from gatewise.training.frames_source import FramesSource
from gatewise.training.lifecycle import train
from gatewise.training.settings import settings_from

SMALL = {
    "hidden": 6, "batch": 4, "inputs": 3, "outputs": 2, "epochs": 2, "threads": 1, "patch": 2, "dropout": 0.2,
    "lr": 0.02,
}  # fmt: skip


def settings_of(**chosen) -> FramesSettings:
    return settings_from(FramesSettings, SMALL | chosen)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A bright square that moves one pixel a step, in five videos."""
    folder = tmp_path_factory.mktemp("videos")
    for n in range(5):
        frames = np.zeros((12, 12, 16), np.uint8)
        for t in range(12):
            frames[t, 2 + n : 5 + n, t % 14 : t % 14 + 3] = 200
        np.save(folder / f"{n}.npy", frames)
    return folder


@pytest.fixture(scope="module")
def trained(videos, tmp_path_factory):
    run, summary = train(TRAININGS["frames"], FramesSource(videos), settings_of(), tmp_path_factory.mktemp("a") / "run")
    return run, summary


def test_the_summary_is_of_the_last_videos_and_can_be_computed_again(trained, videos):
    run, summary = trained
    assert json.loads(run.summary_file.read_text()) == summary
    assert summary["task"] == "frames"
    clip = read_frames(videos)[-1].frames  # a fifth of five is held out
    model, squares, copied, alike = load(run.folder), [], [], []
    for start in (0, 5):
        given, truth = clip[start : start + 3], clip[start + 3 : start + 5].numpy()
        predicted = model.predict(given).numpy()
        squares.append((predicted - truth) ** 2)
        copied.append((given[-1].numpy() - truth) ** 2)
        alike += [
            [
                structural_similarity(
                    p[0], t[0], data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
                )
                for p, t in zip(predicted, truth, strict=True)
            ]
        ]
    np.testing.assert_allclose(summary["mse"], np.mean(squares), rtol=1e-4)
    np.testing.assert_allclose(summary["mse_by_horizon"], np.mean(squares, (0, 2, 3, 4)), rtol=1e-4)
    np.testing.assert_allclose(summary["ssim_by_horizon"], np.mean(alike, 0), rtol=1e-3)
    np.testing.assert_allclose(summary["baselines"]["copy_last"]["mse"], np.mean(copied), rtol=1e-4)
    assert set(summary["baselines"]["mean_given"]) == {"mse", "ssim", "mse_by_horizon", "ssim_by_horizon"}


def test_it_learns(videos, tmp_path):
    settings = settings_of(epochs=20, dropout=0.0, hidden=12)
    _, summary = train(TRAININGS["frames"], FramesSource(videos), settings, tmp_path / "run")
    assert summary["mse"] < 0.5 * summary["baselines"]["copy_last"]["mse"]


def test_frames_that_are_too_small_for_a_similarity_leave_a_summary_that_all_can_read(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((30, 8, 8)))
    run, summary = train(TRAININGS["frames"], FramesSource(tmp_path / "a.npy"), settings_of(), tmp_path / "run")
    for score in (summary, *summary["baselines"].values()):
        assert (score["ssim"], score["ssim_by_horizon"]) == (None, [None, None])

    def refused(name):
        raise AssertionError(name)

    assert json.loads(run.summary_file.read_text(), parse_constant=refused) == summary


def test_a_run_that_died_ends_with_the_bits_of_one_that_did_not(
    trained, videos, tmp_path, killed, ends_with_the_bits_of
):
    with killed(after=7):
        train(TRAININGS["frames"], FramesSource(videos), settings_of(), tmp_path / "torn")
    ends_with_the_bits_of(tmp_path / "torn", trained)


def test_other_frames_are_not_gone_on_with(tmp_path, killed):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((30, 8, 8)))
    source = FramesSource(tmp_path / "a.npy")
    with killed():
        train(TRAININGS["frames"], source, settings_of(), tmp_path / "run")
    np.save(tmp_path / "a.npy", np.random.default_rng(1).random((30, 8, 8)))
    with pytest.raises(UserError, match=r"a.npy: are not the frames that .*run was trained on; bring those back"):
        resume(tmp_path / "run")


def test_frames_of_another_kind_are_not_predicted(trained):
    model = load(trained[0].folder)
    assert model.predict(torch.zeros(1, 1, 7, 9), horizon=4).shape == (4, 1, 7, 9)  # any size, any number
    for frames in (torch.zeros(3, 3, 8, 8), torch.zeros(0, 1, 8, 8), torch.zeros(3, 8, 8)):
        with pytest.raises(UserError, match=r"learned from frames of 1 channel\(s\), got frames of the shape"):
            model.predict(frames)


def test_the_last_frames_count_and_no_other(trained):
    model, frames = load(trained[0].folder), torch.rand(7, 1, 12, 16, generator=torch.Generator().manual_seed(0))
    expected = model.model.eval()(frames[4:].unsqueeze(1), 2).squeeze(1)
    torch.testing.assert_close(model.predict(frames), expected, rtol=0, atol=1e-6)


def test_frames_and_horizons_out_of_their_range_are_refused(trained):
    model, frames = load(trained[0].folder), torch.zeros(3, 1, 8, 8)
    for horizon in (0, -1, 2.5, True, 10**12):
        with pytest.raises(UserError, match=r"^horizon .*: want a whole number of frames above 0, at most 10000"):
            model.predict(frames, horizon=horizon)
    for bad in (frames - 0.1, frames + 1.1, frames + torch.nan, frames - torch.inf, frames.to(torch.uint8)):
        with pytest.raises(UserError, match=r"^frames to go on from: want floating-point numbers from 0"):
            model.predict(bad)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inputs", 0), ("inputs", -3), ("inputs", "3"), ("outputs", -1), ("outputs", 10**12), ("outputs", 2.0),
        ("outputs", True), ("size", -1), ("size", None),
    ],
)  # fmt: skip
def test_weights_that_say_impossible_numbers_are_refused(trained, tmp_path, name, value):
    shutil.copytree(trained[0].folder, tmp_path / "run")
    weights = tmp_path / "run" / trained[0].weights_file.name
    with safe_open(weights, "pt") as file:
        metadata, tensors = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    (key,) = metadata
    metadata[key] = json.dumps(json.loads(metadata[key]) | {name: value})
    save_file(tensors, weights, metadata)
    with pytest.raises(UserError, match=f"says {name} = .*, which is no whole number of its range; use another copy"):
        load(tmp_path / "run")


def test_frames_are_reduced_as_those_that_were_learned_from(gatewise_, videos, tmp_path):
    run, _ = train(TRAININGS["frames"], FramesSource(videos), settings_of(size=6), tmp_path / "run")
    assert load(run.folder).size == 6
    assert load(run.folder).examples(1).given.shape == (3, 1, 1, 6, 8)
    assert gatewise_("predict", run.folder, videos, "--out", tmp_path / "next.npy").code == 0
    assert np.load(tmp_path / "next.npy").shape == (2, 6, 8)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"kernel": 4}, "--kernel: kernel_size 4: an even kernel has no middle"),
        ({"inputs": 0}, "--inputs 0: want a number above 0"),
        ({"outputs": 2.5}, "--outputs 2.5: want a whole number"),
        ({"digits": 10}, "--digits 10: too large; give at most 9"),
        ({"precision": "bf16"}, "--precision bf16: want float32"),
        ({"cell": "gru-befor"}, "no cell is called 'gru-befor': did you mean 'gru-before'?"),
        ({"heldout": 0}, "--heldout 0: want a share, above 0 and below 1"),
    ],
    ids=str,
)
def test_bad_settings_name_the_option(chosen, message):
    with pytest.raises(UserError) as caught:
        settings_of(**chosen)
    assert str(caught.value).startswith(message)


def test_an_engine_that_does_not_convolve_is_refused_before_anything_is_written(videos, tmp_path):
    with pytest.raises(UserError, match="engine 'native' cannot run this: only 'eager' convolves"):
        train(TRAININGS["frames"], FramesSource(videos), settings_of(engine="native"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
