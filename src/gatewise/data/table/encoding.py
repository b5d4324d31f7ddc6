"""A text file's bytes as UTF-8."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

import numpy as np

from gatewise.data.table.header import shown
from gatewise.errors import UserError

_CHUNK = 1 << 23

_MARKS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

_BINARY = {b"PK\x03\x04": "an Excel file or a ZIP archive", b"PAR1": "a Parquet file", b"\x1f\x8b": "packed by gzip"}

_WORD = re.compile(r"[\u4e00-\u9fff]{2,}")
_LONE = re.compile(r"(?<![\u4e00-\u9fff])([\u4e00-\u9fff])(?![\u4e00-\u9fff])")


def as_utf8(content: np.ndarray, name: str, say: Callable[[str], None]) -> tuple[np.ndarray, bool]:
    """The bytes without byte-order mark, and whether they are others than the file's (but for that mark).

    UTF-8 stays as it is. UTF-16 with its mark is recoded, and so is GB18030 (GBK), if all of it can be decoded and
    there is a Chinese word of two characters or more, and no lone one that looks like a letter with an accent: "Größe"
    and "Año" in Latin-1 are valid GB18030 too. Other encodings are refused: which one it is, nothing in a file tells.

    Raises:
        UserError: not a text, or in another encoding; the message names the row.
    """
    start = bytes(content[:4])
    for magic, what in _BINARY.items():
        if start.startswith(magic):
            raise UserError(f"{name}: is {what} by its first bytes, not a text; give it the ending it should have")
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return _recoded(content[len(mark) :], encoding, name, say), True
    if start.startswith(codecs.BOM_UTF8):
        content = content[len(codecs.BOM_UTF8) :]
    _check_controls(content, name)
    bad = _first_bad(content, "utf-8")
    if bad is None:
        return content, False
    word = _chinese_word(content, bad)
    if not word:
        raise UserError(
            f"{name}: row {_row(content, bad)}: byte 0x{content[bad]:02x} is not UTF-8, nor is the file GB18030 "
            "(Chinese); if it is Latin-1 (Western Europe) or another encoding, save it as UTF-8"
        )
    other = _first_bad(content, "gb18030")
    if other is not None:
        raise UserError(
            f"{name}: row {_row(content, other)}: byte 0x{content[other]:02x} is not GB18030 (Chinese), as row "
            f"{_row(content, bad)} is; mend the row, or save the file as UTF-8"
        )
    say(f"{name}: read as GB18030 ({shown(word)} in row {_row(content, bad)})")
    return _recoded(content, "gb18030", name, None), True


def _row(content: np.ndarray, place: int) -> int:
    return int((content[:place] == ord("\n")).sum()) + 1


def _check_controls(content: np.ndarray, name: str) -> None:
    """No NUL byte, and lines that end as everyone's do."""
    ends = returns = 0
    for start in range(0, len(content), _CHUNK):
        part = content[start : start + _CHUNK]
        if not part.all():
            row = ends + int((part[: int(np.argmin(part))] == ord("\n")).sum()) + 1
            raise UserError(f"{name}: row {row}: a NUL byte; the file is binary or damaged, write it anew as text")
        ends += int((part == ord("\n")).sum())
        returns += 0 if ends else int((part == ord("\r")).sum())
    if returns and not ends:
        raise UserError(f"{name}: its lines end with CR alone, as on old Macs; save it with LF or CRLF")


def _first_bad(content: np.ndarray, encoding: str) -> int | None:
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    for start in range(0, len(content), _CHUNK):
        held = len(decoder.getstate()[0])
        try:
            decoder.decode(content[start : start + _CHUNK].tobytes(), final=start + _CHUNK >= len(content))
        except UnicodeDecodeError as error:
            return start - held + error.start
    return None


def _chinese_word(content: np.ndarray, bad: int) -> str:
    """A word where the first byte is that is not UTF-8, if that is GB18030; else ""."""
    if (content[:bad] >= 0xE0).any():  # UTF-8 with a damage: characters of three bytes that are right come before it
        return ""
    around = content[max(0, bad - 200) : bad + 4000].tobytes()
    rows = around[around.rfind(b"\n", 0, min(bad, 200)) + 1 :]
    found = rows.decode("gb18030", "replace")
    word = _WORD.search(found)
    return word.group() if word and not _accented(found) else ""


def _accented(text: str) -> bool:
    """Whether a lone Chinese character is between two Latin letters, or beside one and its second byte is another."""
    for lone in _LONE.finditer(text):
        around = text[max(0, lone.start() - 1) : lone.start()], text[lone.end() : lone.end() + 1]
        beside = sum(letter.isascii() and letter.isalpha() for letter in around)
        if beside == 2 or (beside and lone[0].encode("gb18030")[1] < 0x80):
            return True
    return False


def _recoded(content: np.ndarray, encoding: str, name: str, say: Callable[[str], None] | None) -> np.ndarray:
    try:
        text = content.tobytes().decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: begins as {encoding} and is not ({error.reason}); save it as UTF-8") from None
    if say:
        say(f"{name}: read as {encoding.upper()}")
    recoded = np.frombuffer(text.encode(), np.uint8)
    _check_controls(recoded, name)
    return recoded
