"""Text from outside: a file, the book's cleaning of it, and a text that every CPython carries."""

import codecs
import os
import re
from pathlib import Path

from gatewise.errors import UserError

_BYTE_ORDER_MARK = "\ufeff"
_NUMPY = b"\x93NUMPY"


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    r"""Reads a text file: a byte-order mark is stripped, CRLF and CR become ``\n``, the rest stays as it is.

    No Unicode normalisation takes place: what the file says is what a model learns.

    Raises:
        UserError: the file is missing, a directory, unreadable or empty (only whitespace counts as empty), is
            not text in ``encoding`` (the message names the byte and its offset), or there is no such
            encoding.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "windows.txt")
    ...     _ = path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r")
    ...     read_text(path)
    'one\ntwo\n'
    """
    path = Path(path)
    data = _read_bytes(path)
    text = _decode(data, encoding, path).removeprefix(_BYTE_ORDER_MARK)
    if not text.strip():
        raise UserError(f"{_shown(path)} holds no text, only {len(data)} bytes of blanks: give a file with text in it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean_like_the_book(text: str) -> str:
    r"""*Dive into Deep Learning*'s cleaning: all but A to Z becomes a blank, in lower case.

    A run of other characters is one blank. Each line is cleaned and stripped by itself, and the lines are
    joined with nothing between, so the last word of one and the first of the next stand together: the book's
    corpus is made so, and its figures rest on it.

    Raises:
        UserError: nothing is left of the text, because it has no letter from A to Z.

    >>> clean_like_the_book("The Time Machine, by\nH. G. Wells [1898]\n")
    'the time machine byh g wells'
    """
    cleaned = "".join(re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in text.split("\n"))
    if text and not cleaned:
        raise UserError(
            f"the book's cleaning keeps the letters A to Z alone and leaves nothing of this text, which "
            f"begins {text[:20]!r}: use the text without the cleaning"
        )
    return cleaned


def python_reference() -> str:
    """The Python language reference that CPython carries for ``help()``: half a million characters.

    Sections stand in alphabetical order of their topics, a blank line between. The text differs a little from
    one Python version to the next.

    Raises:
        UserError: this Python comes without ``pydoc_data`` (some slim distributions strip it).

    >>> "The \\"assert\\" statement" in python_reference()
    True
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError(
            "this Python comes without its language reference (the module pydoc_data.topics): "
            "give a text file of your own, or install the full Python"
        ) from None
    return "\n\n".join(topics[topic].strip("\n") for topic in sorted(topics)) + "\n"


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        # Windows answers PermissionError for a directory: ask what the path is before believing the error.
        if os.path.isdir(path):  # and not path.is_dir(), which fails where the name is too long
            reason = "is a directory: name a text file in it"
        elif isinstance(error, FileNotFoundError):
            reason = f"does not exist (looked for in {Path.cwd()}): check the name, or give the full path"
        elif isinstance(error, PermissionError):
            reason = "may not be read by this user (no permission): change its permissions, or copy it"
        else:
            reason = f"cannot be read ({error.strerror or error}): check the path"
        raise UserError(f"{_shown(path)} {reason}") from None
    except ValueError:  # a NUL character in the name
        raise UserError(f"{_shown(path)} is not a possible file name: check the path") from None
    if not data:
        raise UserError(f"{_shown(path)} is empty (0 bytes): give a file with text in it")
    return data


def _decode(data: bytes, encoding: str, path: Path) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        # A codec that took a byte-order mark off counts from behind it; the user's editor does not.
        offset = error.start + len(data) - len(error.object)
        raise UserError(
            f"{_shown(path)} is not {encoding} text: byte 0x{data[offset]:02x} at offset {offset} "
            f"({error.reason}); {_remedy(data, encoding)}"
        ) from None
    except (LookupError, ValueError):  # unknown, not a text encoding ("hex"), or an impossible name
        raise UserError(
            f"unknown text encoding {encoding!r} for {_shown(path)}: give --encoding a name that Python "
            "knows, e.g. utf-8, utf-16, latin-1 or gb18030"
        ) from None


def _remedy(data: bytes, encoding: str) -> str:
    if data.startswith(_NUMPY):
        return "it is a NumPy array, and a text is wanted"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and "16" not in encoding:
        return "it begins like UTF-16: try --encoding utf-16"
    if b"\0" in data:
        return "it has bytes of zero, which no text has: give a text file"
    return "say what it is with --encoding, e.g. latin-1 (Western Europe) or gb18030 (Chinese)"


def _shown(path: Path) -> str:
    return repr(str(path))
