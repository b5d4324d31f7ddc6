import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewise.engines.native import cache
from gatewise.engines.native.compiler import Compiler

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS / f) for f in ("engines/native", "graph")]  # where the helper modules stand


@pytest.fixture
def cache_root(tmp_path, monkeypatch) -> Path:
    """A cache folder that is not there yet, in the place of the user's."""
    monkeypatch.setenv("GATEWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GATEWISE_CXXFLAGS", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def builds(tmp_path) -> Callable[[], int]:
    """How many builds the stand-in of ``script`` was called for."""
    return lambda: len((tmp_path / "calls").read_text().splitlines()) if (tmp_path / "calls").exists() else 0


@pytest.fixture
def script(tmp_path, monkeypatch) -> Callable[..., None]:
    """Puts a shell script in the place of the compiler; it notes each call, and ends as the real one."""
    from small_kernel import CXX

    def script(before: str = "") -> None:
        path = tmp_path / "cxx"
        path.write_text(f"#!/bin/sh\necho call >> '{tmp_path / 'calls'}'\n{before}\nexec {CXX} \"$@\"\n")
        path.chmod(0o755)
        compiler = Compiler((str(path),), "a stand-in", openmp=False, native=())
        monkeypatch.setattr(cache, "find_compiler", lambda: compiler)

    script()
    return script
