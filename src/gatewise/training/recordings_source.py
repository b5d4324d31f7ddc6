"""Where the recordings of a classifier come from, and which of them are learned, chosen on and measured."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gatewise.data.recordings.folders import read_recordings
from gatewise.data.recordings.labelled_table import channels_of, recordings_of
from gatewise.data.recordings.parts import Parts, cut_in_time, cut_whole, matching
from gatewise.data.recordings.sequences import Recording, Sequences
from gatewise.data.recordings.ts_file import read_ts
from gatewise.data.table.schema import Schema, once
from gatewise.data.table.tables import read_table
from gatewise.errors import UserError, nearest
from gatewise.training.classify_settings import AUTO, STEPS, ClassifySettings
from gatewise.training.run import Run, recordable

Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """What a source has.

    Attributes:
        parts: its recordings by what they are for.
        window: rows of a window; 0: whole recordings.
        columns: the channels' names.
        schema: of the table they stand in; None where they stand elsewhere.
    """

    parts: Parts
    window: int
    columns: tuple[str, ...]
    schema: Schema | None


@dataclass(frozen=True)
class RecordingsSource:
    """A ``.ts`` file, a table with a label a row, or a folder of recordings.

    Attributes:
        path: of it.
        test: what is measured: a path, a pattern of recordings' names, or a share of the data.
    """

    path: Path
    test: str = "0.2"

    @property
    def name(self) -> str:
        return self.path.stem or "recordings"

    def found(self, settings: ClassifySettings, say: Say) -> Found:
        """Everything that is there, parted.

        Raises:
            UserError: what cannot be read or parted.
        """
        data = read_labelled(self.path, settings, say)
        share = _share(self.test)
        if share is not None:
            return Found(*_parts_by_share(data, share, settings), data.columns, data.schema)
        if os.path.exists(self.test):
            rest = read_labelled(Path(self.test), settings, say, data)
            if rest.channels != data.channels:
                raise UserError(f"{self.test}: {rest.channels} channels, and {self.path} has {data.channels}")
            train, test = data.recordings, rest.recordings
        else:
            train, test = matching(data, self.test)
        return _parted(train, test, data, settings)

    def to_config(self, parts: Parts) -> dict[str, Any]:
        """What ``config.toml`` records: enough to see that the data are the same."""
        apart = _share(self.test) is None and os.path.exists(self.test)
        test = recordable(Path(self.test)) if apart else self.test
        return {"path": recordable(self.path), "test": test, "sha256": _mark(parts)}

    @classmethod
    def from_config(cls, data: dict[str, Any]) -> RecordingsSource:
        if not data["path"]:
            raise UserError("a run on recordings in memory cannot read them again; train on a file, or train anew")
        return cls(Path(data["path"]), data["test"])


@dataclass(frozen=True, eq=False)
class GivenRecordings:
    """Recordings in memory, as a program has them.

    Attributes:
        train: what is learned and what the weights are chosen with.
        test: what is measured; None: nothing, and the summary has the figures of the validation part alone.
        name: of the run's folder, where none is given.
    """

    train: Sequences
    test: Sequences | None = None
    name: str = "recordings"

    def found(self, settings: ClassifySettings, say: Say) -> Found:
        """All of it, parted.

        Raises:
            UserError: what cannot be parted, other channels in the test part.
        """
        test = self.test.recordings if self.test else ()
        for data in (self.train, self.test):
            if data is not None:
                data.check_values(infinite_only=settings.missing != "error")
        if self.test and self.test.channels != self.train.channels:
            raise UserError(f"{self.test.name}: {self.test.channels} channels, to learn {self.train.channels}")
        return _parted(self.train.recordings, test, self.train, settings)

    def to_config(self, parts: Parts) -> dict[str, Any]:
        """What ``config.toml`` records."""
        return {"path": "", "test": "", "sha256": _mark(parts)}


AnySource = RecordingsSource | GivenRecordings


def _mark(parts: Parts) -> str:
    """A mark of all recordings, by part."""
    mark = hashlib.sha256()
    for part in (parts.train, parts.validation, parts.test):
        for recording in part:
            mark.update(repr((recording.name, recording.values.shape, recording.labels.tolist())).encode())
            mark.update(recording.values.tobytes())
    return mark.hexdigest()


def same_data(run: Run, source: RecordingsSource, settings: ClassifySettings, say: Say) -> Found:
    """What the source has, if it is still what a run was trained on."""
    found = source.found(settings, say)
    if source.to_config(found.parts)["sha256"] != run.read_config()["data"].get("sha256"):
        raise UserError(f"{source.path}: is not what {run.folder} was trained on; bring that back")
    return found


def read_labelled(path: Path, settings: ClassifySettings, say: Say, like: Sequences | None = None) -> Sequences:
    """Recordings with their labels, as the settings say where those stand; with the channels of ``like``, if given."""
    if not os.path.exists(path):
        raise UserError(f"{path}: does not exist; check the name, or give the full path")
    if path.suffix.lower() == ".ts":
        found = read_ts(path)
    elif settings.label and not path.is_dir():
        table, say = read_table(path, settings.sheet, say), once(say)
        schema = like.schema if like else None
        schema = schema or channels_of(table, settings.label, settings.choice(settings.columns), say)
        found = recordings_of(table, settings.label, schema, settings.missing == "error", say)
    elif settings.label_from:
        found = read_recordings(path, settings.label_from, like.channels if like else 0, say)
    else:
        wanted = r"--label-from 'd(\d\d)', the label in a file's name" if path.is_dir() else "--label COLUMN"
        raise UserError(f"{path}: where are the labels? give {wanted}")
    found.check_values(infinite_only=settings.missing != "error")
    return _kept(found, settings.left_out)


def _kept(found: Sequences, left_out: Sequence[str]) -> Sequences:
    """The recordings without any of these labels."""
    for name in left_out:
        if name not in found.labels():
            raise UserError(f"--leave-out {name}: no such class in {found.name}; {nearest(name, found.labels())}")
    kept = tuple(one for one in found if not set(one.labels.tolist()) & set(left_out))
    return replace(found, recordings=kept) if left_out else found


def _share(test: str) -> float | None:
    """``--test`` as a share of the data; None where it is something else."""
    try:
        share = float(test)
    except ValueError:
        return None
    if os.path.exists(test):
        return None
    if not 0 < share < 1:
        raise UserError(f"--test {test}: want a share above 0 and below 1, a file or folder, or a pattern of names")
    return share


def _parted(
    train: Sequence[Recording], test: Sequence[Recording], data: Sequences, settings: ClassifySettings
) -> Found:
    """With the test part given."""
    if settings.onset:
        test = [one.with_onset(settings.normal, settings.onset) for one in test]
    window = _window(train, test, settings, settings.heldout)
    parts = Parts(*_cut(train, settings.heldout, window, "validation"), tuple(test))
    return Found(parts, window, data.columns, data.schema)


def _window(
    train: Sequence[Recording], test: Sequence[Recording], settings: ClassifySettings, *shares: float
) -> int:  # fmt: skip
    """Rows of a window; 0 for whole recordings. ``shares`` are cut off ``train``, one after the other."""
    if settings.window != AUTO:
        return settings.window
    if any(one.changes() for one in (*train, *test)):
        return STEPS
    # Of one recording a class there is nothing to hold out, and little to learn from, but its windows.
    single = len({one.label for one in train}) == len(train)
    left, least = min(map(len, train)), min(map(len, test), default=STEPS)
    for share in filter(None, shares):
        off = round(share * left)
        left, least = left - off, min(least, off)
    return STEPS if single and min(left, least) >= STEPS else 0


def _cut(
    recordings: Sequence[Recording], share: float, window: int, part: str
) -> tuple[tuple[Recording, ...], tuple[Recording, ...]]:
    return cut_in_time(recordings, share, window, part) if window else cut_whole(recordings, share)


def _parts_by_share(data: Sequences, share: float, settings: ClassifySettings) -> tuple[Parts, int]:
    if settings.onset:
        raise UserError(f"--onset {settings.onset}: is of test recordings; say which they are, --test '*_te.dat'")
    window = _window(data.recordings, (), settings, share, settings.heldout)
    rest, test = _cut(data.recordings, share, window, "test")
    if not test:
        raise UserError(
            f"{data.name}: has one recording of each class, and whole recordings are what is classified: none is left "
            "to measure; give --window to cut windows, or --test"
        )
    return Parts(*_cut(rest, settings.heldout, window, "validation"), test), window
