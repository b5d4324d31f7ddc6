"""``train regress`` and ``predict`` as commands: what they write and say, what they refuse."""

import json

import numpy as np
import polars as pl
import pytest
from PIL import Image

SMALL = ("--window", 4, "--hidden", 4, "--batch", 32, "--epochs", 2, "--threads", 1, "--engine", "eager")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A month of days; the second target is drawn anew in the test part."""
    draw = np.random.default_rng(0)
    a, b, noise = draw.normal(size=(3, 200))
    noise[160:] += 30
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2025, 1, 1), eager=True)[:200]
    path = tmp_path_factory.mktemp("tables") / "days.csv"
    pl.DataFrame({"day": days, "a": a, "b": b, "力": 2 * a - b, "noise": noise}).write_csv(path)
    return path


@pytest.fixture(scope="module")
def run(gatewise_, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    answer = gatewise_(
        "train", "regress", table, "--inputs", "a,b", "--targets", "力,noise", *SMALL, "--out", folder, "--json"
    )
    assert answer.code == 0, answer
    return folder, answer


def test_training_says_how_each_target_compares_and_draws(run):
    folder, answer = run
    out = answer.out
    summary = json.loads(out.splitlines()[-1])
    assert summary == json.loads((folder / "summary.json").read_text())
    lines = out.splitlines()
    assert lines[0].split() == ["target", "test", "part", "R2", "MSE", "RMSE", "MAE", "MAPE", "%", "sMAPE", "%"]
    methods = {"gru": summary["test"], **summary["baselines"]}
    assert len(methods) == 5
    for line, (target, tree) in zip(
        lines[1:], [(t, m) for t in ("力", "noise") for m in methods.values()], strict=False
    ):
        own = tree["original"][target]
        figures = [own[name] for name in ("r2", "mse", "rmse", "mae", "mape", "smape")]
        assert [float(word) for word in line.split()[-6:]] == pytest.approx(figures, rel=1e-3)
    assert lines[1].startswith("力")
    assert "noise: further off than the test part's own mean" in out
    assert "力: further" not in out
    own = summary["test"]["standardised"]
    for name, words in (
        ("training_mean", "the training mean"),
        ("linear_last_step", "a linear regression on the last step"),
        ("linear_window", "a linear regression on the window"),
    ):
        other = summary["baselines"][name]["standardised"]
        ratio, *each = ((own[target]["mse"] / other[target]["mse"]) ** 0.5 for target in ("mean", "力", "noise"))
        of = "(mean of 2 targets, in standard deviations)"
        better = f"\nbetter than {words} by {1 - ratio:.1%} of its RMSE {of}"
        worse = f"\nWARNING: NOT better than {words}: {ratio - 1:.1%} more RMSE {of}"
        line = next(line for line in out.split("\n") if (better if ratio < 1 else worse)[1:] in line)
        for target, one in zip(("力", "noise"), each, strict=True):
            told = f"{target}: {abs(one - 1):.1%} {'less' if one < 1 else 'more'}"
            assert (told in line) == ((one < 1) != (ratio < 1)), line
    assert "better than previous value" not in out
    assert "predicting 力, noise from 4 steps of 2 features; windows: 137 to learn, 20 to choose, 40 to" in answer.err
    assert "direct, gru, 1 x 4, on top of a linear regression of the last 4 steps\n" in answer.err
    assert "gru + linear" in lines[1]
    assert "R²" in (folder / "observed.svg").read_text()
    assert "mse, standardised" in (folder / "curve.svg").read_text()
    for name in ("observed.png", "residuals.png"):
        with Image.open(folder / name) as picture:
            assert picture.width > 300


def test_predicting_writes_a_table(gatewise_, run, table, tmp_path):
    folder, _ = run
    answer = gatewise_("predict", folder, table, "--out", tmp_path / "all.parquet")
    assert (answer.code, answer.out) == (0, f"197 rows of 力, noise: {tmp_path / 'all.parquet'}\n")
    found = pl.read_parquet(tmp_path / "all.parquet")
    assert found.columns == ["day", "力_observed", "力_predicted", "noise_observed", "noise_predicted"]
    pl.read_csv(table)[150:].select("a", "b", "day").write_excel(tmp_path / "new.xlsx", worksheet="one")
    answer = gatewise_("predict", folder, tmp_path / "new.xlsx", "--sheet", "one", "--out", tmp_path / "new.csv")
    assert answer.code == 0, answer
    new = pl.read_csv(tmp_path / "new.csv")
    assert str(new["day"][0]) == "2024-06-02"
    np.testing.assert_allclose(new["力_predicted"], found["力_predicted"][150:], rtol=1e-4)
    assert new["力_observed"].null_count() == 47
    answer = gatewise_("predict", folder, "--out", tmp_path / "own.csv")
    assert answer.code == 0
    assert pl.read_csv(tmp_path / "own.csv").height == 197


def test_mistakes_are_answered_in_one_line(gatewise_, refused, run, table, tmp_path):
    train, out = ("train", "regress", table), tmp_path / "a.csv"
    for arguments, message in (
        ((*train,), "--targets: say which column to predict, or several as in --targets a,b"),
        ((*train, "--targets", "a", "--inputs", "a,b"), "--inputs a: is a target, and at the step to be predicted"),
        ((*train, "--targets", "a", "--heldout", 0.2), "Unknown option: --heldout"),
        ((*train, "--targets", "a", "--time", "a"), f"{table}: "),
        (("train", "regress", tmp_path / "no.csv", "--targets", "a"), f"{tmp_path / 'no.csv'}: does not exist"),
        (("predict", run[0], table, "--out", tmp_path / "a.txt"), f"--out {tmp_path / 'a.txt'}: want a name that"),
        (("predict", run[0], table, "--out", out, "--frames", 3), "--frames: a run of this task has no use for it"),
        (("predict", run[0], table, "--out", out, "--sheet", "one"), f"{table}: no Excel file"),
    ):
        assert refused(*arguments).startswith(f"gatewise: {message}"), arguments
    assert not out.exists()
    refusal = gatewise_(*train, "--targets", "nose").refusal
    assert refusal == f"gatewise: --targets nose: {table} has no such column; did you mean 'noise'?"
