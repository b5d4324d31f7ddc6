"""Where a study lies: a file beside its pictures, or a database that several machines reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from gatewise.errors import UserError
from gatewise.training.tune.extra import need

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

JOURNAL = ".journal"
"""How the name of a journal ends: a file that is only ever appended to, for folders on a network."""

_PATIENCE = 120  # seconds that a process waits for another's writing into the same file


def check_url(url: str) -> None:
    """Raise :class:`UserError` if no storage can be called so; nothing is made or asked."""
    _address(url)


def open_storage(url: str) -> BaseStorage:
    """What holds the trials, made if it is not there yet.

    Args:
        url: of a database as SQLAlchemy writes it (``sqlite:///study.db``, ``postgresql://user@host/name``), or the
            name of a file that ends in ``.db`` (SQLite) or ``.journal``.

    Raises:
        UserError: no such kind, no driver for it, it cannot be reached, or it holds something else.
    """
    optuna, address = need("optuna"), _address(url)
    if address is not None:
        return _database(address)
    with _folder_of(Path(url)):
        journal = optuna.storages.journal
        return journal.JournalStorage(journal.JournalFileBackend(url))


def _address(url: str) -> Any:
    """Of a database, in SQLAlchemy's terms; None of a journal."""
    sqlalchemy = need("sqlalchemy")
    if "://" in url:
        try:
            return sqlalchemy.make_url(url)
        except sqlalchemy.exc.ArgumentError:
            raise UserError(
                "--storage: not a database's URL; want DIALECT://USER:PASSWORD@HOST/NAME or sqlite:///FILE"
            ) from None
    if url.endswith(".db"):
        return sqlalchemy.URL.create("sqlite", database=str(Path(url).resolve()))
    if url.endswith(JOURNAL):
        return None
    raise UserError(f"--storage {url}: want a file that ends in .db or {JOURNAL}, or a database's URL")


def _database(address: Any) -> BaseStorage:
    optuna, sqlalchemy = need("optuna"), need("sqlalchemy")
    shown = address.render_as_string(hide_password=True)
    file = Path(address.database) if address.get_backend_name() == "sqlite" and address.database else None
    more: dict[str, Any] = {"connect_args": {"timeout": _PATIENCE}} if file else {"pool_pre_ping": True}
    try:
        with _folder_of(file):
            # Two processes that make the tables at the same time would be in each other's way.
            with FileLock(f"{file}.lock", timeout=_PATIENCE) if file else nullcontext():
                storage = optuna.storages.RDBStorage(address.render_as_string(hide_password=False), engine_kwargs=more)
            if file:
                _one_at_a_time(storage.engine)
            return storage
    except (ImportError, sqlalchemy.exc.NoSuchModuleError):
        raise UserError(f"--storage {shown}: no driver for {address.drivername}; pip install one") from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise UserError(
            f"--storage {shown}: {str(error).splitlines()[0]}; check the address and what is there"
        ) from None
    except RuntimeError as error:  # tables of another version of Optuna
        raise UserError(f"--storage {shown}: {error}") from None


def _one_at_a_time(engine: Any) -> None:
    """SQLite locks at the first writing only, and two processes could both have read before: lock at the beginning."""
    event = need("sqlalchemy.event")
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    engine.dispose()  # connections that were opened before


@contextmanager
def _folder_of(file: Path | None) -> Iterator[None]:
    try:
        if file is not None:
            os.makedirs(file.parent, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(f"--storage {file}: cannot be written there: {error.strerror}; choose another") from None
