"""Processes that build the same kernel at the same time, fail, are stopped, or are killed."""

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from small_kernel import HEADERS, NEEDS_CXX, SOURCE, answer, damage_bit, leftovers, make

from gatewise.engines.native import cache
from gatewise.engines.native.compiler import CompileError

pytestmark = [NEEDS_CXX, pytest.mark.usefixtures("cache_root")]


def race(count: int, what=make) -> list[int]:
    """Exit codes of processes that start together; 0: the library works."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(count)

    def work() -> None:
        start.wait()
        path = what()
        os._exit(0 if ctypes.CDLL(str(path)).f(2) == 42 else 9)

    processes = [context.Process(target=work) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode if process.exitcode is not None else -1 for process in processes]


def no_locks(monkeypatch, error: Exception) -> None:
    def acquire(self: FileLock, **options: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)


class TestRace:
    def test_processes_build_one_library(self, script, builds, cache_root):
        script("sleep 0.2")
        assert race(4) == [0, 0, 0, 0]
        assert builds() == 1
        assert len(cache.entries()) == 1
        assert leftovers(cache_root) == []

    @pytest.mark.parametrize("error", [NotImplementedError("no flock"), OSError(37, "No locks available")])
    def test_where_the_file_system_has_no_locks(self, error, script, builds, cache_root, monkeypatch):
        no_locks(monkeypatch, error)
        script("sleep 0.2")
        assert race(4) == [0, 0, 0, 0]
        assert builds() == 4
        assert [entry.sound for entry in cache.entries()] == [True]
        assert leftovers(cache_root) == []

    def test_over_a_broken_entry_and_without_locks(self, script, cache_root, monkeypatch):
        no_locks(monkeypatch, NotImplementedError())
        damage_bit(make())
        assert race(6) == [0] * 6
        assert [entry.sound for entry in cache.entries()] == [True]
        assert leftovers(cache_root) == []

    def test_threads(self, script, builds, cache_root):
        script("sleep 0.2")
        found: list[Path] = []
        threads = [threading.Thread(target=lambda: found.append(make())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert len(set(found)) == 1
        assert builds() == 1

    def test_a_waiting_process_says_so(self, script, cache_root, capsys):
        key, place = cache._place(cache._Recipe("gru", SOURCE, HEADERS, {}, cache.find_compiler()))
        cache_root.mkdir(exist_ok=True)
        with FileLock(cache_root / f".{place.name}.lock"):
            thread = threading.Thread(target=make, kwargs={"announce": True})
            thread.start()
            time.sleep(1.3)
            assert "another process compiles the native kernel of 'gru'; waiting" in capsys.readouterr().err
            assert cache.entries() == []
        thread.join()
        assert [entry.key for entry in cache.entries()] == [key]


class TestFailure:
    def test_a_refused_source_is_kept_with_what_the_compiler_said(self, script, cache_root):
        wrong = SOURCE.replace("VALUE;", "NOWHERE;")
        for _ in range(2):
            with pytest.raises(CompileError) as caught:
                cache.library("gru", wrong, headers=HEADERS, announce=False)
            (kept,) = cache_root.iterdir()
            assert "gru.cpp:2:" in str(caught.value)
            assert "NOWHERE" in str(caught.value)
            assert str(kept / "gru.cpp") in str(caught.value)
            assert (kept / "gru.cpp").read_text() == wrong
            assert (kept / "value.h").exists()
            assert "NOWHERE" in (kept / "compiler.txt").read_text()
        assert cache.entries() == []
        assert cache.built("gru", wrong, headers=HEADERS) is None
        cache.clear()
        assert list(cache_root.iterdir()) == []

    @pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
    def test_stopped_in_the_middle_of_a_build(self, by, script, cache_root, tmp_path):
        """A process killed leaves a folder that does no harm; one interrupted leaves nothing, nor does its compiler."""
        script(f"sh -c 'echo $$ > {tmp_path / 'child'}; exec sleep 20'")
        process = multiprocessing.get_context("fork").Process(target=make)
        process.start()
        wait_for(child := tmp_path / "child")
        time.sleep(0.5)  # the compiler may run before the process that started it goes on
        assert process.pid is not None
        os.kill(process.pid, by)
        process.join(10)
        assert process.exitcode
        pid = int(child.read_text())
        if by == signal.SIGINT:
            assert leftovers(cache_root) == []
            assert ended(pid)
        else:
            os.kill(pid, signal.SIGKILL)
            assert len([name for name in leftovers(cache_root) if name.endswith(".part")]) == 1
        script()
        assert answer(make()) == 42
        assert len(cache.entries()) == 1

    def test_a_signal_that_was_noted_does_not_stop_the_compiler(self, script, tmp_path):
        """Ctrl-C reaches all processes of the terminal; training notes it and finishes the step at hand."""
        script(f"echo yes > {tmp_path / 'started'}; sleep 0.3")

        def work() -> None:
            os.setpgid(0, 0)
            signal.signal(signal.SIGINT, lambda *_: None)
            os._exit(answer(make()))

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        wait_for(tmp_path / "started")
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGINT)
        process.join(20)
        assert process.exitcode == 42

    def test_what_a_killed_process_left_goes_after_an_hour(self, script, cache_root):
        cache_root.mkdir()
        for name, age in {".gru-0.part": 3700, ".gru-1.part": 3500}.items():
            (cache_root / name).mkdir()
            (cache_root / name / "gru.so").write_text("")
            os.utime(cache_root / name, (time.time() - age, time.time() - age))
        make()
        assert leftovers(cache_root) == [".gru-1.part"]


def wait_for(path: Path) -> None:
    for _ in range(1000):
        if path.exists() and path.read_text():
            return
        time.sleep(0.01)
    raise TimeoutError(path)


def ended(pid: int) -> bool:
    """Whether a process is gone, or dead and not yet waited for."""
    for _ in range(1000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
