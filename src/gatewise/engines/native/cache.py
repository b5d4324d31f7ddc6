"""The user's cache of compiled kernels: built once, verified before each use, replaced whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gatewise.engines.native import folder as folders
from gatewise.engines.native.compiler import (
    ZIG_CACHE,
    CompileError,
    Compiler,
    find_compiler,
    library_name,
    refusals,
)  # fmt: skip
from gatewise.engines.native.cpu import cpu_mark
from gatewise.engines.native.folder import cache_folder, remove
from gatewise.engines.native.notice import say, working
from gatewise.errors import UserError
from gatewise.files import sync_names

__all__ = ["FORMAT", "Entry", "built", "cache_folder", "clear", "entries", "library", "why_off"]

FORMAT = 1
"""Version of an entry; a change makes every kernel anew."""

_ABOUT = "kernel.json"
_SAID = "compiler.txt"
_OURS = re.compile(
    r"[\w.-]+-[0-9a-f]{16}(\.failed)?|compiler-[0-9a-f]{16}\.json|\.[\w.-]+-[0-9a-f]{16}\.lock", re.ASCII
)
_FIRST_GUESS = 10.0  # seconds of a build, before one was measured here
_LONGEST_WAIT = 600.0  # seconds for another process's build of the same kernel; then both build it, which is allowed
_REPLACING_TRIES = 20


@dataclass(frozen=True)
class Entry:
    """One compiled kernel.

    Attributes:
        name: the cell's name.
        key: SHA-256 of all that went into the library.
        library: the file to load.
        size: its bytes.
        sha256: of its bytes.
        compiler: the compiler's version and command.
        flags: what it was told.
        seconds: how long it took.
        when: the day and time (ISO 8601, UTC).
        sound: whether the library is as it was written; one that is not is built anew at its next use.
    """

    name: str
    key: str
    library: Path
    size: int
    sha256: str
    compiler: str
    flags: str
    seconds: float
    when: str
    sound: bool


@dataclass(frozen=True)
class _Recipe:
    """All that a library is made from."""

    name: str
    source: str
    headers: Mapping[str, str]
    defines: Mapping[str, str]
    compiler: Compiler | None

    @property
    def key(self) -> str:
        assert self.compiler is not None
        compiler = self.compiler
        return _hash(self._ingredients | {
            "flags": compiler.flags, "version": compiler.version, "command": compiler.command,
            "program": os.path.realpath(compiler.command[0]),
        })  # fmt: skip

    @property
    def made_of(self) -> str:
        """The key but for the compiler."""
        return _hash(self._ingredients)

    @property
    def _ingredients(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "source": self.source, "headers": dict(self.headers), "defines": dict(self.defines),
            "cpu": cpu_mark(), "system": _system(),
        }  # fmt: skip

    @property
    def stem(self) -> str:
        """The name as it may stand in a file's name everywhere."""
        return re.sub(r"[^A-Za-z0-9_.-]+", "_", self.name).strip(".-")[:48] or "kernel"

    @property
    def files(self) -> dict[str, str]:
        """The text files of the entry, by name."""
        return {f"{self.stem}.cpp": self.source, **self.headers}


def library(
    name: str, source: str, *, headers: Mapping[str, str], defines: Mapping[str, str] = {}, announce: bool = True
) -> Path:
    """The shared library built from C++ source, from the cache or, the first time, by the compiler.

    Safe to call from several processes and threads at once. The same library is never built for nothing: its key is the
    hash of everything it is made from, the compiler and the CPU included.

    Args:
        name: whose kernel it is; for people.
        source: C++17.
        headers: what the source includes, by file name.
        defines: preprocessor names and their values.
        announce: say on standard error that a build starts, and that it is done.

    Returns:
        The absolute path of a library that is whole: its size and SHA-256 are those it was written with.

    Raises:
        UserError: there is no compiler, ``GATEWISE_CXX`` does not work, or the cache folder cannot be written to.
        CompileError: the compiler refused the source, which is kept.
    """
    recipe = _Recipe(name, source, headers, defines, find_compiler())
    if recipe.compiler is None:
        return _made_elsewhere(recipe)
    key, folder = _place(recipe)
    if found := _sound_library(folder, key):
        return found
    folders.make(folder.parent)
    with _one_at_a_time(folder, announce and name):
        return _sound_library(folder, key) or _build(recipe, key, folder, announce)


def built(name: str, source: str, *, headers: Mapping[str, str], defines: Mapping[str, str] = {}) -> Path | None:
    """The library that :func:`library` would return without building it; None where it would have to."""
    recipe = _Recipe(name, source, headers, defines, find_compiler())
    if recipe.compiler is None:
        return _made_elsewhere(recipe)
    key, folder = _place(recipe)
    return _sound_library(folder, key)


def why_off() -> str | None:
    """One line saying why no kernel can be built here, or None."""
    if unwritable := folders.why_not_writable():
        return unwritable
    try:
        return None if find_compiler() else _no_compiler()
    except UserError as error:
        return str(error)


def entries() -> list[Entry]:
    """The kernels in the cache, by name."""
    found = [_entry(path) for path in _listed() if (path / _ABOUT).is_file()]
    return sorted((entry for entry in found if entry), key=lambda entry: (entry.name, entry.when, entry.key))


def clear() -> int:
    """Remove every kernel, and all else that was put in the cache folder; returns how many kernels there were.

    Another process's build under way is left alone, and so are files of other origin.
    """
    root, count = cache_folder(), 0
    for path in _listed():
        if _OURS.fullmatch(path.name) or path.name == ZIG_CACHE:
            count += (path / _ABOUT).is_file()
            remove(path)
    folders.remove_stale(root)
    return count


def _hash(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _made_elsewhere(recipe: _Recipe) -> Path:
    """Where there is no compiler (any more): what one made of the same source for this CPU."""
    for folder in _listed():
        with contextlib.suppress(*_UNREADABLE):
            about = _read_about(folder)
            if about.get("made_of") == recipe.made_of and _whole(folder, about):
                return folder / about["library"]
    raise UserError(_no_compiler())


def _place(recipe: _Recipe) -> tuple[str, Path]:
    key = recipe.key
    return key, cache_folder() / f"{recipe.stem}-{key[:16]}"


def _no_compiler() -> str:
    tried = f" ({'; '.join(refusals())})" if refusals() else ""
    return f'no C++ compiler that works{tried}: install g++ or clang++, or pip install "gatewise[compiler]"'


def _system() -> str:
    """What a library links against, for a home folder that several systems share."""
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", ()) else ""
    return f"{sys.platform} {libc}"


def _read_about(folder: Path) -> dict[str, Any]:
    """What an entry says of itself; raises one of ``_UNREADABLE``."""
    about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    kinds = {field: type(about[field]) for field in _FIELDS}
    if kinds != _FIELDS:
        raise ValueError("not an entry")
    return about


_FIELDS: dict[str, type] = {
    "name": str, "key": str, "library": str, "size": int, "sha256": str, "compiler": str, "flags": str,
    "seconds": float, "when": str, "files": list,
}  # fmt: skip
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, RecursionError)


def _whole(folder: Path, about: Mapping[str, Any]) -> bool:
    path = folder / about["library"]
    if path.stat().st_size != about["size"] or not all((folder / name).is_file() for name in about["files"]):
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == about["sha256"]


def _sound_library(folder: Path, key: str) -> Path | None:
    with contextlib.suppress(*_UNREADABLE):
        about = _read_about(folder)
        if about["key"] == key and _whole(folder, about):
            return folder / about["library"]
    return None


def _entry(folder: Path) -> Entry | None:
    try:
        about = _read_about(folder)
    except _UNREADABLE:
        return None
    sound = _sound_library(folder, about["key"]) is not None
    about = {name: value for name, value in about.items() if name in Entry.__dataclass_fields__}
    return Entry(**about | {"library": folder / about["library"], "sound": sound})


def _listed() -> list[Path]:
    try:
        return sorted(cache_folder().iterdir())
    except (OSError, UserError):
        return []


@contextmanager
def _one_at_a_time(folder: Path, announced: str | bool) -> Iterator[None]:
    """Keep others from building the same kernel meanwhile, where the file system can lock.

    Where it cannot, or a lock is not given back, work is done twice and nothing else happens: an entry appears whole.
    """
    path = folder.parent / f".{folder.name}.lock"
    lock = FileLock(path)
    with contextlib.suppress(OSError, NotImplementedError):
        try:
            lock.acquire(timeout=1)
        except Timeout:
            if announced:
                say(f"another process compiles the native kernel of '{announced}'; waiting for it ...")
            lock.acquire(timeout=_LONGEST_WAIT)
    try:
        yield
    finally:
        if lock.is_locked:
            with contextlib.suppress(OSError):
                path.unlink()  # who waits for it looks for the entry first, and so does who comes later
            lock.release()


def _build(recipe: _Recipe, key: str, folder: Path, announce: bool) -> Path:
    folders.remove_stale(folder.parent)
    with folders.temporary_folder(folder.parent, folder.name) as temporary:
        for name, text in recipe.files.items():
            (temporary / name).write_text(text, encoding="utf-8", newline="\n")
        try:
            with _announced(recipe) if announce else nullcontext():
                _compile(recipe, key, temporary)
        except CompileError as error:
            raise _kept(error, recipe, temporary, folder) from None
        folders.sync(temporary)
        return _install(temporary, folder, key)


def _announced(recipe: _Recipe) -> AbstractContextManager[None]:
    assert recipe.compiler is not None
    seconds = [entry.seconds for entry in entries() if entry.compiler == _called(recipe.compiler)]
    what = f"the native kernel of '{recipe.name}'"
    return working(f"compiling {what}", f"{what} is ready", statistics.median(seconds or [_FIRST_GUESS]))


def _compile(recipe: _Recipe, key: str, folder: Path) -> None:
    """Add the library, what the compiler said and the entry's description to a folder that has the sources."""
    target = folder / library_name(recipe.stem)
    start = time.perf_counter()
    assert recipe.compiler is not None
    said = recipe.compiler.build(folder / f"{recipe.stem}.cpp", target, defines=recipe.defines)
    content = target.read_bytes()
    about = {
        "format": FORMAT, "name": recipe.name, "key": key, "made_of": recipe.made_of,
        "library": target.name, "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(), "compiler": _called(recipe.compiler),
        "flags": " ".join(recipe.compiler.flags), "defines": dict(recipe.defines), "files": list(recipe.files),
        "seconds": round(time.perf_counter() - start, 3), "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    (folder / _SAID).write_text(said, encoding="utf-8")
    (folder / _ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _called(compiler: Compiler) -> str:
    return f"{compiler.version} [{' '.join(compiler.command)}]"


def _kept(error: CompileError, recipe: _Recipe, temporary: Path, folder: Path) -> CompileError:
    """The error anew, with the place where a refused source is kept until the next attempt."""
    (temporary / _SAID).write_text(error.said, encoding="utf-8")
    kept = folder.with_name(f"{folder.name}.failed")
    with contextlib.suppress(OSError):  # another process with the same failure may be faster
        remove(kept)
        temporary.rename(kept)
    return CompileError(error.what, kept / f"{recipe.stem}.cpp", error.said)


def _install(temporary: Path, folder: Path, key: str) -> Path:
    """Give a finished entry its name, in place of a broken one; a sound one that another process put there stays."""
    refused: OSError | None = None
    for attempt in range(_REPLACING_TRIES):
        try:
            temporary.rename(folder)
            sync_names(folder.parent)
        except OSError as error:
            refused = error
        if found := _sound_library(folder, key):
            return found
        _put_away(folder, key)
        time.sleep(0.01 * attempt)
    if refused and temporary.exists():
        raise refused
    raise UserError(f"{folder}: cannot be read as it was just written; set GATEWISE_CACHE to a folder on another disk")


def _put_away(folder: Path, key: str) -> None:
    aside = folder.parent / f".{folder.name}.{secrets.token_hex(8)}.part"
    with contextlib.suppress(OSError):
        folder.rename(aside)
        # Between the look and the renaming another process may have mended the entry: then this is the sound one.
        if _sound_library(aside, key):
            aside.rename(folder)
    remove(aside)
