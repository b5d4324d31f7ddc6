"""A run: a folder with configuration, weights, metrics, pictures and samples, and one process at a time in it."""

from __future__ import annotations

import csv
import io
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import tomlkit
from filelock import FileLock, Timeout

from gatewise.errors import UserError
from gatewise.training.checkpoint import FORMAT, replacing, write_text

Fitted = TypeVar("Fitted")


class Run:
    """The files of one run.

    ``config.toml`` (what was run), ``weights.safetensors`` (the weights to use), ``checkpoint/`` (what resuming
    needs, and the best weights so far), ``metrics.csv``, ``summary.json``, ``curve.svg``, ``curve.png``,
    ``samples.txt``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_file = folder / "config.toml"
        self.weights_file = folder / "weights.safetensors"
        self.last_file = folder / "checkpoint" / "last.safetensors"
        self.best_file = folder / "checkpoint" / "best.safetensors"
        self.metrics_file = folder / "metrics.csv"
        self.summary_file = folder / "summary.json"
        self.curve_file = folder / "curve.svg"
        self.samples_file = folder / "samples.txt"

    @classmethod
    def create(cls, folder: Path | None, default_name: str) -> Run:
        """A new run in ``folder`` (empty or not there yet), or in ``runs/<default_name>-<n>``."""
        if folder is None:
            return cls(numbered(default_name))
        cls.check_free(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be made: {error.strerror}; choose another --out") from None
        return cls(folder)

    @staticmethod
    def check_free(folder: Path) -> None:
        """Raise if something is there already that a new run would meet with."""
        if os.path.exists(folder / "config.toml"):  # and not Path.exists, which fails where the name is too long
            raise UserError(_holds_a_run(folder))
        try:
            taken = os.path.exists(folder) and (
                not folder.is_dir() or any(f.name not in _LOCKS for f in folder.iterdir())
            )
        except OSError as error:
            raise UserError(f"{folder}: cannot be read: {error.strerror}; choose another --out") from None
        if taken:
            raise UserError(f"{folder}: is there already and is not an empty folder; choose another --out")

    @classmethod
    def open(cls, folder: Path) -> Run:
        """An existing run."""
        if not os.path.exists(folder):
            raise UserError(f"{folder}: no such run folder; `gatewise train TASK ... --out {folder}` makes one")
        run = cls(folder)
        if not run.config_file.exists():
            raise UserError(f"{folder}: not a run folder, it has no config.toml; give the folder a training printed")
        return run

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run: no other process may write in it meanwhile.

        Raises:
            UserError: another process holds it; the message names its process id.
        """
        holder = self.folder / "lock.pid"
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"{self.folder}: in use by process {_read_pid(holder)}; wait, or choose another --out"
            ) from None
        except OSError as error:
            raise UserError(f"{self.folder}: does not allow writing ({error.strerror}); choose another --out") from None
        try:
            for left_by_a_killed_process in self.folder.rglob(".*.part"):
                left_by_a_killed_process.unlink(missing_ok=True)
            write_text(holder, f"{os.getpid()}\n")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    def write_config(self, task: str, settings: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        """Write ``config.toml``, which makes the folder a run; the lock must be held."""
        if self.config_file.exists():  # another process was faster
            raise UserError(_holds_a_run(self.folder))
        try:
            self.last_file.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written to: {error.strerror}; choose another --out") from None
        document = tomlkit.document()
        document.add(tomlkit.comment("What was run. `gatewise resume` reads it; the weights carry their own copy."))
        document["format"] = FORMAT
        document["gatewise"] = version("gatewise")
        document["task"] = task
        document["data"] = dict(data)
        document["settings"] = dict(settings)
        write_text(self.config_file, tomlkit.dumps(document))

    def read_config(self) -> dict[str, Any]:
        """The configuration.

        Raises:
            UserError: not TOML, not ours, or made by a newer version.
        """
        try:
            config = tomllib.loads(self.config_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UserError(f"{self.config_file}: cannot be read: {error}; mend that line") from None
        version = config.get("format")
        if not isinstance(version, int) or not isinstance(config.get("task"), str):
            raise UserError(f"{self.config_file}: not a run's configuration: it has no format and task")
        if version > FORMAT:
            raise UserError(
                f"{self.config_file}: made by a newer gatewise (format {version}, this one reads up to {FORMAT}); "
                "run: pip install --upgrade gatewise"
            )
        return config

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_text(self.summary_file, json.dumps(summary, indent=2, allow_nan=False) + "\n")

    def read_fitted(self, name: str, from_config: Callable[[Any], Fitted]) -> Fitted:
        """What was fitted after the training, from the folder's file of this name.

        Raises:
            UserError: the run is not finished; the file is damaged.
        """
        path = self.folder / name
        try:
            return from_config(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UserError(f"{path}: not there, the run is not finished; run: gatewise resume {self.folder}") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); use another copy") from None

    def read_metrics(self) -> list[dict[str, str]]:
        if not self.metrics_file.exists():
            return []
        with self.metrics_file.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """All rows anew: a killed process leaves the file whole."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with replacing(self.metrics_file) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")


def recordable(path: Path) -> str:
    """The full path of data, as a run's configuration can hold it.

    Raises:
        UserError: a name that is not UTF-8.
    """
    full = str(path.resolve())
    try:
        full.encode()
    except UnicodeEncodeError:
        raise UserError(f"{full!r}: a name that is not UTF-8 cannot be recorded; rename it") from None
    return full


_LOCKS = (".lock", "lock.pid")


def _holds_a_run(folder: Path) -> str:
    return f"{folder}: holds a run already; go on with it by `gatewise resume {folder}`, or choose another --out"


def _read_pid(path: Path) -> str:
    try:
        return path.read_text().strip() or "unknown"
    except OSError:
        return "unknown"


def numbered(name: str) -> Path:
    """The first of ``runs/name-1``, ``runs/name-2``, ... that can be made; making it claims it."""
    parent = Path("runs")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for n in range(1, 1_000_000):
            folder = parent / f"{name}-{n}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
    except OSError as error:
        raise UserError(f"{parent}: cannot be made here: {error.strerror}; choose a folder with --out") from None
    raise UserError(f"{parent}: holds too many runs; choose a folder with --out")
