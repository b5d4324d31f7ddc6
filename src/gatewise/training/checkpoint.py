"""The only reader and writer of weights: safetensors, checked before it is loaded, replaced whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from gatewise.errors import UserError
from gatewise.files import sync_names

FORMAT = 1
"""Version of the run folder and of the files in it; newer ones are refused."""

_KEY = "gatewise"
_LONGEST_HEADER = 100 * 1024 * 1024  # safetensors' own limit
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file in the same folder that takes the place of ``path`` when the block ends well.

    Raises:
        UserError: the disk is full or the folder read-only; ``path`` is as it was.
    """
    temporary: Path | None = None
    try:
        name = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less the user's umask
        temporary = name
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        temporary = None
        sync_names(path.parent)
    except OSError as error:
        raise UserError(_could_not_write(path, error)) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _could_not_write(path: Path, error: OSError) -> str:
    kept = "; the file that was there is unchanged" if path.exists() else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{path}: no space left on the disk{kept}; free some, then run `gatewise resume`"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path}: the folder does not allow writing{kept}; choose another with --out"
    return f"{path}: could not be written: {error.strerror or error}{kept}"


def write_text(path: Path, text: str) -> None:
    """Replace a text file whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors, with ``about`` (plain JSON types) in the file's metadata."""
    metadata = {_KEY: json.dumps({"format": FORMAT, **about}, ensure_ascii=False)}
    data = safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in tensors.items()}, metadata)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def read_about(path: Path) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """The metadata and the tensors' shapes, from the header alone; no tensor is loaded.

    Raises:
        UserError: missing, a pickle, not safetensors, damaged, without our metadata, or from a newer version.
    """
    header = _read_header(path)
    try:
        about = json.loads(header.pop("__metadata__", {})[_KEY])
        shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in header.items()}
        version = about["format"]
    except _MALFORMED:
        raise UserError(
            f"{path}: safetensors, but not written by gatewise, its metadata has no model; use the weights of a run"
        ) from None
    if not isinstance(version, int) or version > FORMAT:
        raise UserError(
            f"{path}: made by a newer gatewise (format {version}, this one reads up to {FORMAT}); "
            "run: pip install --upgrade gatewise"
        )
    return about, shapes


def read_tensors(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Tensor]:
    """The tensors of a file, after its header was checked against ``shapes``, if given.

    Raises:
        UserError: as :func:`read_about`; names, shapes or a kind of number that disagree; a file shorter or longer
            than its header says; a value that is not a number.
    """
    _, found = read_about(path)
    if shapes is not None:
        _compare(path, found, shapes)
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(_damaged(path, str(error))) from None
    for name, tensor in tensors.items():
        if shapes is not None and tensor.dtype != torch.float32:
            raise UserError(f"{path}: the tensor {name} is {tensor.dtype}, weights are torch.float32; use another copy")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{path}: the tensor {name} has values that are not finite numbers; train again")
    return tensors


def _damaged(path: Path, why: str) -> str:
    return f"{path}: damaged ({why}); use another copy, or train again"


def _read_header(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
            content = file.read(length) if length <= min(size - 8, _LONGEST_HEADER) else None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; is the run finished, or is this another folder?") from None
    except OSError as error:
        raise UserError(f"{path}: could not be read: {error.strerror}; use another copy") from None
    if content is None:
        # Only now: the length of a sound header may begin with the same bytes as a pickle or a zip.
        if start.startswith((b"\x80", b"PK")):
            raise UserError(
                f"{path}: a pickle (torch.save), which could run code when opened; gatewise reads safetensors only"
            )
        raise UserError(_damaged(path, f"{size} bytes, too short for its header, or not a safetensors file"))
    try:
        header = json.loads(content)
        ends = [int(e["data_offsets"][1]) for name, e in header.items() if name != "__metadata__"]
    except _MALFORMED:
        raise UserError(_damaged(path, "its header is not that of a safetensors file")) from None
    wanted = 8 + length + max(ends, default=0)
    if size != wanted:
        raise UserError(_damaged(path, f"{size} bytes where the header says {wanted}"))
    return header


def _compare(path: Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in wanted.items():
        if name not in found:
            raise UserError(f"{path}: has no tensor {name}, which its configuration asks for; use another copy")
        if found[name] != tuple(shape):
            raise UserError(
                f"{path}: the tensor {name} has shape {found[name]}, its configuration says {tuple(shape)}; "
                "use another copy"
            )
    extra = sorted(set(found) - set(wanted))
    if extra:
        raise UserError(f"{path}: has a tensor {extra[0]} that its configuration does not know; use another copy")
