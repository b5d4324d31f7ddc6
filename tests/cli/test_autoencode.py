"""The commands of the autoencoder as a user meets them."""

import json
import random
import re
import shutil

import numpy as np
import pytest

from gatewise.cli.training import ENDINGS
from gatewise.training import Run

SMALL = ("--hidden", 8, "--latent", 3, "--epochs", 1, "--threads", 1, "--samples", 2, "--engine", "eager")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencode")
    draw = random.Random(1)
    words = "a rose by any other name would smell as sweet".split()  # noqa: SIM905
    (folder / "lines.txt").write_text("\n".join(" ".join(draw.choices(words, k=4)) for _ in range(60)))
    t = np.arange(400.0)
    np.save(folder / "series.npy", np.stack([np.sin(t / 5), np.cos(t / 7)], 1))
    return folder


@pytest.fixture(scope="module")
def lines(folder, gatewise_):
    answer = gatewise_(
        "train", "autoencode", folder / "lines.txt", *SMALL, "--embedding", 4, "--out", folder / "a", "--json"
    )
    assert answer.code == 0, answer
    return folder / "a", answer


@pytest.fixture(scope="module")
def series(folder, gatewise_):
    answer = gatewise_("train", "autoencode", folder / "series.npy", *SMALL, "--window", 16, "--out", folder / "b")
    assert answer.code == 0, answer
    return folder / "b"


def test_training_tells_what_the_latent_carries(lines):
    run, answer = lines
    summary = json.loads(answer.out.splitlines()[-1])
    assert summary == json.loads((run / "summary.json").read_text())
    for word in ("ELBO", "reconstruction", "KL", "another's latent", "without a latent", "I(x; z)", summary["verdict"]):
        assert word in answer.out
    assert f"{summary['baselines']['unconditional']:.2f}" in answer.out
    assert f"interpolate {run} --from A --to B" in answer.out
    for name in (
        "samples.txt", "curve.svg", "curve.png", "latent.svg", "latent.png", "metrics.csv", "weights.safetensors",
    ):  # fmt: skip
        assert (run / name).stat().st_size > 100
    assert "of the variance" in (run / "latent.svg").read_text()
    assert "−ELBO" in (run / "curve.svg").read_text()


def test_samples_follow_the_seed(lines, gatewise_):
    run, _ = lines
    one, same, other = (gatewise_("sample", run, "-n", 12, "--seed", seed) for seed in (1, 1, 2))
    assert one.code == 0
    assert len(one.out.splitlines()) == 12
    assert one.out == same.out != other.out
    assert [int(line.split()[0]) for line in one.out.splitlines()] == list(range(1, 13))  # also where one is empty
    assert "--seed" in gatewise_("sample", run).err


def test_words_that_the_run_never_learned_are_counted(lines, gatewise_):
    run, _ = lines
    commands = (("interpolate", run, "--from", "a rose zzz", "--to", "qqq zzz"), ("reconstruct", run, "a rose", "zzz"))
    for command, told in zip(commands, ("(3 of the 8 tokens given", "(1 of the 4 tokens given"), strict=True):
        answer = gatewise_(*command)
        assert answer.code == 0
        assert f"{told} are unknown to the run, and read as <unk>)" in answer.err
    assert "unknown to the run" not in gatewise_("reconstruct", run, "a rose").err


def test_copies_stand_beside_what_is_written(lines, folder, gatewise_):
    run, trained = lines
    learned = (folder / "lines.txt").read_text().splitlines()[:54]  # the last tenth is held out
    assert re.search(r"\(\d of 5 are lines it learned, word for word; longest passage copied", trained.out)
    answer = gatewise_("sample", run, "-n", 8, "--seed", 1)
    whole, many, length, passage = re.search(
        r"\((\d+) of (\d+) are lines .* from them: (\d+) characters, (.*)\)\n", answer.err
    ).groups()  # type: ignore[union-attr]
    written = [line[3:] for line in answer.out.splitlines()]  # behind their numbers
    assert (int(whole), int(many)) == (sum(line in learned for line in written), 8)
    passages = {text[i:j] for text in written for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
    assert int(length) == max((len(one) for one in passages if any(one in line for line in learned)), default=0)
    assert passage == repr(passage[1:-1])
    assert "copied from them by the first 50:" in gatewise_("sample", run, "-n", 51, "--seed", 1).err
    parts = (run / "samples.txt").read_text()
    assert parts.count("(longest verbatim copy ") == 20
    (folder / "lines.txt").rename(folder / "moved.txt")
    try:
        assert "copies could not be looked for" in gatewise_("sample", run, "-n", 1).err
    finally:
        (folder / "moved.txt").rename(folder / "lines.txt")


def test_reconstructions_of_lines_files_and_what_is_held_out(lines, folder, gatewise_):
    run, _ = lines
    given = gatewise_("reconstruct", run, "a rose", "by any thorn").out.splitlines()
    assert [given[0], given[2]] == ["a rose", "by any thorn"]  # also a word that it does not know
    assert given[1].startswith("  -> ")
    assert given[1].endswith("edits of 6 characters)")
    wrong = [int(re.search(r"\((\d+) edits of", line)[1]) for line in (given[1], given[3])]  # type: ignore[index]
    said = f"{sum(wrong)} edits of 18 characters of the originals, {sum(wrong) / 18:.1%}, over 2 lines"
    assert given[-1] == said
    assert "over 5 lines" in gatewise_("reconstruct", run, folder / "lines.txt", "--count", 5).out
    heldout = gatewise_("reconstruct", run, "--count", 2).out.splitlines()
    assert heldout[0] in (folder / "lines.txt").read_text().splitlines()[-6:]


@pytest.mark.parametrize("line", ["a rose, and/or sweet", "a rose...", "name.", "3.14", "wait...what"])
def test_a_line_with_a_dot_or_a_slash_is_a_line(line, lines, gatewise_):
    assert gatewise_("reconstruct", lines[0], line).out.splitlines()[0] == line


def test_what_follows_the_budget_is_said_before_and_then(lines):
    said = lines[1].err.splitlines()
    before = "after the budget, the same decoder without a latent learns for as many steps, to compare with"
    assert any(line.startswith(before) for line in said)
    steps = json.loads(lines[1].out.splitlines()[-1])["steps"]
    assert f"now the same decoder without a latent, {steps} steps, to compare with" in said


def test_a_line_longer_than_a_files_name_is_a_line(lines, gatewise_):
    answer = gatewise_("reconstruct", lines[0], "rose " * 100)
    assert answer.code == 0, answer
    assert answer.out.endswith("over 1 line\n")


def test_a_temperature_next_to_nothing_takes_the_likeliest(lines, gatewise_):
    one, two = (gatewise_("sample", lines[0], "-n", 20, "--seed", 3, "--temperature", t) for t in ("1e-45", "1e-12"))
    assert one.code == two.code == 0, one
    assert one.out == two.out
    assert gatewise_("sample", lines[0], "-n", 2, "--seed", 3, "--temperature", "1e300").code == 0


def test_figures_that_are_not_finite_are_told_as_such(lines, monkeypatch, capsys):
    run, _ = lines
    summary = json.loads((run / "summary.json").read_text())
    summary |= dict.fromkeys(("heldout_loss", "elbo", "reconstruction", "kl", "mutual_information"))
    summary["iw_bound"]["bound"] = None
    summary["baselines"]["unconditional"] = None
    ENDINGS["autoencode"].tell(Run(run), summary)
    said = capsys.readouterr().out
    assert said.count("not finite") == 7
    assert "diverged" in said


def test_what_is_called_next_can_be_called(lines, series, gatewise_):
    for run in (lines[0], series):
        commands = ENDINGS["autoencode"].next_commands(json.loads((run / "summary.json").read_text()))
        assert len(commands) == 3
        for command in commands:
            answer = gatewise_(*command.format(run=run).split())
            assert answer.code == 0, answer
    vrnn = json.loads((lines[0] / "summary.json").read_text()) | {"model": "vrnn"}
    assert not any("interpolate" in command for command in ENDINGS["autoencode"].next_commands(vrnn))


def test_interpolation_begins_and_ends_with_the_reconstructions(lines, gatewise_):
    run, _ = lines
    ends = [
        line[5:].rsplit("  (", 1)[0]
        for line in gatewise_("reconstruct", run, "a rose", "sweet").out.splitlines()[1:4:2]
    ]
    for way in ("linear", "spherical"):
        arguments = ("interpolate", run, "--from", "a rose", "--to", "sweet", "--steps", 4, "--way", way)
        answer = gatewise_(*arguments)
        assert answer.code == 0, answer
        numbers, written = zip(*(line.split("  ", 1) for line in answer.out.splitlines()), strict=True)
        assert numbers == ("1", "2", "3", "4")
        assert [written[0], written[-1]] == ends


def test_series_are_drawn_and_saved(series, folder, gatewise_):
    (series / "sample.npy").unlink(missing_ok=True)
    answer = gatewise_("sample", series, "-n", 3, "--seed", 0)
    assert answer.out.split() == [str(series / f"sample.{kind}") for kind in ("npy", "svg", "png")]
    assert f"{series / 'sample.npy'} (replaced)\n" in gatewise_("sample", series, "-n", 3, "--seed", 0).out
    elsewhere = gatewise_("sample", series, "-n", 2, "--out", folder / "other.npy")
    assert elsewhere.out.split() == [str(folder / f"other.{kind}") for kind in ("npy", "svg", "png")]
    assert np.load(series / "sample.npy").shape == (3, 16, 2)
    assert (series / "sample.svg").read_text().startswith("<?xml")
    answer = gatewise_("reconstruct", series, folder / "series.npy", "--count", 4)
    pairs = np.load(series / "reconstruct.npy")
    assert pairs.shape == (4, 2, 16, 2)
    np.testing.assert_allclose(pairs[0, 0], np.load(folder / "series.npy")[:16], atol=1e-6)
    error = np.mean([np.sqrt(np.mean((a - b) ** 2)) for a, b in pairs])
    assert f"root mean squared error {error:.4g}" in answer.out
    assert gatewise_("interpolate", series, "--from", 0, "--to", 1, "--steps", 3).code == 0
    assert np.load(series / "interpolate.npy").shape == (3, 16, 2)
    assert "samples.npy" in [path.name for path in series.iterdir()]


BAD = {
    "a rate above 1": (("train", "autoencode", "lines.txt", "--word-dropout", 1.5), "--word-dropout 1.5"),
    "a negative rate": (("train", "autoencode", "lines.txt", "--word-dropout", -0.1), "--word-dropout -0.1"),
    "free bits below 0": (("train", "autoencode", "lines.txt", "--free-bits", -1), "--free-bits -1"),
    "an unknown model": (("train", "autoencode", "lines.txt", "--model", "vae2"), "did you mean 'vae'?"),
    "an unknown cell": (("train", "autoencode", "lines.txt", "--cell", "gruu"), "did you mean 'gru'?"),
    "an unknown way to anneal": (("train", "autoencode", "lines.txt", "--anneal", "cylic"), "did you mean 'cyclic'?"),
    "lines that are all too long": (("train", "autoencode", "lines.txt", "--longest", 3), "raise --longest"),
    "a window of one step": (("train", "autoencode", "series.npy", "--window", 1), "--window 1"),
    "a window as long as the series": (("train", "autoencode", "series.npy", "--window", 300), "--window 300"),
    "a variance of words": (("train", "autoencode", "lines.txt", "--variance", "unit"), "--variance is of series"),
    "windows of lines": (("train", "autoencode", "lines.txt", "--window", 8), "--window is of series"),
    "tokens of series": (("train", "autoencode", "series.npy", "--tokens", "char"), "--tokens is of lines"),
    "a vocabulary of series": (("train", "autoencode", "series.npy", "--vocabulary", 9), "--vocabulary is of lines"),
    "longest of series": (("train", "autoencode", "series.npy", "--longest", 9), "--longest is of lines"),
    "an embedding of series": (("train", "autoencode", "series.npy", "--embedding", 9), "--embedding is of lines"),
    "the ends of a vrnn": (("train", "autoencode", "--model", "vrnn", "--encoder", "forward"), "--encoder is of a vae"),
    "cycles of none": (("train", "autoencode", "lines.txt", "--cycles", 3), "--cycles is of --anneal cyclic"),
    "a rise of none": (
        ("train", "autoencode", "lines.txt", "--anneal", "none", "--anneal-share", 0.3),
        "--anneal-share says how long",
    ),
    "no file": (("train", "autoencode", "gone.npy"), "gone.npy: does not exist"),
    "no samples": (("sample", "a", "-n", 0), "-n 0"),
    "a temperature below 0": (("sample", "a", "--temperature", -1), "--temperature -1"),
    "a seed too large": (("sample", "a", "--seed", 1 << 63), "--seed"),
    "an empty line": (("interpolate", "a", "--from", "", "--to", "sweet"), "--from is empty"),
    "one step": (("interpolate", "a", "--from", "a", "--to", "sweet", "--steps", 1), "--steps 1"),
    "an unknown way": (("interpolate", "a", "--from", "a", "--to", "b", "--way", "sphere"), "mean 'spherical'?"),
    "a number of no series": (("interpolate", "b", "--from", "0", "--to", "99"), "--to 99"),
    "text to a run of series": (("interpolate", "b", "--from", "a rose", "--to", "1"), "--from a rose"),
    "series of another width": (("reconstruct", "b", "wide.npy"), "2 features"),
    "a power of two that is no number": (("interpolate", "b", "--from", "²", "--to", "1"), "--from ²: want the number"),
    "series of two lengths": (("reconstruct", "b", "series.npy", "short.npy"), "series of 9 and of 16 steps"),
    "more samples than memory": (("sample", "a", "-n", 10**14), "at most 100,000"),
    "more steps than memory": (("interpolate", "a", "--from", "a", "--to", "b", "--steps", 10**14), "at most 100,000"),
    "a file mistyped": (("reconstruct", "a", "lnes.txt"), "'lnes.txt' does not exist"),
    "a folder mistyped": (("reconstruct", "a", "texts/lines"), "'texts/lines' does not exist"),
    "a place for lines": (("sample", "a", "--out", "b.npy"), "--out b.npy: is of series, and a writes lines"),
    "a place of another kind": (("sample", "b", "--out", "b.csv"), "--out b.csv: want a name that ends in .npy"),
    "nothing to reconstruct": (("reconstruct", "a", "--count", 0), "--count 0"),
    "a run of text": (("generate", "a"), "of the task 'autoencode', not of text; it is used by `gatewise sample a`"),
    "a run that is none": (("sample", "lines.txt"), "not a run folder"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", BAD)
def test_mistakes_are_answered_in_a_line(mistake, lines, series, folder, refused, tmp_path, monkeypatch):
    for name in ("a", "b"):
        shutil.copytree(folder / name, tmp_path / name)
    for name in ("lines.txt", "series.npy"):
        shutil.copy(folder / name, tmp_path / name)
    np.save(tmp_path / "wide.npy", np.zeros((16, 3)))
    np.save(tmp_path / "short.npy", np.zeros((9, 2)))
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[mistake]
    assert message in refused(*arguments)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_lines_of_shakespeare(corpora, gatewise_, tmp_path):
    """One pass: the latent is used, helps, and what lies between two lines is made of words."""
    text = corpora / "tinyshakespeare.txt"
    arguments = ("--epochs", 1, "--threads", 1, "--samples", 4, "--out", tmp_path / "run", "--json")
    answer = gatewise_("train", "autoencode", text, *arguments)
    summary = json.loads(answer.out.splitlines()[-1])
    assert summary["kl"] > 3
    assert summary["mutual_information"] > 3
    assert summary["reconstruction"] < summary["baselines"]["unconditional"] - 3
    assert summary["reconstruction"] < summary["reconstruction_shuffled"] - 10
    assert not summary["verdict"].startswith("warning")
    ends = ("--from", "I will not stay to hear you speak.", "--to", "My lord, the king is dead!")
    numbered = gatewise_("interpolate", tmp_path / "run", *ends, "--steps", 6).out.splitlines()
    between = [line.partition("  ")[2] for line in numbered]
    words = set(re.findall(r"\w+", text.read_text()))
    assert len(between) == 6
    assert len(set(between)) >= 3
    for line in between:
        assert set(re.findall(r"\w+", line)) <= words
