"""A journal in a PostgreSQL database, in the schema that comes first in its search path."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from io import BytesIO
from typing import Any, ClassVar, Final

import psycopg
from psycopg import sql
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    bindparam,
    create_engine,
    delete,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.postgresql.psycopg import dialect
from sqlalchemy.exc import SQLAlchemyError

from solvent.journal.errors import JournalBusy, JournalError, JournalExists, JournalMissing
from solvent.journal.migrate import bring_up
from solvent.journal.row import EMPTY, KIND_CHECKS, Head, Row
from solvent.journal.schema import META, ROWS, SNAPSHOT_PARTS, SNAPSHOTS, Meta
from solvent.journal.snapshots import KEPT, Sealing, Snapshot, Snapshots, opened
from solvent.journal.store import SOME_ROWS, Store, first_meta, of_driver

_COPY: Final = sql.SQL("COPY {} FROM STDIN (FORMAT BINARY)").format(sql.Identifier(ROWS.name))
_TYPES: Final = ("int8", "int8", "text", "bytea", "bytea", "bytea", "int8")
_SOME_ROWS: Final = str(SOME_ROWS.compile(dialect=dialect()))  # type: ignore[no-untyped-call]
_KEY: Final = "hashtextextended('solvent.journal.' || current_schema(), 0)"
_LOCK: Final = text(f"SELECT pg_try_advisory_lock({_KEY})")
_LOCK_TO_CREATE: Final = text(f"SELECT pg_advisory_xact_lock({_KEY} + 1)")
_HOLDER: Final = text(
    "SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    " WHERE l.locktype = 'advisory' AND l.granted AND l.database = a.datid"
    f" AND a.datname = current_database() AND (l.classid::bigint << 32) | l.objid::bigint = {_KEY}"
)


class PostgresStore(Store):
    """Opened for writing, its one writing connection holds the lock too.

    Were they two, the lock could be lost and writing go on.
    """

    driver_error: ClassVar = psycopg.Error

    def __init__(self, url: URL, *, read_only: bool) -> None:
        self.name = name_of(url)
        self._writer: Connection | None = None
        self._engine = _engine(url)
        with self.reading(), ExitStack() as undoing:
            undoing.callback(self._engine.dispose)
            with self.reader() as connection:
                if not inspect(connection).has_table(META.name):
                    raise JournalMissing(
                        f"{self.name}: expected a journal, found no table {META.name}"
                    )
            if not read_only:
                writer = undoing.enter_context(self._engine.connect())
                self._begin_writing(writer)
                self._writer = writer
            self._closing = undoing.pop_all()

    def _begin_writing(self, connection: Connection) -> None:
        """Take the lock, and see that a commit means that the disk has it."""
        with connection.begin():
            if not connection.execute(_LOCK).scalar_one():
                holders = connection.execute(_HOLDER).all()
                who = " and ".join(f"server process {pid} ({named})" for pid, named in holders)
                raise JournalBusy(
                    f"{self.name}: expected no other engine on this journal, found "
                    f"{who or 'one that was just leaving'}"
                )
            if connection.execute(text("SHOW fsync")).scalar_one() != "on":
                raise JournalError(
                    f"{self.name}: expected a server with fsync on, found it off:"
                    " nothing that it says is durable is"
                )
            if connection.execute(text("SHOW synchronous_commit")).scalar_one() != "remote_apply":
                connection.execute(text("SET synchronous_commit TO on"))

    def writer(self) -> Connection:
        """The connection on which alone anything is written."""
        if self._writer is None:
            raise JournalError(f"{self.name}: was opened for reading")
        return self._writer

    def reader(self) -> Connection:
        """Another connection."""
        return self._engine.connect()

    def insert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """By COPY, which takes two thirds of the time of any other way."""
        checks = KIND_CHECKS
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for row in rows:
                copy.write_row((*row, checks[row.kind]))

    def raw_rows(self, connection: Connection, bounds: dict[str, int]) -> Iterable[Any]:
        """In binary, which is read in a third of the time of text."""
        driver: Any = connection.connection.driver_connection
        with driver.cursor(binary=True) as cursor:
            yield from cursor.execute(_SOME_ROWS, bounds)

    def is_damage(self, fault: BaseException) -> bool:
        """Corrupted data or index (class XX), or tables that are not as they were made (42)."""
        state = getattr(fault, "sqlstate", None) or ""
        return isinstance(fault, psycopg.Error) and state[:2] in ("XX", "42")

    def opened(self) -> Meta:
        """The head; the server's own log keeps it and the rows together."""
        return self.meta()

    def acknowledged(self, head: Head, rows: Sequence[Row]) -> None:
        """The server has done it all."""

    def snapshots(self) -> Snapshots:
        """Tables beside the rows."""
        return _TableSnapshots(self)

    def abandon(self) -> None:
        """Cut the connection: the server rolls back what was not committed."""
        if self._writer is not None:
            self._writer.invalidate()
            self._writer = None

    def close(self) -> None:
        """Let go of the connections, and with them of the lock."""
        self._writer = None
        self._closing.close()


class _TableSnapshots(Snapshots):
    """Images in parts, so that no row is larger than a part."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store

    def stored(self) -> list[int]:
        """Sequences of trailers, newest first."""
        newest_first = select(SNAPSHOTS.c.sequence).order_by(SNAPSHOTS.c.sequence.desc())
        with self._store.reading(), self._store.reader() as connection:
            return list(connection.execute(newest_first).scalars())

    def save(self, journal_id: str, head: Head, image: bytes | Iterable[bytes]) -> None:
        """In one transaction, the older ones' end included."""
        connection = self._store.writer()
        sealing = Sealing(image)
        with connection.begin():
            for table in (SNAPSHOTS, SNAPSHOT_PARTS):
                connection.execute(delete(table).where(table.c.sequence == head.sequence))
            for number, part in enumerate(sealing.parts()):
                row = {"sequence": head.sequence, "part": number, "image": part}
                connection.execute(insert(SNAPSHOT_PARTS), row)
            trailer = sealing.trailer(journal_id, head)
            connection.execute(insert(SNAPSHOTS), {"sequence": head.sequence, "trailer": trailer})
            kept = select(SNAPSHOTS.c.sequence).order_by(SNAPSHOTS.c.sequence.desc()).limit(KEPT)
            for table in (SNAPSHOTS, SNAPSHOT_PARTS):
                connection.execute(delete(table).where(table.c.sequence.not_in(kept)))

    def load(self, journal_id: str, sequence: int) -> Snapshot:
        """A trailer and the parts that belong to it."""
        name = f"{self._store.name}, snapshot {sequence}"
        one = select(SNAPSHOTS.c.trailer).where(SNAPSHOTS.c.sequence == sequence)
        with self._store.reading(), self._store.reader() as connection:
            trailer = connection.execute(one).scalar() or b""
            return opened(name, journal_id, trailer, _image(connection, sequence))


def _image(connection: Connection, sequence: int) -> bytes:
    """All parts as one; BytesIO hands its buffer over, so there is no second copy of gigabytes."""
    one = (
        select(SNAPSHOT_PARTS.c.image)
        .where(SNAPSHOT_PARTS.c.sequence == sequence)
        .where(SNAPSHOT_PARTS.c.part == bindparam("number"))
    )
    image = BytesIO()
    number = 0
    while (part := connection.execute(one, {"number": number}).scalar()) is not None:
        image.write(part)
        number += 1
    return image.getvalue()


def name_of(url: URL) -> str:
    """A URL for messages: no password, wherever it was given."""
    return url.difference_update_query(["password"]).render_as_string(hide_password=True)


def create_tables(url: URL) -> None:
    """A new journal, in one transaction. Raises JournalExists, and JournalError if it fails."""
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(_LOCK_TO_CREATE)
            if inspect(connection).has_table(META.name):
                raise JournalExists(f"{name_of(url)}: expected no journal, found one")
            bring_up(connection)
            meta = Meta(str(uuid.uuid4()), time.time_ns() // 1_000_000, EMPTY)
            connection.execute(insert(META), first_meta(meta))
    except (SQLAlchemyError, psycopg.Error, OSError) as error:
        raise JournalError(
            f"{name_of(url)}: no journal could be made: {of_driver(error)}"
        ) from error
    finally:
        engine.dispose()


def _engine(url: URL) -> Engine:
    """Connections that say on the server whose they are."""
    named = f"solvent, process {os.getpid()} on {socket.gethostname()}"
    return create_engine(
        url.set(drivername="postgresql+psycopg"), connect_args={"application_name": named[:63]}
    )
