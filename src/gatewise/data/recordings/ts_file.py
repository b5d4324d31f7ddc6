"""``.ts`` files, as sktime and aeon keep collections of labelled sequences in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gatewise.data.recordings.sequences import Recording, Sequences
from gatewise.data.text import read_text
from gatewise.errors import UserError

_MISSING = frozenset(("?", "nan"))
_FLAGS = ("timestamps", "missing", "univariate", "equallength")
_WORDS = ("problemname", "dimensions", "dimension", "serieslength", "classlabel", "targetlabel")


@dataclass(frozen=True)
class _Header:
    """What the directives say; None and empty where they say nothing.

    Attributes:
        labels: the classes that are declared.
        channels: of a sequence.
        steps: of every sequence.
        equal: whether all sequences have as many steps as the first.
        without: whether lines end without a label.
    """

    labels: tuple[str, ...]
    channels: int | None
    steps: int | None
    equal: bool
    without: bool


def read_ts(path: str | Path, labelled: bool = True) -> Sequences:
    r"""The sequences of a ``.ts`` file: a line each, channels with ``:`` between, values with ``,``, the label last.

    ``?`` and ``NaN`` are missing values. A recording is called by its line.

    Args:
        path: of the file.
        labelled: whether labels are wanted; without, a file may have none, and its recordings' are empty then.

    Raises:
        UserError: the file is missing or has no data; no class labels, time stamps, or a directive that is not known;
            a line with another number of channels, channels of different lengths, text in the place of a number, or
            a label that is not declared. The file and the line are named.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "two.ts")
    ...     _ = path.write_text("@classLabel true a b\n@data\n1,2,?:4,5,6:a\n7:8:b\n")
    ...     [(one.name, one.values.tolist(), one.label) for one in read_ts(path)]
    [('line 3', [[1.0, 4.0], [2.0, 5.0], [nan, 6.0]], 'a'), ('line 4', [[7.0, 8.0]], 'b')]
    """
    path = Path(path)
    lines = read_text(path).split("\n")
    start, header = _read_header(path, lines, labelled)
    recordings = []
    for number, line in enumerate(lines[start:], start + 1):
        if not line.strip() or line.startswith("#"):
            continue
        one = _read_line(path, number, line, header)
        if recordings and header.equal and len(one) != len(recordings[0]):
            raise UserError(
                f"{path}, line {number}: {len(one)} steps, but {recordings[0].name} has {len(recordings[0])} and the "
                "header says @equalLength true; mend one of them"
            )
        if recordings and one.values.shape[1] != recordings[0].values.shape[1]:
            raise UserError(
                f"{path}, line {number}: {one.values.shape[1]} channels, but {recordings[0].name} has "
                f"{recordings[0].values.shape[1]}; mend that line"
            )
        recordings.append(one)
    if not recordings:
        raise UserError(f"{path}: has no sequences after @data; give a file with some")
    return Sequences(str(path), tuple(recordings))


def _read_header(path: Path, lines: list[str], labelled: bool) -> tuple[int, _Header]:
    """The number of lines up to @data, and what they say."""
    said: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        place, directive = f"{path}, line {number}", words[0].lower()
        if directive == "@data":
            return number, _header_of(path, said, labelled)
        if not directive.startswith("@"):
            raise UserError(f"{place}: want a directive such as @classLabel before @data, got {line[:40]!r}")
        name, value = directive[1:], words[1].strip() if len(words) == 2 else ""
        if name not in (*_FLAGS, *_WORDS):
            raise UserError(f"{place}: the directive {words[0]} is not one of a .ts file; mend or delete that line")
        if name in _FLAGS and value.lower() not in ("true", "false"):
            raise UserError(f"{place}: {words[0]} wants true or false, got {value[:40]!r}")
        if name in ("dimensions", "dimension", "serieslength") and not (value.isdecimal() and int(value) > 0):
            raise UserError(f"{place}: {words[0]} wants a whole number above 0, got {value[:40]!r}")
        said[name] = value
    raise UserError(f"{path}: has no line @data; is it a .ts file?")


def _header_of(path: Path, said: dict[str, str], labelled: bool) -> _Header:
    labels = said.get("classlabel", "").split()
    without = not labels or labels[0].lower() != "true"
    if "targetlabel" in said or (labelled and without):
        raise UserError(f"{path}: has no class labels (@classLabel true ...); a classifier cannot learn from it")
    if len(set(labels[1:])) < len(labels[1:]):
        raise UserError(f"{path}: @classLabel names a class twice; mend that line")
    if said.get("timestamps", "").lower() == "true":
        raise UserError(f"{path}: @timeStamps true is not read; write the values alone, at even steps")
    channels = said.get("dimensions", said.get("dimension"))
    if said.get("univariate", "").lower() == "true":
        if channels not in (None, "1"):
            raise UserError(f"{path}: the header says @univariate true and @dimensions {channels}; mend one of them")
        channels = "1"
    steps = said.get("serieslength")
    equal = said.get("equallength", "").lower()
    return _Header(
        tuple(labels[1:]), int(channels) if channels else None, int(steps) if steps and equal != "false" else None,
        equal == "true", without,
    )  # fmt: skip


def _read_line(path: Path, number: int, line: str, header: _Header) -> Recording:
    place = f"{path}, line {number}"
    channels = [part.strip() for part in line.split(":")]
    label = "" if header.without else channels.pop()
    if not channels:
        raise UserError(f"{place}: want channels with : between and the label last, got {line[:40]!r}")
    if header.labels and not header.without and label not in header.labels:
        known = ", ".join(header.labels[:12])
        raise UserError(f"{place}: ends with the label {label[:40]!r}, and @classLabel declares {known}; mend one")
    if not label and not header.without:
        raise UserError(f"{place}: has no label at its end; mend that line")
    if header.channels is not None and len(channels) != header.channels:
        raise UserError(f"{place}: {len(channels)} channels, but the header says {header.channels}; mend one of them")
    values = [_numbers(place, channel, text) for channel, text in enumerate(channels, 1)]
    for channel, one in enumerate(values, 1):
        if len(one) != len(values[0]):
            raise UserError(
                f"{place}: channel {channel} has {len(one)} values and channel 1 has {len(values[0])}; mend that line"
            )
    if header.steps is not None and len(values[0]) != header.steps:
        raise UserError(f"{place}: {len(values[0])} steps, but @seriesLength says {header.steps}; mend one of them")
    return Recording(f"line {number}", np.stack(values, 1), np.full(len(values[0]), label), str(path))


def _numbers(place: str, channel: int, text: str) -> np.ndarray:
    values = []
    for position, field in enumerate(text.split(","), 1):
        field = field.strip()
        try:
            if "_" in field:  # Python would read 1_0 as 10
                raise ValueError
            values.append(np.nan if field.lower() in _MISSING else float(field))
        except ValueError:
            raise UserError(
                f"{place}: value {position} of channel {channel} is {field[:40]!r}, no number; mend it, or put ? "
                "where it is missing"
            ) from None
    return np.array(values)
