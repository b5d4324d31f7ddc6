"""Reading text: what comes in is what the file says, and every bad file ends in one helpful line."""

import builtins
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from gatewise.data import clean_like_the_book, fit_tokenizer, python_reference, read_text
from gatewise.errors import UserError

DATA = Path(os.environ.get("GATEWISE_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def written(folder: Path, data: bytes) -> Path:
    path = folder / "input.txt"
    path.write_bytes(data)
    return path


def complaint(path: str | Path, encoding: str = "utf-8") -> str:
    with pytest.raises(UserError) as caught:
        read_text(path, encoding)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.__cause__ is None
    return message


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\nb\n", "a\nb\n"),
        (b"a\r\nb\rc\n\r\n", "a\nb\nc\n\n"),
        (b"\xef\xbb\xbfa\r\n", "a\n"),
        ("时间旅行者 🕰️\n".encode(), "时间旅行者 🕰️\n"),
        (
            "e\u0301 \u00e9 \u2028 \x0b x".encode(),
            "e\u0301 \u00e9 \u2028 \x0b x",
        ),  # neither composed nor split
        (b"\xef\xbb\xbf\xef\xbb\xbfa", "\ufeffa"),  # only the mark in front is a mark
    ],
)
def test_text_arrives_as_written(tmp_path, data, text):
    assert read_text(written(tmp_path, data)) == text
    assert read_text(str(written(tmp_path, data))) == text


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030"])
def test_other_encodings_with_and_without_mark(tmp_path, encoding):
    assert read_text(written(tmp_path, "时间\r\n机器".encode(encoding)), encoding) == "时间\n机器"
    assert read_text(written(tmp_path, "\ufeffz".encode("utf-16-le")), "utf-16-le") == "z"


def test_latin_1_read_as_utf_8_names_byte_offset_and_remedy(tmp_path):
    path = written(tmp_path, "a plain line\ncafé au lait".encode("latin-1"))
    message = complaint(path)
    assert str(path) in message
    assert "byte 0xe9 at offset 16" in message
    assert "--encoding" in message
    assert "latin-1" in message
    assert "gb18030" in message
    assert read_text(path, "latin-1").endswith("café au lait")


def test_offset_counts_the_byte_order_mark(tmp_path):
    assert "byte 0xff at offset 6" in complaint(written(tmp_path, b"\xef\xbb\xbfabc\xff"), "utf-8-sig")


def test_utf_16_is_recognised(tmp_path):
    path = written(tmp_path, "hello".encode("utf-16"))
    message = complaint(path)
    assert "byte 0xff at offset 0" in message
    assert "--encoding utf-16" in message
    assert read_text(path, "utf-16") == "hello"


@pytest.mark.parametrize("data", [b"", b"\n", b" \r\n\t ", b"\xef\xbb\xbf", "\u3000\n".encode()])
def test_empty_file(tmp_path, data):
    path = written(tmp_path, data)
    message = complaint(path)
    assert str(path) in message
    assert "give a file with text" in message


def test_missing_file(tmp_path):
    path = tmp_path / "nowhere.txt"
    message = complaint(path)
    assert str(path) in message
    assert "does not exist" in message
    assert "check the name" in message


def test_directory(tmp_path):
    message = complaint(tmp_path)
    assert str(tmp_path) in message
    assert "directory: name a text file" in message


def test_no_permission(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Permission denied", str(self))

    path = written(tmp_path, b"secret")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    message = complaint(path)
    assert str(path) in message
    assert "no permission" in message
    assert "is a directory" in complaint(tmp_path)  # Windows' answer for a directory


def test_impossible_paths(tmp_path):
    path = written(tmp_path, b"x")
    assert str(path / "below") in complaint(path / "below")
    assert "check the path" in complaint(str(tmp_path / ("x" * 5000)))
    assert "check the path" in complaint("a\0b")


@pytest.mark.parametrize("encoding", ["klingon", "hex", "", "a\0b", "undefined"])
def test_unknown_encoding(tmp_path, encoding):
    path = written(tmp_path, b"text")
    message = complaint(path, encoding)
    assert repr(encoding) in message
    assert str(path) in message
    assert "--encoding" in message


def test_cleaning_by_hand():
    text = "  The Time-Traveller\n\n(for so)\tit's 1895!\né\n"
    assert clean_like_the_book(text) == "the time travellerfor so it s"
    assert clean_like_the_book("") == ""


def test_cleaning_that_leaves_nothing():
    with pytest.raises(UserError, match=r"A to Z.*时间.*without the cleaning"):
        clean_like_the_book("时间旅行者\n1895")


def test_python_reference():
    text = python_reference()
    assert len(text) > 300_000
    assert text == python_reference()
    assert "\r" not in text
    headings = [text.index(f"\n\n{first}") for first in ("Attribute references\n***", "Subscriptions\n***")]
    assert headings == sorted(headings)


def test_python_reference_missing(monkeypatch):
    original = builtins.__import__

    def without_reference(name, *rest):
        if name.startswith("pydoc_data"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_reference)
    with pytest.raises(UserError, match=r"pydoc_data\.topics.*text file of your own"):
        python_reference()


@pytest.mark.slow
def test_the_time_machine_is_the_books():
    path = DATA / "text" / "timemachine.txt"
    if not path.exists():
        pytest.skip(f"needs The Time Machine at {path} (GATEWISE_DATA names another folder)")
    with open(path, encoding="utf-8-sig") as file:
        lines = [re.sub("[^A-Za-z]+", " ", line).strip().lower() for line in file]
    text = clean_like_the_book(read_text(path))
    assert text == "".join(lines)
    assert len(text) == 170_580
    tokenizer = fit_tokenizer("char", text)
    assert tokenizer.size == 28
    assert list(tokenizer.tokens) == ["<unk>"] + [char for char, _ in Counter(text).most_common()]
    assert tokenizer.decode(tokenizer.encode(text)) == text
