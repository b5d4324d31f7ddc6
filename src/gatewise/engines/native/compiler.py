"""Finding the machine's C++ compiler, and calling it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewise.engines.native import probe
from gatewise.engines.native.cpu import cpu_mark
from gatewise.engines.native.folder import cache_folder, sync, temporary_folder
from gatewise.engines.native.notice import working
from gatewise.errors import UserError

FLAGS: tuple[str, ...] = (
    "-std=c++17", "-O3", *(() if sys.platform == "win32" else ("-fPIC",)), "-shared", "-fno-math-errno",
    "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden", "-Wall", "-Wextra",
    "-fno-sanitize=undefined",  # zig c++ adds that sanitizer by itself at some levels of optimisation
)  # fmt: skip
ZIG_CACHE = "ziglang-cache"
"""Folder within the cache folder where zig keeps the standard library that it compiles on its first use."""

_FORMAT = 1
_NAMES = ("c++", "g++", "clang++")
_NATIVE: tuple[tuple[str, ...], ...] = (("-march=native",), ("-mcpu=native",), ())  # the second: older compilers on ARM
_PATIENCE = 900.0  # seconds; a compiler that takes longer hangs
_ZIG_SECONDS = 60.0
_ERROR_LINE = re.compile(r"\berror\b|undefined reference|undefined symbol", re.IGNORECASE)
_OTHERS_SETTINGS = ("OMP_", "GOMP_", "KMP_")


class CompileError(UserError):
    """The compiler refused a kernel's source.

    A :class:`UserError` although the source is ours: what helps at once (another compiler, other flags, another engine)
    is in the user's hands, and a traceback through our code would tell nothing that the kept source does not.

    Attributes:
        what: the first line that tells of an error.
        source: where the source is kept.
        said: all that the compiler said.
    """

    def __init__(self, what: str, source: Path, said: str = "") -> None:
        flags = "unset GATEWISE_CXXFLAGS, " if os.environ.get("GATEWISE_CXXFLAGS") else ""
        super().__init__(
            f"the native kernel could not be compiled: {what}; its source is kept in {source}; "
            f"{flags}set GATEWISE_CXX to another compiler, or use another engine"
        )
        self.what, self.source, self.said = what, source, said

    def __reduce__(self) -> tuple[Any, ...]:  # else a worker's error could not be brought to its parent
        return type(self), (self.what, self.source, self.said)


@dataclass(frozen=True)
class Compiler:
    """A C++17 compiler that was seen to make a shared library that loads and runs here.

    Attributes:
        command: how to call it, the program by its whole path.
        version: the first line of ``--version``.
        openmp: whether its OpenMP works, and is the one PyTorch has brought into the process; else kernels start
            threads of their own (``GATEWISE_POOL``).
        native: the flags that stand for "this very CPU".
    """

    command: tuple[str, ...]
    version: str
    openmp: bool
    native: tuple[str, ...] = _NATIVE[0]

    @property
    def flags(self) -> tuple[str, ...]:
        """Every flag, those of ``GATEWISE_CXXFLAGS`` last: for experts, as ``-march=x86-64-v3`` or ``-g``.

        Raises:
            UserError: ``GATEWISE_CXXFLAGS`` has a quotation mark without its partner.
        """
        return (*self.own_flags, *_split("GATEWISE_CXXFLAGS"))

    @property
    def own_flags(self) -> tuple[str, ...]:
        """The flags that do not come from the environment."""
        threads = ("-fopenmp",) if self.openmp else ("-DGATEWISE_POOL", "-pthread")
        stripped = ("-s",) if is_zig(self.command) else ()  # zig links libc++ in: 2.5 MB a kernel with its names
        return (*FLAGS, *self.native, *threads, *stripped)

    def build(self, source: Path, target: Path, *, defines: Mapping[str, str] = {}, flags: Sequence[str] = ()) -> str:
        """Compile ``source`` to the shared library ``target``; headers lie beside the source.

        Args:
            source: the C++ file.
            target: the library to write.
            defines: preprocessor names and their values.
            flags: flags beside :attr:`flags`, after them.

        Returns:
            What the compiler said: its warnings, or "".

        Raises:
            CompileError: with the first error line; the source is left where it is.
            UserError: see :attr:`flags`.
        """
        names = (f"-D{name}={value}" for name, value in defines.items())
        return _compile([*self.command, *self.flags, *flags, *names], source, target)


def _compile(command: Sequence[str], source: Path, target: Path) -> str:
    program = command[0]
    try:
        # In the source's folder: messages then name the file, wherever the folder is moved later.
        done = _run([*command, source.name, "-o", str(target.absolute())], folder=source.absolute().parent)
    except OSError as error:
        raise CompileError(f"{program}: {error.strerror or error}", source) from None
    except subprocess.TimeoutExpired:
        raise CompileError(f"{program} did not end within {_PATIENCE:.0f} s", source) from None
    said = done.stderr + done.stdout
    if done.returncode != 0:
        raise CompileError(_first_error(said) or _ending(done.returncode), source, said)
    if not target.is_file():
        raise CompileError(f"{program} reported success and wrote no library", source)
    return said


def find_compiler() -> Compiler | None:
    """The compiler for kernels: ``GATEWISE_CXX``, else c++, g++, clang++ on the path, else the package ziglang's.

    Looked for once a process; :func:`forget_compiler` forgets. What a compiler can do is tried once and remembered in
    the cache folder, so that a later process only asks for its version.

    Returns:
        None where there is none that works; :func:`refusals` then says what was wrong with each.

    Raises:
        UserError: ``GATEWISE_CXX`` is set and does not work.
    """
    found = _search()
    if found.mistake:
        raise UserError(found.mistake)
    return found.compiler


def refusals() -> tuple[str, ...]:
    """What was wrong with each compiler found and not taken, one line each."""
    return _search().refusals


def forget_compiler() -> None:
    """Let the next :func:`find_compiler` look again, as after a change of the environment."""
    _search.cache_clear()


@dataclass(frozen=True)
class _Search:
    compiler: Compiler | None
    refusals: tuple[str, ...] = ()
    mistake: str = ""


class _Refusal(Exception):  # noqa: N818  (an answer, not a failure)
    """Why a compiler does not count, in one line."""


@functools.cache
def _search() -> _Search:
    if os.environ.get("GATEWISE_CXX"):
        try:
            return _Search(_examine(_split("GATEWISE_CXX")))
        except UserError as error:
            return _Search(None, mistake=str(error))
        except _Refusal as error:
            line = f"GATEWISE_CXX={os.environ['GATEWISE_CXX']}: does not work as a C++ compiler: {error}"
            return _Search(None, mistake=f"{line}; set it to one that does, or unset it")
    refused: dict[str, str] = {}
    for command in _candidates():
        real = os.path.realpath(command[0])
        if real not in refused:  # c++ is mostly another name of one of the others
            try:
                return _Search(_examine(command), tuple(refused.values()))
            except _Refusal as error:
                refused[real] = f"{command[0]}: {error}"
    return _Search(None, tuple(refused.values()))


def _candidates() -> Iterator[tuple[str, ...]]:
    for name in _NAMES:
        if program := shutil.which(name):
            yield (program,)
    package = importlib.util.find_spec("ziglang")
    for folder in (package and package.submodule_search_locations) or ():
        # The program itself, which `python -m ziglang` would start: its path and date tell one version from another.
        if program := shutil.which("zig", path=folder):
            yield (program, "c++")


def is_zig(command: Sequence[str]) -> bool:
    """Whether a command calls zig, as ``zig c++`` or ``python -m ziglang c++``."""
    return any(Path(word).stem in ("zig", "ziglang") for word in command)


def _split(variable: str) -> tuple[str, ...]:
    text = os.environ.get(variable, "")
    try:
        return tuple(shlex.split(text, posix=os.name == "posix"))
    except ValueError as error:
        raise UserError(f"{variable}={text}: {error}; mend or unset it") from None


def _examine(command: tuple[str, ...]) -> Compiler:
    """The compiler behind a command.

    Raises:
        _Refusal: it does not work.
    """
    program = shutil.which(os.path.expanduser(command[0])) if command else None
    if program is None:
        raise _Refusal("no such program")
    command = (os.path.abspath(program), *command[1:])
    version = _version(command)
    remembered = _remembered_name(command, version)
    openmp, native = _recall(remembered) or (None, ())
    if openmp is None:
        notice = working("setting up the C++ compiler of zig", "the C++ compiler of zig is ready", _ZIG_SECONDS)
        with notice if is_zig(command) else nullcontext(), _trial_folder() as folder:
            openmp, native = _try(command, version, folder)
        _remember(remembered, openmp, native)
    return Compiler(command, version, openmp, native)


def _version(command: tuple[str, ...]) -> str:
    try:
        done = _run([*command, "--version"], seconds=60)
    except OSError as error:
        raise _Refusal(error.strerror or str(error)) from None
    except subprocess.TimeoutExpired:
        raise _Refusal("does not answer --version") from None
    lines = done.stdout.split("\n")
    if done.returncode != 0 or not lines[0].strip():
        raise _Refusal(_first_error(done.stderr + done.stdout) or _ending(done.returncode))
    return lines[0].strip()


def _try(command: tuple[str, ...], version: str, folder: Path) -> tuple[bool, tuple[str, ...]]:
    """Whether OpenMP works, and the flags that stand for this CPU: of those that work, the first."""
    refusal = _Refusal()
    for native in _NATIVE:
        for openmp in (True, False):
            try:
                _load(Compiler(command, version, openmp, native), folder)
            except _Refusal as error:
                refusal = error
            else:
                return openmp, native
    raise refusal


def _load(compiler: Compiler, folder: Path) -> None:
    """Compile the probe, load it in another process, and compare its answer.

    The other process first loads the OpenMP that PyTorch brought into this one. A compiler whose OpenMP is not the same
    is refused: two mean two sets of threads on the same cores, and on some systems the end of the process.
    """
    source, target = folder / "probe.cpp", folder / library_name("probe")
    source.write_text(probe.SOURCE, encoding="utf-8")
    target.unlink(missing_ok=True)
    here = probe.openmp_libraries()
    try:
        # Without the flags of the environment: a mistake there is to be called that, and not a missing compiler.
        _compile([*compiler.command, *compiler.own_flags], source, target)
        before = sorted(here or ()) if compiler.openmp else ()
        done = _run([sys.executable, "-I", probe.__file__, str(target), *before], seconds=120)
    except CompileError as error:
        raise _Refusal(error.what) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _Refusal(f"its library could not be tried: {error}") from None
    try:
        found = json.loads(done.stdout)
        right, added = found["answer"] == probe.ANSWER, found["added"]
    except (ValueError, KeyError, TypeError):
        why = done.stderr.strip().split("\n")[-1] or _ending(done.returncode)
        raise _Refusal(f"its library does not load: {why}") from None
    if not right:
        raise _Refusal("its library computes a wrong answer")
    if compiler.openmp and (here is None or (here and added)):
        raise _Refusal("its OpenMP is not the one of PyTorch")


@contextmanager
def _trial_folder() -> Iterator[Path]:
    """In the cache folder, since others may be mounted such that no library can be loaded; else wherever possible."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(temporary_folder(cache_folder(), "trial"))
        except UserError:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gatewise-")))
        yield folder


def _remembered_name(command: tuple[str, ...], version: str) -> str:
    programs = [path for word in command if (path := shutil.which(word))]
    real = [(os.path.realpath(path), os.stat(path).st_mtime_ns) for path in programs]
    here = sorted(probe.openmp_libraries() or ())
    about = [_FORMAT, command, version, real, FLAGS, probe.SOURCE, cpu_mark(), sys.platform, here]
    return f"compiler-{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]}.json"


def _recall(name: str) -> tuple[bool, tuple[str, ...]] | None:
    with contextlib.suppress(OSError, UserError, ValueError, KeyError, TypeError):
        found = json.loads((cache_folder() / name).read_text(encoding="utf-8"))
        openmp, native = found["openmp"], tuple(found["native"])
        if isinstance(openmp, bool) and native in _NATIVE:
            return openmp, native
    return None


def _remember(name: str, openmp: bool, native: tuple[str, ...]) -> None:
    """Only what works is remembered: a compiler that lacks its headers today may have them tomorrow."""
    with contextlib.suppress(UserError), temporary_folder(cache_folder(), "compiler") as folder:
        (folder / name).write_text(json.dumps({"openmp": openmp, "native": native}))
        sync(folder)
        (folder / name).replace(cache_folder() / name)


def library_name(name: str) -> str:
    """The file name of a shared library."""
    return f"{name}.dll" if sys.platform == "win32" else f"{name}.so"


def _run(command: Sequence[str], folder: Path | None = None, seconds: float = _PATIENCE) -> Any:
    """Run a command to its end, in a process group of its own.

    Ctrl-C then reaches this process alone, which may have noted it and mean to go on; and when it does not, all that
    the command has started ends with it, not the command alone.
    """
    with subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        process_group=0 if os.name == "posix" else None,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _environment(command: Sequence[str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OTHERS_SETTINGS)}
    kept["LC_ALL"] = "C"  # errors are looked for by their English name
    if is_zig(command):
        with contextlib.suppress(UserError):
            for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
                kept.setdefault(name, str(cache_folder() / ZIG_CACHE))
    return kept


def _first_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return next((line for line in lines if _ERROR_LINE.search(line)), lines[0] if lines else "")


def _ending(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
