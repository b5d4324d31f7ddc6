"""Finding a compiler and calling it: real compiles of tiny sources, and compilers that lack something."""

import ctypes
import importlib.util
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_kernel import CXX, EXPORT, NEEDS_CXX

from gatewise.engines.native import cache, compiler, probe
from gatewise.engines.native.compiler import CompileError, Compiler, find_compiler, forget_compiler, refusals
from gatewise.errors import UserError

pytestmark = NEEDS_CXX


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """A cache folder of its own, no wishes from the environment, nothing known about compilers."""
    monkeypatch.setenv("GATEWISE_CACHE", str(tmp_path / "cache"))
    for name in ("GATEWISE_CXX", "GATEWISE_CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)
    forget_compiler()
    yield
    forget_compiler()


@pytest.fixture(scope="session")
def working(tmp_path_factory) -> Compiler:
    """This machine's compiler, found once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        forget_compiler()
        found = find_compiler()
    forget_compiler()
    assert found is not None
    return found


@pytest.fixture
def stand_in(tmp_path):
    """Writes a compiler: a shell script that notes each call in the file ``calls`` and ends as the real one."""

    def stand_in(before: str = "", name: str = "cxx", end: str = f'exec {CXX} "$@"') -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\necho \"$@\" >> '{tmp_path / 'calls'}'\n{before}\n{end}\n")
        path.chmod(0o755)
        return path

    return stand_in


@pytest.fixture
def calls(tmp_path):
    """How often the stand-ins were called since the last time this was asked."""

    def calls() -> int:
        path = tmp_path / "calls"
        count = len(path.read_text().splitlines()) if path.exists() else 0
        path.unlink(missing_ok=True)
        return count

    return calls


@pytest.fixture
def use(monkeypatch):
    """Makes a command the one to use, as a person does."""

    def use(command: object) -> None:
        monkeypatch.setenv("GATEWISE_CXX", str(command))
        forget_compiler()

    return use


def load(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


class TestBuild:
    def test_source_headers_defines_and_flags_become_a_library(self, working, tmp_path):
        (tmp_path / "half.h").write_text("inline int half(int n) { return n / 2; }\n")
        source = tmp_path / "tiny.cpp"
        source.write_text(f'#include "half.h"\n{EXPORT} int f(int n) {{ return half(n) + ADDED * FACTOR; }}\n')
        said = working.build(source, tmp_path / "tiny.so", defines={"ADDED": "5"}, flags=["-DFACTOR=3"])
        assert load(tmp_path / "tiny.so").f(8) == 4 + 15
        assert said == ""

    def test_only_what_is_exported_can_be_seen(self, working, tmp_path):
        source = tmp_path / "tiny.cpp"
        source.write_text(f'extern "C" int hidden() {{ return 1; }}\n{EXPORT} int shown() {{ return hidden(); }}\n')
        working.build(source, tmp_path / "tiny.so")
        library = load(tmp_path / "tiny.so")
        assert library.shown() == 1
        assert not hasattr(library, "hidden")

    def test_warnings_are_given_back(self, working, tmp_path):
        source = tmp_path / "tiny.cpp"
        source.write_text(f"{EXPORT} int f(int unused) {{ return 1; }}\n")
        assert "unused" in working.build(source, tmp_path / "tiny.so")

    def test_a_refused_source(self, working, tmp_path):
        source = tmp_path / "wrong.cpp"
        source.write_text("// nothing\nint f() { return nowhere; }\nint g() { return neither; }\n")
        with pytest.raises(CompileError) as caught:
            working.build(source, tmp_path / "wrong.so")
        message = str(caught.value)
        assert "wrong.cpp:2:" in message
        assert "nowhere" in message
        assert "neither" not in message
        assert str(source) in message
        assert "\n" not in message
        assert "neither" in caught.value.said
        assert source.exists()
        assert isinstance(caught.value, UserError)

    def test_the_error_of_a_worker_process_reaches_its_parent(self):
        error = CompileError("gru.cpp:1: error: no", Path("/somewhere/gru.cpp"), "everything")
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert (str(copy), copy.what, copy.source, copy.said) == (str(error), error.what, error.source, "everything")

    def test_flags_from_the_environment_come_last(self, working, tmp_path, monkeypatch):
        before = working.flags
        monkeypatch.setenv("GATEWISE_CXXFLAGS", "-DADDED=5 '-DNAME=\"a b\"'")
        assert working.flags == (*before, "-DADDED=5", '-DNAME="a b"')
        source = tmp_path / "tiny.cpp"
        source.write_text(f"{EXPORT} int f() {{ return ADDED + sizeof(NAME); }}\n")
        working.build(source, tmp_path / "tiny.so")
        assert load(tmp_path / "tiny.so").f() == 9

    def test_flags_that_cannot_be_split(self, working, monkeypatch):
        monkeypatch.setenv("GATEWISE_CXXFLAGS", "-DNAME='a")
        with pytest.raises(UserError, match="GATEWISE_CXXFLAGS=-DNAME='a: No closing quotation; mend or unset it"):
            _ = working.flags

    def test_a_wrong_flag_is_named_as_what_may_be_wrong(self, working, tmp_path, monkeypatch):
        monkeypatch.setenv("GATEWISE_CXXFLAGS", "-march=abacus")
        assert find_compiler() == working
        source = tmp_path / "tiny.cpp"
        source.write_text("int f() { return 1; }\n")
        with pytest.raises(CompileError, match=r"abacus.*unset GATEWISE_CXXFLAGS"):
            working.build(source, tmp_path / "tiny.so")

    def test_a_compiler_that_has_gone(self, tmp_path):
        source = tmp_path / "tiny.cpp"
        source.write_text("int f() { return 1; }\n")
        gone = Compiler((str(tmp_path / "gone"),), "gone 1.0", openmp=False)
        with pytest.raises(CompileError, match=r"gone: No such file"):
            gone.build(source, tmp_path / "tiny.so")


class TestFind:
    def test_this_machine(self, working):
        assert Path(working.command[0]).is_absolute()
        first = subprocess.run([*working.command, "--version"], capture_output=True, text=True, check=True).stdout
        assert working.version == first.splitlines()[0]
        assert ("-fopenmp" in working.flags) is working.openmp
        assert ("-DGATEWISE_POOL" in working.flags) is not working.openmp

    def test_a_trial_is_remembered(self, stand_in, use, calls):
        command = stand_in()
        use(command)
        first = find_compiler()
        assert calls() >= 2
        find_compiler()
        assert calls() == 0
        use(command)  # as a new process
        assert find_compiler() == first
        assert calls() == 1  # its version alone

    @pytest.mark.parametrize("change", ["date", "damage"])
    def test_a_trial_is_repeated(self, change, stand_in, use, calls):
        use(command := stand_in())
        first = find_compiler()
        if change == "date":
            os.utime(command, (1, 1))
        else:
            (remembered,) = cache.cache_folder().glob("compiler-*.json")
            remembered.write_text('{"openmp": "yes", "native": ["-rm"]}')
        calls()
        use(command)
        assert find_compiler() == first
        assert calls() >= 2

    def test_no_trace_of_a_trial_but_what_it_showed(self, stand_in, use):
        use(stand_in())
        find_compiler()
        (left,) = cache.cache_folder().iterdir()
        assert re.fullmatch(r"compiler-[0-9a-f]{16}\.json", left.name)

    def test_where_nothing_can_be_remembered(self, stand_in, use, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("GATEWISE_CACHE", str(tmp_path / "file" / "cache"))
        use(stand_in())
        assert find_compiler() is not None

    def test_arguments_in_the_command(self, stand_in, use):
        use(f"'{stand_in()}' -DOWN")
        found = find_compiler()
        assert found is not None
        assert found.command[1:] == ("-DOWN",)


class TestWhatACompilerLacks:
    def test_openmp(self, stand_in, use):
        use(stand_in('case " $* " in *" -fopenmp "*) echo "error: unsupported option -fopenmp" >&2; exit 1;; esac'))
        found = find_compiler()
        assert found is not None
        assert not found.openmp
        assert {"-DGATEWISE_POOL", "-pthread"} < set(found.flags)

    def test_openmp_that_is_accepted_and_ignored(self, stand_in, use):
        """As zig does."""
        strip = 'for a; do shift; [ "$a" = -fopenmp ] || set -- "$@" "$a"; done'
        use(stand_in(strip))
        found = find_compiler()
        assert found is not None
        assert not found.openmp

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="libgomp.so")
    def test_openmp_that_would_be_a_second_one(self, working, stand_in, use, tmp_path):
        """As clang's libomp beside PyTorch's libgomp; here a libgomp under another name."""
        if not working.openmp:
            pytest.skip("this compiler's OpenMP is not PyTorch's as it is")
        (torchs, *_) = (path for path in probe.openmp_libraries() or () if "libgomp.so.1" in path)
        content = Path(torchs).read_bytes()
        assert b"libgomp.so.1\0" in content
        for name in ("libgomp.so", "libgomp.so.9"):
            (tmp_path / name).write_bytes(content.replace(b"libgomp.so.1\0", b"libgomp.so.9\0"))
        use(stand_in(end=f"exec {CXX} \"$@\" '-L{tmp_path}' '-Wl,-rpath,{tmp_path}'"))
        found = find_compiler()
        assert found is not None
        assert not found.openmp

    def test_march_native(self, stand_in, use):
        use(stand_in('case " $* " in *" -march=native "*) echo "error: unknown argument" >&2; exit 1;; esac'))
        found = find_compiler()
        assert found is not None
        assert found.native in (("-mcpu=native",), ())
        assert "-march=native" not in found.flags

    def test_every_way_to_name_this_cpu(self, stand_in, use):
        use(stand_in('case " $* " in *"=native "*) echo "error: unknown argument" >&2; exit 1;; esac'))
        found = find_compiler()
        assert found is not None
        assert found.native == ()


class TestRefused:
    @pytest.mark.parametrize(
        ("script", "why"),
        [
            ("echo 'error: no licence' >&2; exit 1", "error: no licence"),
            ("exit 3", "ended with code 3"),
            ("kill -9 $$", "ended by signal 9"),
            ("echo version 1; exit 0", "reported success and wrote no library"),
            ('echo version 1; while [ "$1" ]; do [ "$1" = -o ] && echo no > "$2"; shift; done', "does not load"),
            ('case "$1" in --version) echo 1;; *) echo "x.h: fatal error: gone" >&2; exit 1;; esac', "error: gone"),
        ],
    )
    def test_a_named_compiler_that_does_not_work(self, script, why, stand_in, use):
        command = stand_in(end=script)
        use(command)
        with pytest.raises(UserError) as caught:
            find_compiler()
        message = str(caught.value)
        assert message.startswith(f"GATEWISE_CXX={command}: does not work as a C++ compiler: ")
        assert why in message
        assert message.endswith("; set it to one that does, or unset it")
        assert cache.why_off() == message

    @pytest.mark.parametrize("command", ["no-such-compiler -O2", "/", "''"])
    def test_a_named_compiler_that_is_none(self, command, use):
        use(command)
        with pytest.raises(UserError, match=re.escape(f"GATEWISE_CXX={command}: does not work as a C++ compiler: no")):
            find_compiler()

    def test_a_named_compiler_that_cannot_be_split(self, use):
        use("'unbalanced")
        with pytest.raises(UserError, match=r"^GATEWISE_CXX='unbalanced: No closing quotation; mend or unset it$"):
            find_compiler()

    def test_the_next_one_is_taken_and_the_first_one_named(self, stand_in, tmp_path, monkeypatch):
        broken = stand_in(name="c++", end="echo 'error: no headers' >&2; exit 1")
        sound = stand_in(name="g++")
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        forget_compiler()
        found = find_compiler()
        assert found is not None
        assert found.command == (str(sound),)
        assert refusals() == (f"{broken}: error: no headers",)

    def test_none_at_all(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        forget_compiler()
        assert find_compiler() is None
        assert refusals() == ()
        why = 'no C++ compiler that works: install g++ or clang++, or pip install "gatewise[compiler]"'
        assert cache.why_off() == why
        with pytest.raises(UserError, match=re.escape(why)):
            cache.library("gru", "int f();", headers={})

    def test_none_that_works(self, stand_in, tmp_path, monkeypatch):
        broken = stand_in(name="g++", end="echo 'error: no headers' >&2; exit 1")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        forget_compiler()
        assert find_compiler() is None
        assert f"({broken}: error: no headers)" in (cache.why_off() or "")


class TestZiglang:
    def test_the_package_is_found_and_not_imported(self, stand_in, tmp_path, monkeypatch, capsys):
        package = tmp_path / "site" / "ziglang"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise RuntimeError\n")
        real = stand_in(before=f'PATH="{os.environ["PATH"]}"; [ "$1" = c++ ] || exit 1; shift', name="zig")
        (package / "zig").symlink_to(real)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        monkeypatch.setenv("PATH", str(tmp_path))
        forget_compiler()
        found = find_compiler()
        assert found is not None
        assert found.command == (str(package / "zig"), "c++")
        assert "-s" in found.flags
        assert "-fno-sanitize=undefined" in found.flags
        assert "setting up the C++ compiler of zig (once; about 60 s)" in capsys.readouterr().err

    @pytest.mark.slow
    @pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="pip install ziglang")
    def test_the_real_one(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        forget_compiler()
        source = f"{EXPORT} int f(int n) {{ return n << 40 == n; }}\n"  # undefined: a sanitizer would end the process
        path = cache.library("tiny", source, headers={})
        assert load(path).f(3) in (0, 1)
        assert b"ubsan" not in path.read_bytes()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc/self/maps")
def test_one_openmp_in_the_process(working, tmp_path):
    """A kernel uses the threads that PyTorch brought, and does not bring its own."""
    if not working.openmp:
        pytest.skip("kernels start threads of their own with this compiler")
    source = tmp_path / "threads.cpp"
    body = "int count = 0;\n#pragma omp parallel num_threads(2)\n#pragma omp atomic\n  ++count;\n  return count;"
    source.write_text(f"{EXPORT} int threads() {{ {body} }}\n")
    working.build(source, tmp_path / "threads.so")
    script = (
        "import ctypes, re, sys, torch; from pathlib import Path\n"
        "torch.ones(300, 300) @ torch.ones(300, 300); print(ctypes.CDLL(sys.argv[1]).threads())\n"
        r"print(*sorted(set(re.findall(r'\S*/lib(?:gomp|omp|iomp5)\S*', Path('/proc/self/maps').read_text()))))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "threads.so")]
    threads, libraries = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert threads == "2"
    assert len(libraries.split()) == 1, libraries


def test_the_probe_sees_a_library_whose_path_has_spaces(tmp_path, monkeypatch):
    lines = ["7f00-7f01 r--p 00000000 fe:00 12 /my home/torch/lib/libgomp.so.1", "7f02-7f03 rw-p 00000000 00:00 0"]
    monkeypatch.setattr(probe.sys, "platform", "linux")
    monkeypatch.setattr(probe.Path, "read_text", lambda *a, **k: "\n".join(lines))
    assert probe.openmp_libraries() == {"/my home/torch/lib/libgomp.so.1"}


def test_flags_are_those_of_the_design():
    assert {"-std=c++17", "-O3", "-shared", "-fno-math-errno", "-ffp-contract=fast"} < set(compiler.FLAGS)
    assert not {"-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-ffinite-math-only"} & set(compiler.FLAGS)
