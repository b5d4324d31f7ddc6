"""The commands about compiled kernels: doctor, cells --build, explain --source; with a compiler and without."""

import os
import pty
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from gatewise import CELLS, Recurrent
from gatewise.cells import resolve
from gatewise.engines.native import build, cache, compiler, folder, prepare
from gatewise.graph import trace
from gatewise.graph.show import formulas

CELL = """
import torch, gatewise

@gatewise.register("half")
class Half(gatewise.Cell):
    gates = ("n",)

    def step(self, x, u, h):
        return 0.5 * h + 0.5 * torch.tanh({value})
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A cache folder of its own, not there yet; kernels are compiled in a hurry."""
    monkeypatch.setenv("GATEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GATEWISE_CXXFLAGS", "-O0")
    monkeypatch.setattr(build._known, "_held", {})  # and what other tests have loaded is not seen, nor kept for them
    monkeypatch.setattr(build, "_kernels", {})
    compiler.forget_compiler()
    yield tmp_path / "cache"
    compiler.forget_compiler()


@pytest.fixture
def no_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GATEWISE_CXX", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)  # importlib then finds no such package


@pytest.fixture
def terminal(monkeypatch):
    """The commands take their output for a terminal, of 80 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def rnn_alone():
    """One cell, so that a test compiles a kernel or two."""
    for name in set(CELLS) - {"rnn"}:
        CELLS.pop(name)


@pytest.fixture
def own(tmp_path):
    """A cell of one's own, in its file."""

    def own(value="x.n + u.n(h)"):
        file = tmp_path / "own.py"
        file.write_text(CELL.format(value=value))
        return ("--cell-file", file)

    return own


def nowhere():
    raise RuntimeError("no home folder")


def lines(answer) -> list[str]:
    """What a terminal shows."""
    return re.sub(r"\x1b\[[0-9;]*m", "", answer.out).splitlines()


def row(answer, name) -> str:
    """A row of the doctor's table, in a pipe."""
    assert (answer.code, answer.err) == (0, "")
    (found,) = re.findall(rf"^{name}  +(\S.*)$", answer.out, re.MULTILINE)
    return found


def put_in_place(library: Path, content: bytes) -> None:
    """Another file under its name. To write into it would change the code of this process, which has it loaded."""
    library.unlink()
    library.write_bytes(content)


def kernels(place) -> list[str]:
    return sorted(path.name for path in place.iterdir() if (path / "kernel.json").exists()) if place.exists() else []


class TestDoctor:
    @pytest.mark.parametrize(
        ("flags", "said"), [("avx512f amx_tile amx_bf16", "products on tiles"), ("avx2", "no tiles")]
    )
    def test_whether_bf16_pays(self, gatewise_, monkeypatch, flags, said):
        monkeypatch.setattr("gatewise.cli.doctor.cpu_features", lambda: tuple(flags.split()))
        assert row(gatewise_("doctor"), "bf16").startswith(said)

    def test_with_a_compiler(self, place, gatewise_, native):
        answer, found = gatewise_("doctor"), compiler.find_compiler()
        assert found is not None
        assert found.command[0] in row(answer, "compiler")
        assert found.version in row(answer, "compiler")
        assert row(answer, "compiler").endswith("OpenMP" if found.openmp else "threads of its own")
        assert row(answer, "engine native") == "ready: every cell on a CPU"
        assert row(answer, "kernel cache") == str(place)
        assert row(answer, "kernels") == "none yet"
        assert row(answer, "GATEWISE_CXXFLAGS") == "-O0"
        assert row(answer, "threads").startswith("1 ")
        assert "broken" not in answer.out
        assert kernels(place) == []  # it only looks

    def test_kernels_are_counted_and_broken_ones_named(self, place, gatewise_, native):
        for cell, dtype in [("rnn", torch.float32), ("rnn", torch.float64), ("rnn-relu", torch.float32)]:
            prepare.prepare(resolve(cell), dtype)
        entries = cache.entries()
        size = sum(entry.size for entry in entries) / 1e6
        assert row(gatewise_("doctor"), "kernels").startswith(f"3, {size:.1f} MB")
        cut, unreadable, sound = (entry.library for entry in entries)
        put_in_place(cut, cut.read_bytes()[:-1])
        (unreadable.parent / "kernel.json").write_text("{")
        (place / "notes").mkdir()
        answer = gatewise_("doctor")
        assert row(answer, "kernels").startswith(f"1, {sound.stat().st_size / 1e6:.1f} MB")
        assert row(answer, "broken kernels").split(": ")[0] == ", ".join(
            sorted([cut.parent.name, unreadable.parent.name])
        )
        (unreadable.parent / "kernel.json").unlink()
        assert row(gatewise_("doctor"), "broken kernels") == row(answer, "broken kernels")

    def test_without_a_compiler(self, no_compiler, gatewise_):
        answer = gatewise_("doctor")
        assert row(answer, "compiler") == "none that works"
        off = row(answer, "engine native")
        assert off.startswith("off: no C++ compiler that works")
        assert "g++" in off
        assert 'pip install "gatewise[compiler]"' in off
        assert row(answer, "extra compiler") == 'not installed: pip install "gatewise[compiler]"'
        assert row(answer, "engine torch").startswith("ready")

    def test_with_a_wrong_one(self, monkeypatch, gatewise_):
        monkeypatch.setenv("GATEWISE_CXX", "/no/such/c++")
        answer = gatewise_("doctor")
        assert row(answer, "GATEWISE_CXX") == "/no/such/c++"
        assert row(answer, "engine native").startswith("off: GATEWISE_CXX=/no/such/c++: does not work")
        assert "unset it" in row(answer, "engine native")

    def test_with_flags_that_cannot_be_read(self, monkeypatch, gatewise_, native):
        monkeypatch.setenv("GATEWISE_CXXFLAGS", '-DNAME="')
        assert row(gatewise_("doctor"), "engine native").startswith('off: GATEWISE_CXXFLAGS=-DNAME=": No closing')

    def test_where_nothing_can_be_written(self, place, gatewise_):
        place.write_text("a file")
        answer = gatewise_("doctor")
        assert row(answer, "engine native").startswith(f"off: {place}: the cache folder")
        assert row(answer, "kernels") == "none yet"

    def test_without_a_home(self, monkeypatch, gatewise_):
        monkeypatch.delenv("GATEWISE_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setattr(folder, "_platform_caches", nowhere)
        answer = gatewise_("doctor")
        assert row(answer, "kernel cache") == "none"
        assert "set GATEWISE_CACHE" in row(answer, "engine native")

    def test_on_a_terminal_nothing_is_wider_and_nothing_is_lost(self, no_compiler, terminal, monkeypatch, gatewise_):
        shown = lines(gatewise_("doctor"))
        assert all(len(line) <= 80 or " " not in line[19:] for line in shown)  # a path is never broken
        assert any(line.startswith(" " * 19) for line in shown)  # a long row goes on below its beginning
        monkeypatch.delenv("FORCE_COLOR")
        piped = gatewise_("doctor").out
        assert re.sub(r"\s+", " ", "\n".join(shown)) == re.sub(r"\s+", " ", piped).strip()
        assert not any(line.startswith(" ") for line in piped.splitlines())


class TestCells:
    def test_on_a_terminal_a_cell_is_a_line(self, terminal, gatewise_):
        shown = lines(gatewise_("cells"))
        assert max(map(len, shown)) <= 80
        assert [line.split()[0] for line in shown[1 : len(CELLS) + 1]] == list(CELLS)
        assert any(line.endswith("…") for line in shown[1 : len(CELLS) + 1])

    def test_in_a_pipe_nothing_is_cut(self, gatewise_):
        shown = gatewise_("cells").out.splitlines()
        for name, line in zip(CELLS, shown[1:], strict=False):
            assert line.endswith(CELLS[name].paper)
        assert all(line == line.rstrip() for line in shown)

    def test_every_cell_and_transform_has_its_equation_and_its_paper(self, terminal, gatewise_):
        shown = lines(gatewise_("cells"))
        assert max(map(len, shown)) <= 80
        start = next(i for i, line in enumerate(shown) if line.startswith("equations"))
        below = "\n".join(shown[start:])
        for name in CELLS:
            assert re.search(rf"\n  {name}  .*_t = |\n  {name}  .*\n  .*_t = ", below), name
        assert "n = tanh(W_n x_t + b_n + r ⊙ (U_n h_{t-1} + b'_n))" in below
        for option in ("zoneout", "layer_norm", "recurrent_dropout", "weight_drop"):
            assert re.search(rf"\n  {option} +.*[⊙(].*\n +\w.* 201\d, arXiv:\d", below), option

    def test_to_list_is_not_to_compile(self, place, own, gatewise_, native):
        answer = gatewise_("cells", *own())
        assert (answer.code, answer.err) == (0, "")
        assert {line.split()[0] for line in answer.out.splitlines() if "native*" in line} == set(CELLS)
        assert "* compiled when first used" in answer.out
        assert kernels(place) == []

    def test_the_engine_is_the_one_that_would_run(self, own, gatewise_, native):
        prepare.prepare(resolve("rnn"), torch.float32)
        answer = gatewise_("cells", *own("torch.sinh(x.n + u.n(h))"))  # the graph has no sinh
        engines = {line.split()[0]: line for line in answer.out.partition("\nparameters:")[0].splitlines()}
        assert " native " in engines["rnn"]
        assert " native*" in engines["gru"]
        assert "eager" in engines["half"]

    def test_without_a_compiler(self, no_compiler, gatewise_):
        answer = gatewise_("cells")
        assert (answer.code, answer.err) == (0, "")
        assert "native" not in answer.out
        engines = {line.split()[0]: line for line in answer.out.partition("\nparameters:")[0].splitlines()}
        assert " torch " in engines["gru"]
        assert " eager " in engines["gru-before"]


class TestBuild:
    def test_what_is_missing_is_compiled(self, place, rnn_alone, gatewise_, native):
        answer = gatewise_("cells", "--build")
        assert answer.code == 0, answer
        assert answer.err == "rnn, float32: compiled\n"
        assert re.fullmatch(rf"1 compiled in \d+ s, 0 there already, 0 failed; in {place}\n", answer.out)
        answer = gatewise_("cells", "--build", "--double")
        assert answer.err == "rnn, float64: compiled\n"
        assert answer.out.startswith("1 compiled in ")
        assert " 1 there already" in answer.out
        answer = gatewise_("cells", "--build", "--double")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith("0 compiled in 0 s, 2 there already, 0 failed")
        assert len(kernels(place)) == 2

    def test_it_is_what_a_layer_then_uses(self, place, rnn_alone, gatewise_, native):
        assert gatewise_("cells", "--build").code == 0
        before = kernels(place)
        run = "import torch, gatewise; gatewise.RNN(2, 3, engine='native')(torch.zeros(2, 1, 2))"
        done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert kernels(place) == before

    def test_a_broken_one_is_compiled_anew(self, place, rnn_alone, gatewise_, native):
        prepare.prepare(resolve("rnn"), torch.float32)
        (entry,) = cache.entries()
        put_in_place(entry.library, b"")
        assert gatewise_("cells", "--build").out.startswith("1 compiled in ")
        assert [entry.sound for entry in cache.entries()] == [True]

    def test_a_failure_is_a_line_and_the_others_are_compiled(
        self, place, tmp_path, rnn_alone, own, monkeypatch, gatewise_, native
    ):
        found = compiler.find_compiler()
        assert found is not None
        script = tmp_path / "cxx"
        script.write_text(
            f'#!/bin/sh\ncase "$*" in *half.cpp*) echo "half.cpp:1: error: no" >&2; exit 1;; esac\n'
            f'exec {" ".join(found.command)} "$@"\n'
        )
        script.chmod(0o755)
        monkeypatch.setenv("GATEWISE_CXX", str(script))
        compiler.forget_compiler()
        answer = gatewise_("cells", "--build", *own())
        assert answer.code == 2
        assert "Traceback" not in answer.err
        first, second, last = answer.err.splitlines()
        assert first == "rnn, float32: compiled"
        assert second.startswith("half, float32: the native kernel could not be compiled: half.cpp:1: error: no")
        assert last == "gatewise: 1 of 2 kernels could not be compiled; the lines above say why"
        assert answer.out.startswith("1 compiled in ")
        assert " 1 failed" in answer.out
        assert [name[:4] for name in kernels(place)] == ["rnn-"]

    def test_a_cell_that_the_graph_cannot_express(self, rnn_alone, own, gatewise_, native):
        answer = gatewise_("cells", "--build", *own("torch.sinh(x.n + u.n(h))"))
        assert answer.code == 2
        assert "half, float32: cell 'half' uses torch's sinh" in answer.err

    def test_without_a_compiler(self, no_compiler, refused):
        assert "no C++ compiler that works" in refused("cells", "--build")

    def test_double_alone(self, refused):
        assert "--double goes with --build" in refused("cells", "--double")

    def test_a_terminal_sees_a_bar(self, own, gatewise_, native, tmp_path):
        """In a process of its own, on a real terminal."""
        master, slave = pty.openpty()
        run = "import gatewise; from gatewise.cli.__main__ import main; "
        run += "[gatewise.CELLS.pop(n) for n in list(gatewise.CELLS) if n != 'rnn']; main(['cells', '--build'])"
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
        process = subprocess.Popen([sys.executable, "-c", run], stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        shown = b""
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # Linux's way to say that the other side is closed
                break
            if not piece:
                break
            shown += piece
        os.close(master)
        assert process.wait() == 0
        assert "compiling rnn, float32" in shown.decode()
        assert "0/1" in shown.decode()
        assert "rnn, float32: compiled" not in shown.decode()
        assert re.search(r"1 compiled in \d+ s", shown.decode())


class TestSource:
    def test_it_is_what_is_compiled(self, gatewise_):
        answer = gatewise_("explain", "gru", "--source")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out == build.source(resolve("gru"))
        assert "GATEWISE_KERNEL" in answer.out

    @pytest.mark.parametrize("name", CELLS)
    def test_it_begins_with_the_equations(self, name, gatewise_):
        answer = gatewise_("explain", name, "--source")
        comment = answer.out.split("\n\n")[0].splitlines()
        assert [line.removeprefix("//").removeprefix(" ") for line in comment] == formulas(trace(name)).splitlines()

    def test_a_cell_of_one_s_own(self, place, own, gatewise_):
        answer = gatewise_("explain", "half", "--source", *own())
        assert answer.code == 0
        assert "//   h_t = 0.5 h_{t-1} + 0.5 tanh(W_n x_t + b_n + U_n h_{t-1} + b'_n)" in answer.out
        assert not kernels(place)

    def test_no_compiler_is_needed(self, no_compiler, gatewise_):
        assert gatewise_("explain", "gru", "--source").out == build.source(resolve("gru"))

    def test_a_cell_that_the_graph_cannot_express(self, own, refused):
        said = refused("explain", "half", "--source", *own("torch.sinh(x.n + u.n(h))"))
        assert "torch's sinh" in said
        assert "engine='eager'" in said

    def test_not_latex_at_the_same_time(self, refused):
        assert "give one of the two" in refused("explain", "gru", "--source", "--latex")

    def test_an_unknown_cell(self, refused):
        assert "did you mean 'gru'" in refused("explain", "gruu", "--source")

    @pytest.mark.parametrize("option", [(), ("--latex",), ("--source",)])
    def test_a_very_long_step(self, option, tmp_path, gatewise_):
        """400 operations inside each other: formulas are cut into named pieces."""
        file = tmp_path / "long.py"
        text = CELL.format(value="deep(x.n + u.n(h))")
        file.write_text(f"{text}\n\ndef deep(a):\n    for _ in range(200):\n        a = 0.5 * a + 1\n    return a\n")
        answer = gatewise_("explain", "half", *option, "--cell-file", file)
        assert (answer.code, answer.err) == (0, "")
        assert all(len(line) < 1000 for line in answer.out.partition("#include")[0].splitlines())


def test_built_is_what_the_engine_would_build(place, native):
    """``is_built`` and the engine name the same entry of the cache."""
    assert not prepare.is_built(resolve("rnn"), torch.float64)
    layer = Recurrent("rnn", 2, 3, dtype=torch.float64, engine="native")
    layer(torch.zeros(2, 1, 2, dtype=torch.float64))
    assert prepare.is_built(resolve("rnn"), torch.float64)
    assert not prepare.is_built(resolve("rnn"), torch.float32)
    assert len(kernels(place)) == 1


@pytest.mark.skipif(find_spec("ziglang") is None, reason="the package ziglang is not installed")
def test_doctor_knows_the_compiler_of_the_extra(monkeypatch, gatewise_):
    monkeypatch.setenv("PATH", "")
    assert "zig" in row(gatewise_("doctor"), "compiler")
