"""Where compiled kernels are kept, and how a folder of files appears there: whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gatewise.errors import UserError
from gatewise.files import sync_names

STALE_SECONDS = 3600.0
"""Age from which a temporary folder is taken for the remains of a killed process."""


def cache_folder() -> Path:
    """The user's folder for compiled kernels; it need not be there yet.

    ``GATEWISE_CACHE`` names it. Without that it is ``gatewise`` in the platform's place for caches:
    ``$XDG_CACHE_HOME`` or ``~/.cache``, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.

    Raises:
        UserError: there is no home folder to put it in.
    """
    try:
        if named := os.environ.get("GATEWISE_CACHE"):
            return Path(named).expanduser().absolute()
        return _platform_caches() / "gatewise"
    except RuntimeError:
        raise UserError("no home folder to keep compiled kernels in; set GATEWISE_CACHE to a folder") from None


def _platform_caches() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return xdg if xdg.is_absolute() else Path.home() / ".cache"  # a relative one is to be ignored, says the standard


def make(root: Path) -> None:
    """Make the cache folder if it is not there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)  # a library from here runs: only its owner may put one in
    except OSError as error:
        raise UserError(_could_not_write(root, error)) from None


@contextmanager
def temporary_folder(root: Path, name: str) -> Iterator[Path]:
    """A new folder in ``root`` (made if absent), gone when the block ends, unless it was renamed meanwhile.

    Raises:
        UserError: ``root`` cannot be made or written to, or the disk is full; the block's own ``OSError`` likewise.
    """
    make(root)
    temporary = root / f".{name}.{secrets.token_hex(8)}.part"
    try:
        temporary.mkdir()
        yield temporary
    except OSError as error:
        raise UserError(_could_not_write(root, error)) from None
    finally:
        remove(temporary)


def _could_not_write(root: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{root}: no space left for compiled kernels; free some, or set GATEWISE_CACHE to another folder"
    why = error.strerror or error
    return f"{root}: the cache folder for compiled kernels cannot be written to ({why}); set GATEWISE_CACHE to another"


_written: set[Path] = set()


def why_not_writable() -> str | None:
    """One line saying why nothing can be written to the cache folder, or None.

    It is tried, since permissions do not tell all, and once only: this is asked before every use of a kernel.
    """
    try:
        root = cache_folder()
        if root not in _written:
            with temporary_folder(root, "trial"):
                _written.add(root)
    except UserError as error:
        return str(error)
    return None


def sync(folder: Path) -> None:
    """Bring the files of a folder, and their names, to the disk."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    sync_names(folder)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and the system lets go of it."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_stale(root: Path) -> None:
    """Remove what killed processes left in ``root``; a younger folder may be another process's build under way."""
    with contextlib.suppress(OSError):
        for path in root.glob(".*.part"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_SECONDS:
                    remove(path)
