"""A kernel of two lines, and what the tests of the cache ask about it."""

import contextlib
import ctypes
import json
import os
import shutil
from pathlib import Path

import pytest

from gatewise.engines.native import cache

CXX = next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)
NEEDS_CXX = pytest.mark.skipif(
    os.name != "posix" or CXX is None, reason="needs a C++ compiler on the path, and shell scripts in its place"
)
EXPORT = 'extern "C" __attribute__((visibility("default"))) '
SOURCE = f'#include "value.h"\n{EXPORT} int f(int n) {{ return n + VALUE; }}\n'
HEADERS = {"value.h": "#define VALUE 40\n"}


def make(name: str = "gru", announce: bool = False) -> Path:
    """The kernel's library: f(2) is 42."""
    return cache.library(name, SOURCE, headers=HEADERS, announce=announce)


def answer(path: Path) -> int:
    """In a process of its own, since the loader knows a path that it has loaded before."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os._exit(ctypes.CDLL(str(path)).f(2))
        os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def leftovers(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name.startswith("."))


def damage_cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def damage_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_about(path: Path, **changes: object) -> None:
    about = path.parent / "kernel.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | changes))
