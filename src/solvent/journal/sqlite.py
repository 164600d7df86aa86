"""A journal in a directory: an SQLite database, a lock, a witness of the head, and snapshots."""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool, Pool, QueuePool

from solvent.journal.errors import (
    JournalError,
    JournalExists,
    JournalMissing,
)
from solvent.journal.files import Files
from solvent.journal.lock import FileLock
from solvent.journal.migrate import bring_up
from solvent.journal.row import EMPTY, KIND_CHECKS, Head, Row
from solvent.journal.schema import META, ROWS, Meta
from solvent.journal.snapshots import FileSnapshots
from solvent.journal.store import SOME_ROWS, Store, first_meta, of_driver
from solvent.journal.witness import Witness, told

DATABASE: Final = "journal.db"
LOCK: Final = "lock"
WITNESS: Final = "head"
SNAPSHOTS: Final = "snapshots"
_PAGE_BYTES: Final = 8_192
_CHECKPOINT_BYTES: Final = 64 << 20
"""About so much is written to the log before it goes into the database."""
_INSERT: Final = f"INSERT INTO {ROWS.name} VALUES ({','.join('?' * len(ROWS.columns))})"
_COMMAND: Final = itemgetter(Row._fields.index("command"))
_EVENTS: Final = itemgetter(Row._fields.index("events"))
_OF_THE_MACHINE: Final = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL,
}  # fmt: skip
"""Faults of reading that say nothing about what is stored."""


class SqliteStore(Store):
    """Opened for writing it holds the lock, and one connection that writes."""

    driver_error: ClassVar = sqlite3.Error

    def __init__(self, directory: Path, *, read_only: bool, files: Files) -> None:
        self.name = str(directory)
        self._directory = directory
        self._files = files
        self._unwritten_bytes = 0
        self._writer: Connection | None = None
        self._witness = Witness(directory / WITNESS, files)
        database = directory / DATABASE
        if not database.is_file():
            raise JournalMissing(f"{directory}: expected a journal, found no {DATABASE}")
        self._readers = _engine(database, _reading_mode(database), QueuePool)
        with self.reading(), ExitStack() as undoing:
            if not read_only:
                undoing.callback(FileLock(directory / LOCK, files).release)
                undoing.callback(self._witness.close)
                undoing.callback(self.abandon)
                writers = _engine(database, "mode=rw")
                event.listen(writers, "begin", _begin_immediate)
                self._writer = writers.connect()
            undoing.callback(self._readers.dispose)
            self._guard = undoing.enter_context(self._readers.connect())
            # A connection has its lock on the file from its first look at it.
            self._guard.exec_driver_sql("SELECT count(*) FROM sqlite_schema").all()
            self._closing = undoing.pop_all()

    def writer(self) -> Connection:
        """The connection on which alone anything is written."""
        if self._writer is None:
            raise JournalError(f"{self.name}: was opened for reading")
        return self._writer

    def reader(self) -> Connection:
        """A connection that cannot write."""
        return self._readers.connect()

    def insert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Straight to the driver: SQLAlchemy's own way costs as much again for each row."""
        checks = KIND_CHECKS
        connection.exec_driver_sql(_INSERT, [row + (checks[row[2]],) for row in rows])  # noqa: RUF005

    def raw_rows(self, connection: Connection, bounds: dict[str, int]) -> Any:
        """The driver's cursor, which holds one row at a time."""
        return connection.execute(SOME_ROWS, bounds).cursor

    def is_damage(self, fault: BaseException) -> bool:
        """All that SQLite says of a file, except what is the machine's fault or another's lock."""
        code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code == sqlite3.SQLITE_IOERR_SHORT_READ:
            return True
        return isinstance(fault, sqlite3.Error) and code & 0xFF not in _OF_THE_MACHINE

    def opened(self) -> Meta:
        """The head, held against the witness; a writer's witness goes on from there."""
        path = self._directory / WITNESS
        with self.reading():
            # The witness first: what it tells was in the database before it was told.
            content = path.read_bytes() if path.is_file() else None
        meta = self.meta()
        if content is not None:
            self._check_witness(told(path, content, meta.journal_id), meta.head, path)
        if self._writer is not None:
            with self.reading():
                self._witness.begin(meta.journal_id, meta.head)
        return meta

    def _check_witness(self, said: Head, head: Head, path: Path) -> None:
        if said.sequence > head.sequence:
            raise self.damaged(
                f"rows up to {said.sequence}, durable once as {path} says",
                f"rows up to {head.sequence}", head.sequence + 1,
            )  # fmt: skip
        if said.sequence > 0 and self.chain_at(said.sequence) != said.chain:
            raise self.damaged(f"link {said.chain.hex()} as {path} says", "another", said.sequence)

    def acknowledged(self, head: Head, rows: Sequence[Row]) -> None:
        """Tell the witness; now and then move the log into the database, and see that it worked.

        SQLite's own checkpoints are off: it takes no notice when their sync fails.
        """
        self._witness.tell(head)
        # A row, its share of a page, and the pages that every commit writes.
        self._unwritten_bytes += 3 * _PAGE_BYTES + 96 * len(rows)
        self._unwritten_bytes += sum(map(len, map(_COMMAND, rows)))
        self._unwritten_bytes += sum(map(len, map(_EVENTS, rows)))
        if self._unwritten_bytes >= _CHECKPOINT_BYTES:
            self._checkpoint("PASSIVE")

    def _checkpoint(self, mode: str) -> None:
        driver: Any = self.writer().connection.driver_connection
        driver.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        self._unwritten_bytes = 0

    def snapshots(self) -> FileSnapshots:
        """Files in a directory beside the database."""
        return FileSnapshots(self._directory / SNAPSHOTS, self._files)

    def abandon(self) -> None:
        """Close what writes while the guard is open: the last to close would write the log out.

        After a failed sync the log may not read as it was written, so nothing may be made of it
        but by a new opening, which holds each frame against its checksum.
        """
        if self._writer is not None:
            driver: Any = self._writer.connection.driver_connection
            self._writer.detach()
            with suppress(sqlite3.Error):
                driver.close()
            self._writer = None

    def close(self) -> None:
        """The log into the database, the witness synced, then the lock let go.

        Raises JournalStopped where that fails: what was acknowledged is durable all the same.
        """
        with self._closing:
            if self._writer is None:
                return
            try:
                self._checkpoint("TRUNCATE")
                self._witness.sync()
            except (sqlite3.Error, OSError) as error:
                raise self.stopped("closed", error) from error


def create_directory(directory: Path, files: Files) -> None:
    """A new journal, which has its name only once all of it is on the disk.

    Raises JournalExists, JournalBusy, and JournalError where the disk refuses.
    """
    database, aside = directory / DATABASE, directory / "journal.new"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / SNAPSHOTS).mkdir(mode=0o700, exist_ok=True)
        with ExitStack() as undoing:
            undoing.callback(FileLock(directory / LOCK, files).release)
            for path in (database, *(directory / f"{DATABASE}-{end}" for end in ("wal", "shm"))):
                if path.exists():
                    raise JournalExists(f"{directory}: expected no journal, found {path.name}")
            for leftover in directory.glob(f"{aside.name}*"):
                files.remove(leftover)
            descriptor = files.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            undoing.callback(os.close, descriptor)
            meta = Meta(str(uuid.uuid4()), time.time_ns() // 1_000_000, EMPTY)
            _make_tables(aside, meta)
            files.sync(descriptor)
            witness = Witness(directory / WITNESS, files)
            undoing.callback(witness.close)
            witness.begin(meta.journal_id, EMPTY)
            files.rename(aside, database)
            files.sync_directory(directory)
            files.sync_directory(directory.parent)
    except (OSError, SQLAlchemyError, sqlite3.Error) as error:
        raise JournalError(f"{directory}: no journal could be made: {of_driver(error)}") from error


def _make_tables(database: Path, meta: Meta) -> None:
    """In a file that nobody else knows of."""
    engine = _engine(database, "mode=rw")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA page_size={_PAGE_BYTES}")
        connection.exec_driver_sql("PRAGMA journal_mode=WAL").all()
    event.listen(engine, "begin", _begin_immediate)
    with engine.begin() as connection:
        bring_up(connection)
        connection.execute(insert(META), first_meta(meta))


def _engine(database: Path, mode: str, pool: type[Pool] = NullPool) -> Engine:
    """Connections without any transaction that was not asked for."""
    location = f"file:{quote(str(database.absolute()))}?{mode}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(location, uri=True, isolation_level=None, check_same_thread=False)

    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=pool)
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(driver: sqlite3.Connection, _record: object) -> None:
    """Durable at each commit; cells of damaged pages are looked at before they are used."""
    for pragma in ("synchronous=FULL", "wal_autocheckpoint=0", "cell_size_check=ON"):
        driver.execute(f"PRAGMA {pragma}").close()


def _begin_immediate(connection: Connection) -> None:
    """The lock to write is taken at once, not at the first row."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _reading_mode(database: Path) -> str:
    """How to open what must not be changed: a medium that cannot be written has no log to read."""
    log = database.with_name(f"{database.name}-wal")
    logged = log.exists() and log.stat().st_size > 0
    if logged or os.access(database.parent, os.W_OK):
        return "mode=ro"
    return "mode=ro&immutable=1"
