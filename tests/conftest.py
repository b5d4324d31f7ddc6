"""What several folders of tests need: the command line in this process and in another, a text, a small trained run."""

import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "contract"))
from comparison import STRUCTURES  # type: ignore[import-not-found]

import gatewise.cli.__main__  # noqa: F401  (adds the commands)
from gatewise.cli.app import main
from gatewise.engines.native import build, cache
from gatewise.engines.native.cache import why_off

# Kernels of the tests lie in a folder of their own. In them, memory that nobody has written is filled with NaN.
os.environ.setdefault("GATEWISE_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "kernels"))
os.environ.setdefault("GATEWISE_CXXFLAGS", "-DGATEWISE_POISON")

# `make test` tries the same examples every time, so that it says something of a change; `make test-all` draws new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# A shell's background jobs ignore Ctrl-C, and so would the processes that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The last two are those whose accuracy is measured: sums are rounded otherwise in a hurry.
COMPILED_WELL = (*STRUCTURES, "gru+layer-norm+recurrent-dropout+zoneout", "Functions", "PositiveFunctions")

SMALL = ("--hidden", 12, "--batch", 4, "--steps", 8, "--threads", 1, "--lr", 0.01)
"""Options that make a training run take a fraction of a second."""

_DRIVER = """
import sys
import gatewise.training.fit as fit
fit.SECONDS_BETWEEN_CHECKPOINTS = float(sys.argv[1])
from gatewise.cli.__main__ import main
main(sys.argv[2:])
"""


class Answer(NamedTuple):
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The last line of a command that has said other things before it refused to go on."""
        assert self.code == 2, self
        assert "Traceback" not in self.err
        line = self.err.splitlines()[-1]
        assert line.startswith("gatewise: ")
        return line


def _call(*arguments: object) -> Answer:
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int | None)
    return Answer(code or 0, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def gatewise_() -> Callable[..., Answer]:
    """``gatewise_("cells")`` runs the command in this process."""
    return _call


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """Runs a command that must be refused: exit code 2, nothing on stdout, one line on stderr, which is given back."""

    def refused(*arguments: object) -> str:
        answer = _call(*arguments)
        assert answer.code == 2, answer
        assert answer.out == ""
        assert answer.err.count("\n") == 1, answer.err
        assert answer.err.startswith("gatewise: ")
        assert answer.err.endswith("\n")
        assert "Traceback" not in answer.err
        return answer.err

    return refused


@pytest.fixture
def start():
    """Starts the command in a process of its own; ``every``: seconds between checkpoints."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: object, every: float = 20.0) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", _DRIVER, str(every), *map(str, arguments)]
        process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def why_no_kernels() -> str | None:
    """Why no native kernel can be built on this machine, None where it can."""
    return why_off()


@pytest.fixture
def native(why_no_kernels) -> None:
    """For tests of the native engine: skips them where there is none."""
    if why_no_kernels:
        pytest.skip(f"the native engine is off: {why_no_kernels}")


@pytest.fixture(autouse=True, scope="session")
def _most_kernels_are_compiled_in_a_hurry():
    """Compiling is most of what the tests cost. As for a user it is done for the cells that stand for all others; of
    those the equations are tested, and not what an optimiser makes of code that is the same for every cell."""

    def library(name: str, *arguments: Any, **options: Any) -> Path:
        flags = os.environ.get("GATEWISE_CXXFLAGS", "")
        with pytest.MonkeyPatch.context() as patch:
            if name not in COMPILED_WELL and "-O0" not in flags:
                patch.setenv("GATEWISE_CXXFLAGS", f"{flags} -O0")
            return cache.library(name, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "library", library)
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    """A test that wants more asks for them: several tests may run beside each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def text_file(tmp_path_factory) -> Path:
    """Some 3,000 characters of English words in random order."""
    draw = random.Random(0)
    words = "the time traveller so it will be convenient to speak of him was expounding a matter".split()  # noqa: SIM905
    lines = (" ".join(draw.choice(words) for _ in range(9)).capitalize() + "." for _ in range(70))
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="session")
def small() -> tuple[object, ...]:
    return SMALL


@pytest.fixture(scope="session")
def trained(tmp_path_factory, text_file) -> Path:
    """A finished run; not to be changed, see ``run_copy``."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    answer = _call("train", "text", text_file, *SMALL, "--epochs", 4, "--out", folder)
    assert answer.code == 0, answer
    return folder


@pytest.fixture
def run_copy(trained, tmp_path) -> Path:
    """A finished run that the test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The real texts; they lie beside the repository, or where GATEWISE_DATA says."""
    folder = Path(os.environ.get("GATEWISE_DATA") or Path(__file__).parents[2] / "shared" / "data") / "text"
    if not folder.is_dir():
        pytest.skip(f"no texts at {folder}; set GATEWISE_DATA to the folder that holds text/")
    return folder


@pytest.fixture(scope="session")
def real_series() -> Path:
    """The real tables; they lie where the texts do."""
    folder = Path(os.environ.get("GATEWISE_DATA") or Path(__file__).parents[2] / "shared" / "data") / "series"
    if not folder.is_dir():
        pytest.skip(f"no tables at {folder}; set GATEWISE_DATA to the folder that holds series/")
    return folder
