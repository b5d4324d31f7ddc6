"""Every command as a user meets it."""

import json
import math
import re

import pytest

import gatewise
from gatewise.cli.app import app
from gatewise.training import learner, load_text_run

COMMANDS = {
    (): [
        "train", "resume", "generate", "evaluate", "predict", "backtest", "sample", "reconstruct", "interpolate",
        "compare", "probe", "tune", "cells", "explain", "doctor", "--version",
    ],
    ("compare",): ["text"],
    ("compare", "text"): [
        "--cells", "--minutes", "--epochs", "--match", "--seeds", "--hidden", "--layers", "--lr", "--batch", "--steps",
        "--tokens", "--threads", "--encoding", "--cell-file", "--out", "--json", "--quiet",
    ],
    ("probe",): [
        "--cell", "--task", "--length", "--chrono", "--steps", "--minutes", "--hidden", "--batch", "--lr", "--clip",
        "--seed", "--threads", "--cell-file", "--out", "--json", "--quiet",
    ],
    ("tune",): ["text", "frames", "autoencode", "forecast", "regress", "classify"],
    ("train",): ["text", "frames", "autoencode", "forecast", "regress", "classify"],
    ("train", "text"): [
        "--cell", "--cell-file", "--layers", "--hidden", "--embedding", "--batch", "--steps", "--lr", "--epochs",
        "--minutes", "--recipe", "--engine", "--seed", "--out", "--heldout", "--tokens", "--encoding", "--clean",
        "--dropout", "--init", "--partition", "--optimizer", "--clip", "--schedule", "--warmup", "--patience", "--keep",
        "--threads", "--tensorboard", "--json", "--quiet", "--vocabulary", "--train-tokens", "--weight-decay",
        "--evaluations", "--precision", "--zoneout", "--recurrent-dropout", "--weight-drop", "--layer-norm",
    ],
    ("train", "autoencode"): [
        "--model", "--cell", "--hidden", "--latent", "--embedding", "--encoder", "--variance", "--anneal",
        "--anneal-share", "--cycles", "--kl-weight", "--free-bits", "--word-dropout", "--tokens", "--vocabulary",
        "--longest", "--window", "--samples", "--baseline", "--minutes", "--epochs", "--cell-file", "--encoding",
        "--out", "--json", "--quiet", "--tensorboard", "--recurrent-dropout",
    ],
    ("train", "frames"): [
        "--cell", "--cell-file", "--hidden", "--layers", "--kernel", "--patch", "--inputs", "--outputs", "--size",
        "--digits", "--heldout", "--minutes", "--epochs", "--seed", "--out", "--json", "--quiet", "--tensorboard",
    ],
    ("train", "forecast"): [
        "--target", "--lookback", "--horizon", "--split", "--known", "--calendar", "--season", "--missing",
        "--inputs", "--time", "--series", "--sheet", "--sort", "--resample", "--pca", "--model", "--cell", "--hidden",
        "--anchor", "--normalise", "--loss", "--weigh", "--quantiles", "--interval", "--out", "--json", "--quiet",
    ],
    ("backtest",): ["RUN", "FILE", "--from-start", "--sheet", "--out", "--cell-file", "--json", "--quiet"],
    ("predict",): ["RUN", "DATA", "--out", "--cell-file"],
    ("sample",): ["RUN", "--count", "-n", "--temperature", "--seed", "--cell-file"],
    ("reconstruct",): ["RUN", "--count", "--encoding", "--cell-file"],
    ("interpolate",): ["RUN", "--from", "--to", "--steps", "--way", "--cell-file"],
    ("resume",): ["RUN", "--json", "--quiet", "--cell-file", "--tensorboard"],
    ("generate",): [
        "RUN", "--prompt", "--length", "--temperature", "--top-k", "--top-p", "--greedy", "--seed", "--cell-file",
    ],
    ("evaluate",): ["RUN", "FILE", "--encoding", "--json", "--quiet", "--cell-file"],
    ("cells",): ["--build", "--double", "--cell-file"],
    ("explain",): ["CELL", "--latex", "--source", "--cell-file"],
    ("doctor",): [],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(command, gatewise_):
    answer = gatewise_(*command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "Usage: gatewise" in answer.out
    for option in COMMANDS[command]:
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", answer.out), option


def test_no_command_is_forgotten_here():
    known = {command for command in app.resolved_commands() if not command.startswith("-")}
    assert known == {command[0] for command in COMMANDS if command}


def test_alone_it_shows_the_help(gatewise_):
    assert gatewise_() == gatewise_("--help")
    assert gatewise_("train").out == gatewise_("train", "--help").out


def test_where_to_start_stands_on_the_first_page_alone(gatewise_):
    assert "Start with gatewise train text" in gatewise_().out
    assert "Start with" not in gatewise_("train", "text", "--help").out + gatewise_("train").out


def test_version(gatewise_):
    assert gatewise_("--version") == (0, f"{gatewise.__version__}\n", "")


def test_cells(gatewise_):
    answer = gatewise_("cells")
    assert (answer.code, answer.err) == (0, "")
    for name in ("rnn", "rnn-relu", "gru", "gru-before", "lstm", "lstm-peephole"):
        line = next(line for line in answer.out.splitlines() if line.split()[:1] == [name])
        assert " ".join(gatewise.CELLS[name].gates) in line
    assert "394,752" in answer.out  # 3 (256² + 256² + 2 · 256) of torch.nn.GRU(256, 256)


def test_explain(gatewise_):
    answer = gatewise_("explain", "gru")
    assert answer.code == 0
    assert "sigmoid" in answer.out or "σ" in answer.out
    latex = gatewise_("explain", "gru", "--latex")
    assert latex.code == 0
    assert "\\sigma" in latex.out or "\\operatorname" in latex.out
    assert latex.out != answer.out


def test_explain_says_that_a_cell_is_linear(gatewise_):
    assert "\n  a_t = 1 − z\n  b_t = z ⊙ (W_n x_t + b_n)\n" in gatewise_("explain", "min-gru").out
    assert "a_{t} &= 1 - z" in gatewise_("explain", "min-gru", "--latex").out
    assert "Linear in" not in gatewise_("explain", "gru").out


def test_doctor(gatewise_):
    answer = gatewise_("doctor")
    assert (answer.code, answer.err) == (0, "")
    for row in (
        "gatewise", "Python", "PyTorch", "CPU", "threads", "GPU", "compiler", "kernel cache", "kernels",
        "engine native", "engine torch", "engine scan", "engine eager",
        "extra bpe", "extra compiler", "extra tensorboard",
    ):  # fmt: skip
        assert re.search(rf"^{row}  +\S", answer.out, re.MULTILINE), row


def test_evaluate_gives_the_summary_s_figure_again(trained, gatewise_):
    summary = json.loads((trained / "summary.json").read_text())
    figures = json.loads(gatewise_("evaluate", trained, "--json").out)
    assert figures["loss"] == pytest.approx(summary["heldout_loss"], abs=1e-6)
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    assert f"loss {summary['heldout_loss']:.4f} nats per token" in gatewise_("evaluate", trained).out


def test_evaluate_another_text(trained, tmp_path, text_file, gatewise_):
    same = json.loads(gatewise_("evaluate", trained, text_file, "--json").out)
    assert same["tokens"] == len(text_file.read_text()) - 1
    text = tmp_path / "windows.txt"
    text.write_bytes("the time traveller\r\nwas expounding\r\n".encode("utf-16"))
    other = gatewise_("evaluate", trained, text, "--encoding", "utf-16")
    assert other.code == 0
    assert ": 33 tokens" in other.out


def test_quiet_prints_the_result_alone(tmp_path, text_file, gatewise_, small):
    command = ("train", "text", text_file, *small, "--epochs", 1)
    loud = gatewise_(*command, "--out", tmp_path / "a")
    quiet = gatewise_(*command, "--out", tmp_path / "b", "--quiet")
    assert "step " in loud.err
    assert re.fullmatch(r"\(longest passage copied .*\)\n", quiet.err)  # a result
    without = [re.sub(r"\S+ (s|tokens/s),|/[ab]\b", "", answer.out) for answer in (loud, quiet)]
    assert without[0] == without[1]


def generated(gatewise_, run, *options):
    answer = gatewise_("generate", run, "--prompt", "the time", "--length", 60, *options)
    assert answer.code == 0, answer
    assert answer.out.startswith("the time")
    assert len(answer.out) == len("the time") + 60 + 1
    assert "longest passage copied from the training text" in answer.err
    return answer.out


def test_generate(trained, gatewise_):
    def text(*options):
        return generated(gatewise_, trained, *options)

    assert text("--seed", 4) == text("--seed", 4) != text("--seed", 5)
    greedy = text("--greedy")
    assert greedy == text("--top-k", 1) == text("--top-p", "1e-9") == text("--temperature", 0)
    assert greedy == text("--greedy", "--seed", 9, "--temperature", 3)
    assert greedy != text("--temperature", 2)


def test_the_reported_copy_is_a_copy(trained, text_file, gatewise_):
    answer = gatewise_("generate", trained, "--prompt", "the ", "--length", 80, "--greedy")
    found = re.search(r"training text: (\d+) characters, (.*)\)\n", answer.err)
    assert found is not None
    copied = eval(found[2])
    assert len(copied) == int(found[1]) >= 3
    assert copied in text_file.read_text()
    assert copied in answer.out


def test_generate_without_a_prompt_starts_as_the_text_does(trained, text_file, gatewise_):
    words = " ".join(text_file.read_text().split()[:3])
    assert gatewise_("generate", trained, "--length", 5).out.startswith(words)


def test_generate_when_the_text_is_gone(tmp_path, text_file, gatewise_, small):
    text = tmp_path / "text.txt"
    text.write_bytes(text_file.read_bytes())
    assert gatewise_("train", "text", text, *small, "--epochs", 1, "--out", tmp_path / "run").code == 0
    text.unlink()
    answer = gatewise_("generate", tmp_path / "run", "--length", 5)
    assert answer.code == 0
    assert "gone or changed" in answer.err
    assert gatewise_("evaluate", tmp_path / "run").code == 2


CELL = """
import torch, gatewise

@gatewise.register("half")
class Half(gatewise.Cell):
    gates = ("n", "z")
    states = ("h", "c")

    def step(self, x, u, h, c):
        z = torch.sigmoid(x.z + u.z(c))
        c = z * c + (1 - z) * torch.tanh(x.n + u.n(h))
        return 0.5 * h + 0.5 * c, c
"""


def test_a_cell_of_one_s_own(tmp_path, text_file, gatewise_, refused, small, monkeypatch):
    file, run = tmp_path / "cells.py", tmp_path / "run"
    file.write_text(CELL)
    own, left, step = ("--cell-file", file), iter(range(10)), learner.TorchLearner.step

    def dying(self, batch, lr, share):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return step(self, batch, lr, share)

    with monkeypatch.context() as patch:
        patch.setattr(learner.TorchLearner, "step", dying)
        command = ("train", "text", text_file, *small, "--epochs", 1, "--cell", "half", *own, "--out", run)
        assert gatewise_(*command).code == 130
    answer = gatewise_("resume", run, *own)
    assert answer.code == 0, answer
    assert json.loads((run / "summary.json").read_text())["cell"] == "half"
    assert gatewise_("generate", run, "--length", 5, *own).code == 0
    assert gatewise_("evaluate", run, *own).code == 0
    assert "half" in gatewise_("cells", *own).out
    assert "tanh" in gatewise_("explain", "half", *own).out
    gatewise.CELLS.pop("half")
    for name in ("generate", "evaluate", "resume"):
        assert "import the module that registers it, or give its file: --cell-file FILE" in refused(name, run)
    file.write_text(CELL.replace("0.5 * h + 0.5 * c", "0.25 * h + 0.75 * c"))
    for name in ("generate", "evaluate", "resume"):
        assert "other equations of 'half'" in gatewise_(name, run, *own).refusal


def test_a_stack_of_two_cells(tmp_path, text_file, gatewise_, refused, small, monkeypatch):
    run = tmp_path / "run"
    options = ("--cell", "lstm,gru", "--hidden", "8,6", "--learned-state", "--engine", "eager")
    answer = gatewise_("train", "text", text_file, *small[2:], "--epochs", 1, *options, "--out", run)
    assert answer.code == 0, answer
    assert "explain lstm" in answer.out
    assert "explain gru" in answer.out
    model = gatewise.load(run).model
    assert [(s.cell.name, s.hidden_size) for s in model.recurrent.shapes] == [("lstm", 8), ("gru", 6)]
    assert model.recurrent.get_parameter("initial_c_l0").any()
    assert len(gatewise_("generate", run, "--length", 9).out.strip()) > 9
    summary = json.loads((run / "summary.json").read_text())
    figures = json.loads(gatewise_("evaluate", run, "--json").out)
    assert figures["loss"] == pytest.approx(summary["heldout_loss"])

    class Other(gatewise.CELLS["lstm"]):
        name = "lstm"

        def step(self, x, u, h, c):
            return super().step(x, u, h, 0.5 * c)

    monkeypatch.setitem(gatewise.CELLS, "lstm", Other)
    assert "other equations of 'lstm, gru'" in refused("generate", run)


@pytest.mark.parametrize(
    ("kind", "text", "prompt"),
    [
        ("char", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。" * 30, "白日"),
        ("word", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。" * 30, "黄河"),
        ("byte", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。" * 30, "黄"),
        ("bpe", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。" * 30, "山"),
        ("word", "To be, or not to be: that is the question.\r\n" * 60, "To be"),
        ("bpe", "To be, or not to be: that is the question.\r\n" * 90, "Never seen"),
        ("byte", "To be, or not to be: that is the question.\r\n" * 30, "Any thing"),
        ("char", "\ufeff" + "line one\r\nline two\rline three\n" * 60, "line"),
    ],
    ids=["Chinese characters", "Chinese words", "Chinese bytes", "Chinese BPE", "words", "BPE", "bytes", "CRLF, BOM"],
)  # fmt: skip
def test_every_kind_of_token(kind, text, prompt, tmp_path, gatewise_):
    file, run = tmp_path / "text.txt", tmp_path / "run"
    file.write_bytes(text.encode())
    more = ("--vocabulary", 270) if kind == "bpe" else ()
    command = (
        "--tokens",
        kind,
        *more,
        "--hidden",
        24,
        "--batch",
        4,
        "--steps",
        8,
        "--threads",
        1,
        "--epochs",
        6,
        "--lr",
        0.02,
    )
    answer = gatewise_("train", "text", file, *command, "--out", run)
    assert answer.code == 0, answer
    figures = json.loads((run / "summary.json").read_text())
    trained = load_text_run(run)
    assert figures["heldout_loss"] < 0.7 * math.log(trained.tokenizer.size)
    assert trained.tokenizer.kind == kind
    answer = gatewise_("generate", run, "--prompt", prompt, "--length", 20, "--seed", 1)
    assert answer.code == 0, answer
    assert answer.out.startswith(prompt)
    assert "\r" not in (run / "samples.txt").read_text() + answer.out
    assert "\ufeff" not in trained.tokenizer.tokens
    evaluated = json.loads(gatewise_("evaluate", run, "--json").out)
    assert evaluated["loss"] == pytest.approx(figures["heldout_loss"], abs=1e-6)


def test_the_numpy_engine_learns_to_count_letters(tmp_path, gatewise_):
    file, run = tmp_path / "letters.txt", tmp_path / "run"
    file.write_text("abcdefg " * 200)
    answer = gatewise_("train", "text", file, "--engine", "numpy", "--hidden", 32, "--batch", 4, "--steps", 16,
                       "--epochs", 8, "--threads", 1, "--json", "--out", run)  # fmt: skip
    assert answer.code == 0, answer
    summary = json.loads(answer.out.splitlines()[-1])
    assert (summary["engine"], summary["cell"]) == ("numpy", "gru-before")
    assert {path.name for path in run.iterdir()} >= {"weights.safetensors", "curve.svg", "metrics.csv", "samples.txt"}
    answer = gatewise_("generate", run, "--prompt", "abc", "--length", 50, "--greedy")
    assert answer.out == ("abcdefg " * 10)[:53] + "\n"


def test_the_book_s_recipe_says_what_the_difference_means(tmp_path, text_file, gatewise_):
    options = ("--recipe", "d2l", "--train-tokens", 1000, "--batch", 4, "--hidden", 16, "--epochs", 2, "--threads", 1)
    answer = gatewise_("train", "text", text_file, *options, "--init", "d2l", "--out", tmp_path / "run")
    assert answer.code == 0, answer
    assert re.search(r"^training   loss .* perplexity [\d.]+ ", answer.out, re.MULTILINE)
    assert re.search(r"^held out   loss .* perplexity [\d.]+$", answer.out, re.MULTILINE)
    assert re.search(r"^held out .*\n +(.* on text it never saw: |lower than in training)", answer.out, re.MULTILINE)
    assert gatewise_("generate", tmp_path / "run", "--prompt", "The TIME!", "--length", 4).code == 0
