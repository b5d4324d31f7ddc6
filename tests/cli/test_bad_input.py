"""Whatever a user gets wrong: one line that names it, exit code 2, nothing created."""

import os
from pathlib import Path

import pytest
import torch

from gatewise.cells import resolve
from gatewise.engines.native import build

GRU_AVERAGE = """
import torch, gatewise

@gatewise.register("{name}")
class Average(gatewise.Cell):
    gates = ("n",)

    def step(self, x, u, h):
        {body}
"""


@pytest.fixture(autouse=True, scope="module")
def _kernel_is_there(why_no_kernels):
    """What is said while a kernel is compiled belongs to no refusal."""
    if why_no_kernels is None:
        build.kernel(resolve("gru"), torch.float32)


@pytest.fixture
def workplace(tmp_path, monkeypatch, text_file):
    """A folder that must be as it was when the test ends."""
    monkeypatch.chdir(tmp_path)
    files = {
        "empty.txt": b"", "blank.txt": b" \n\t \r\n", "short.txt": b"abc",
        "latin.txt": "all well so far: café".encode("latin-1"),
        "utf16.txt": "some text".encode("utf-16"),
        "array.npy": b"\x93NUMPY\x01\x00", "binary.dat": b"\x7fELF\0\xff",
        "good.txt": text_file.read_bytes(), "notes.md": b"not a run",
        "broken.py": b"def step(:\n", "raises.py": b"1 / 0\n", "cells.txt": b"x = 1\n",
        "noinput.py": GRU_AVERAGE.format(name="noinput", body="return x.q + h").encode(),
        "fails.py": GRU_AVERAGE.format(name="fails", body="raise KeyError('z')").encode(),
        "wide.py": GRU_AVERAGE.format(name="wide", body="return torch.cat([x.n, u.n(h)], 1)").encode(),
        "thief.py": GRU_AVERAGE.format(name="gru", body="return x.n + u.n(h)").encode(),
    }  # fmt: skip
    for name, data in files.items():
        Path(name).write_bytes(data)
    Path("folder").mkdir()
    yield tmp_path
    assert sorted(p.name for p in tmp_path.rglob("*") if "__pycache__" not in p.parts) == sorted([*files, "folder"])
    assert {name: Path(name).read_bytes() for name in files} == files


TRAIN = ("train", "text", "good.txt", "--epochs", "1")
LONG = "n" * 300

BAD = {
    "no such file": (("train", "text", "gone.txt"), "'gone.txt' does not exist"),
    "a folder": (("train", "text", "folder"), "'folder' is a directory"),
    "empty": (("train", "text", "empty.txt"), "'empty.txt' is empty"),
    "blank": (("train", "text", "blank.txt"), "'blank.txt' holds no text"),
    "too short": (("train", "text", "short.txt"), "too short for a single batch: 3 tokens"),
    "shorter than one window": ((*TRAIN, "--steps", 5000), "too short"),
    "not UTF-8": (("train", "text", "latin.txt"), "byte 0xe9 at offset 20"),
    "not UTF-8, hint": (("train", "text", "latin.txt"), "--encoding"),
    "UTF-16": (("train", "text", "utf16.txt"), "try --encoding utf-16"),
    "an array": (("train", "text", "array.npy"), "; it is a NumPy array, and a text is wanted\n"),
    "no text": (("train", "text", "binary.dat"), "it has bytes of zero, which no text has: give a text file\n"),
    "unknown encoding": ((*TRAIN, "--encoding", "utf-9"), "unknown text encoding 'utf-9'"),
    "file with a long name": (("train", "text", LONG), LONG),
    "no minutes": ((*TRAIN[:3], "--minutes", 0), "--minutes 0: a run needs a budget; give a number above 0"),
    "negative minutes": ((*TRAIN[:3], "--minutes", -1), "--minutes -1: a run needs a budget; give a number above 0"),
    "minutes a word": ((*TRAIN[:3], "--minutes", "three"), "--minutes"),
    "endless minutes": ((*TRAIN[:3], "--minutes", "inf"), "--minutes inf"),
    "no epochs": ((*TRAIN[:3], "--epochs", 0, "--minutes", 0), "--minutes 0"),
    "negative epochs": ((*TRAIN[:3], "--epochs", -1), "--epochs -1"),
    "hidden of zero": ((*TRAIN, "--hidden", 0), "--hidden 0"),
    "negative hidden": ((*TRAIN, "--hidden", -5), "--hidden -5"),
    "hidden of a word": ((*TRAIN, "--hidden", "big"), "--hidden"),
    "hidden of a fraction": ((*TRAIN, "--hidden", "1.5"), "--hidden"),
    "hidden beyond memory": ((*TRAIN, "--hidden", 1_000_000), "do not fit into memory"),
    "hidden beyond memory, numpy": ((*TRAIN, "--hidden", 1_000_000, "--engine", "numpy"), "do not fit into memory"),
    "layers beyond memory": ((*TRAIN, "--hidden", 100_000, "--layers", 1000), "do not fit into memory"),
    "hidden beyond reason": ((*TRAIN, "--hidden", 10**7), "--hidden 10000000: too large; give at most"),
    "layers beyond reason": ((*TRAIN, "--layers", 10**9), "--layers 1000000000: too large"),
    "minutes a word with a positional text": ((*TRAIN[:3], "--minutes", "x"), "--minutes"),
    "length of hexadecimals": ((*TRAIN, "--batch", "0x10"), "--batch"),
    "hidden beyond numbers": ((*TRAIN, "--hidden", 10**30), "--hidden"),
    "negative batch": ((*TRAIN, "--batch", -1), "--batch -1"),
    "negative steps": ((*TRAIN, "--steps", -1), "--steps -1"),
    "negative layers": ((*TRAIN, "--layers", -1), "--layers -1"),
    "negative share": ((*TRAIN, "--zoneout", -0.1), "--zoneout -0.1: want a share, at least 0 and below 1"),
    "negative lr": ((*TRAIN, "--lr", -1), "--lr -1"),
    "lr of NaN": ((*TRAIN, "--lr", "nan"), "--lr nan"),
    "all held out": ((*TRAIN, "--heldout", 1), "--heldout 1"),
    "most held out": ((*TRAIN, "--heldout", 0.999), "too short"),
    "patience for nothing": ((*TRAIN, "--heldout", 0, "--patience", 2), "--patience 2"),
    "dropout of one": ((*TRAIN, "--dropout", 1), "--dropout 1"),
    "more train tokens than text": ((*TRAIN, "--train-tokens", 10**6), "--train-tokens 1000000"),
    "train tokens of words": ((*TRAIN, "--train-tokens", 100, "--tokens", "word"), "--train-tokens counts characters"),
    "unknown cell": ((*TRAIN, "--cell", "grru"), "did you mean 'gru'"),
    "unknown engine": ((*TRAIN, "--engine", "torhc"), "did you mean 'torch'"),
    "engine that cannot": ((*TRAIN, "--engine", "torch", "--cell", "gru-before"), "cannot run this"),
    "numpy cannot": ((*TRAIN, "--engine", "numpy", "--cell", "lstm"), "--engine numpy"),
    "unknown recipe": ((*TRAIN, "--recipe", "d2"), "did you mean 'd2l'"),
    "unknown tokens": ((*TRAIN, "--tokens", "bytes"), "did you mean 'byte'"),
    "unknown partition": ((*TRAIN, "--partition", "rand"), "random"),
    "vocabulary of one": ((*TRAIN, "--vocabulary", 1), "vocabulary of 1"),
    "vocabulary of bytes": ((*TRAIN, "--vocabulary", 9, "--tokens", "byte"), "256 bytes"),
    "unknown option": ((*TRAIN, "--hiden", 5), "--hiden"),
    "a second direction": ((*TRAIN, "--bidirectional"), "would see the tokens that are to be predicted; leave it out"),
    "a second direction of frames": (("train", "frames", "--bidirectional"), "see the frames that are to be predicted"),
    "a second direction of a decoder": (
        ("train", "autoencode", "good.txt", "--bidirectional=yes"), "a second direction would see what the decoder",
    ),
    "a second direction where it is called otherwise": (
        ("train", "classify", "--bidirectional"), "Did you mean --directions?",
    ),
    "two files": (("train", "text", "good.txt", "good.txt"), "good.txt"),
    "option without a value": ((*TRAIN, "--hidden"), "--hidden requires an argument"),
    "seed too large": ((*TRAIN, "--seed", 10**30), "--seed"),
    "out is a file": ((*TRAIN, "--out", "notes.md"), "notes.md: is there already"),
    "out below a file": ((*TRAIN, "--out", "notes.md/run"), "notes.md/run"),
    "out with a long name": ((*TRAIN, "--out", LONG), "--out"),
    "unknown command": (("trian", "text"), "trian"),
    "unknown task": (("train", "poem"), "poem"),
    "no task": (("train", "good.txt"), "did you mean `gatewise train text good.txt`?"),
    "no task, no file": (("compare", "gone.txt"), "did you mean `gatewise compare text gone.txt`?"),
    "no task of an array": (("train", "a.npy"), "`gatewise train autoencode a.npy` or `gatewise train frames a.npy`?"),
    "no task of a table": (("train", "a.csv"), "did you mean `gatewise train forecast a.csv` or"),
    "no task of a folder": (("train", "folder"), "did you mean `gatewise train frames folder`?"),
    "no such task, no file": (("train", "txet"), 'Did you mean "text"?'),
    "settings in the cell's name": (
        (*TRAIN, "--cell", "gru:zoneout=0.1:layer-norm"), "use --cell gru --zoneout 0.1 --layer-norm",
    ),
    "cell file missing": ((*TRAIN, "--cell-file", "gone.py"), "--cell-file gone.py: no such file"),
    "cell file a folder": ((*TRAIN, "--cell-file", "folder"), "--cell-file folder"),
    "cell file with a long name": ((*TRAIN, "--cell-file", LONG), "--cell-file"),
    "cell file not Python": ((*TRAIN, "--cell-file", "cells.txt"), "cells.txt: not a Python file"),
    "cell file with a slip": ((*TRAIN, "--cell-file", "broken.py"), "broken.py: SyntaxError"),
    "cell file that raises": ((*TRAIN, "--cell-file", "raises.py"), "raises.py, line 1: ZeroDivisionError"),
    "cell file with a taken name": ((*TRAIN, "--cell-file", "thief.py"), "the name 'gru' belongs to"),
    "cell with an unknown gate": ((*TRAIN, "--cell-file", "noinput.py", "--cell", "noinput"), "step uses x.q"),
    "cell that raises": ((*TRAIN, "--cell-file", "fails.py", "--cell", "fails"), "fails.py, line 9: KeyError: 'z'"),
    "cell of a wrong shape": ((*TRAIN, "--cell-file", "wide.py", "--cell", "wide"), "wide.py, line 9: RuntimeError"),
    "cells that raise": (("cells", "--cell-file", "fails.py"), "fails.py, line 9: KeyError: 'z'"),
    "explain nothing": (("explain",), "gatewise: CELL is missing. (`gatewise explain --help`"),
    "an option that must be given": (("predict", "folder", "good.txt"), "gatewise: --out is missing. ("),
    "the same mistyped": (("predict", "folder", "b", "--otu", "a"), "--out is missing. Did you mean --out instead"),
    "explain unknown": (("explain", "lsmt"), "did you mean 'lstm'? One of your own: import its module, or"),
    "generate from nowhere": (("generate", "gone"), "gone: no such run folder"),
    "generate from a file": (("generate", "notes.md"), "not a run folder"),
    "generate from a folder": (("generate", "folder"), "folder: not a run folder, it has no config.toml"),
    "generate from a long name": (("generate", LONG), "no such run folder"),
    "resume from nowhere": (("resume", "gone"), "gone: no such run folder"),
    "resume a folder": (("resume", "folder"), "not a run folder"),
    "evaluate nowhere": (("evaluate", "gone"), "gone: no such run folder"),
    "generate without a run": (("generate",), "RUN"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_one_line(name, workplace, refused):
    arguments, said = BAD[name]
    assert said in refused(*arguments)


RUN = {
    "unknown character": (("generate", "--prompt", "the %"), "--prompt, position 4: '%'"),
    "Chinese to an English model": (("generate", "--prompt", "时间"), "--prompt, position 0: '时'"),
    "empty prompt": (("generate", "--prompt", ""), "--prompt is empty"),
    "negative length": (("generate", "--length", -1), "--length -1"),
    "length of nothing": (("generate", "--length", 0), "--length 0: want a whole number of at least 1"),
    "length a word": (("generate", "--length", "long"), "--length"),
    "negative temperature": (("generate", "--temperature", -1), "--temperature -1"),
    "endless temperature": (("generate", "--temperature", "inf"), "--temperature inf"),
    "negative top-k": (("generate", "--top-k", -1), "--top-k -1"),
    "top-p of zero": (("generate", "--top-p", 0), "--top-p 0"),
    "top-p of two": (("generate", "--top-p", 2), "--top-p 2"),
    "seed too large": (("generate", "--seed", 10**20), "--seed"),
    "no such text": (("evaluate", "gone.txt"), "'gone.txt' does not exist"),
    "empty text": (("evaluate", "empty.txt"), "'empty.txt' is empty"),
    "not UTF-8": (("evaluate", "latin.txt"), "offset 20"),
}


@pytest.mark.parametrize("name", RUN)
def test_one_line_about_a_run(name, workplace, trained, refused):
    (command, *options), said = RUN[name]
    assert said in refused(command, trained, *options)


def test_a_text_of_one_character_cannot_be_evaluated(tmp_path, trained, refused):
    (tmp_path / "one.txt").write_text("t")
    assert "fewer than two tokens" in refused("evaluate", trained, tmp_path / "one.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(workplace, refused):
    Path("good.txt").chmod(0)
    try:
        assert "no permission" in refused(*TRAIN)
    finally:
        Path("good.txt").chmod(0o644)


@pytest.mark.parametrize("windows", [1, 2, 3, 31, 32, 33])
@pytest.mark.parametrize("partition", ["sequential", "random"])
def test_a_text_of_a_few_windows_is_learned_with_fewer_rows(windows, partition, tmp_path, gatewise_):
    text = tmp_path / "text.txt"
    text.write_text(("ab cd ef " * 400)[: windows * 64 + 64])
    answer = gatewise_("train", "text", text, "--heldout", 0, "--hidden", 4, "--epochs", 1, "--threads", 1,
                       "--partition", partition, "--out", tmp_path / "run")  # fmt: skip
    assert answer.code == 0, answer
