"""What the journal asks of a database, and what SQLite and PostgreSQL do alike.

A store keeps rows and the head. It knows neither chains nor commands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from sqlalchemy import Connection, bindparam, select, text, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from solvent.journal.errors import JournalCorrupt, JournalStopped, JournalVersion
from solvent.journal.migrate import bring_up
from solvent.journal.row import Head, Row
from solvent.journal.schema import META, META_ROW, ROWS, VERSION_TABLE, VERSIONS, Meta
from solvent.journal.snapshots import Snapshots

_MOVE_HEAD: Final = (
    update(META)
    .where(META.c.head_sequence == bindparam("old_sequence"))
    .where(META.c.head_chain == bindparam("old_chain"))
    .values(
        head_sequence=bindparam("new_sequence"),
        head_chain=bindparam("new_chain"),
        seal=bindparam("new_seal"),
    )
)
SOME_ROWS: Final = (
    select(ROWS)
    .where(ROWS.c.sequence > bindparam("after"))
    .where(ROWS.c.sequence <= bindparam("until"))
    .order_by(ROWS.c.sequence)
)
_VERSION: Final = text(f"SELECT version_num FROM {VERSION_TABLE}")
_CHAIN: Final = select(ROWS.c.chain).where(ROWS.c.sequence == bindparam("at"))


def first_meta(meta: Meta) -> dict[str, object]:
    """The one row of meta, as it is made."""
    return {
        "one": 1,
        "journal_id": meta.journal_id,
        "created_ms": meta.created_ms,
        "head_sequence": meta.head.sequence,
        "head_chain": meta.head.chain,
        "seal": meta.seal(),
    }


class Store(ABC):
    """A database with the journal's tables. `name` is for messages, without any password."""

    name: str
    driver_error: ClassVar[type[Exception]]
    fault: JournalStopped | None = None
    """Why nothing more is written or read, once that is so."""

    @abstractmethod
    def writer(self) -> Connection:
        """The one connection that writes. Raises JournalError on a store opened for reading."""

    @abstractmethod
    def reader(self) -> Connection:
        """A connection for reading, closed by the caller."""

    @abstractmethod
    def insert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Put rows, inside the transaction that is open."""

    @abstractmethod
    def is_damage(self, fault: BaseException) -> bool:
        """Whether what the driver raised while reading speaks of damaged content."""

    @abstractmethod
    def opened(self) -> Meta:
        """What `meta` tells, held against every other sign of how far the journal went."""

    @abstractmethod
    def acknowledged(self, head: Head, rows: Sequence[Row]) -> None:
        """What has to be done after a commit, before anyone hears of it."""

    @abstractmethod
    def snapshots(self) -> Snapshots:
        """Where snapshots are kept."""

    @abstractmethod
    def abandon(self) -> None:
        """After a failed write: let nothing more reach the disk. The lock is kept."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything, in order."""

    def meta(self) -> Meta:
        """Which journal it is and its head, held against its seal and against the rows.

        Raises JournalVersion, JournalCorrupt.
        """
        with self.reading(), self.reader() as connection:
            version = connection.execute(_VERSION).scalars().all()
            self._check_version(list(version))
            lines = connection.execute(META_ROW).all()
        if len(lines) != 1:
            raise self.damaged("one row in journal_meta", f"{len(lines)} rows")
        _, journal_id, created_ms, sequence, chain, seal, last = lines[0]
        if not isinstance(sequence, int) or not isinstance(chain, bytes):
            raise self.damaged("a head in journal_meta", f"{sequence!r}, {chain!r}")
        meta = Meta(journal_id, created_ms, Head(sequence, chain))
        if meta.seal() != seal:
            raise self.damaged(f"journal_meta under the seal {meta.seal().hex()}", f"{seal!r}")
        if (last or 0) != sequence:
            raise self.damaged(
                f"rows up to {sequence}, the head", f"rows up to {last or 0}",
                sequence=min(last or 0, sequence) + 1,
            )  # fmt: skip
        return meta

    def _check_version(self, found: list[Any]) -> None:
        if found == [VERSIONS[-1]]:
            return
        said = f"{self.name}: expected tables of version {VERSIONS[-1]}, found {found}"
        if len(found) == 1 and found[0] in VERSIONS:
            raise JournalVersion(f"{said}; solvent.journal.upgrade(url) brings them up")
        raise JournalVersion(f"{said}, which this Solvent does not know; use a newer one")

    def upgrade(self) -> None:
        """Bring the tables up to this version, in one transaction.

        Raises JournalVersion for tables that are newer, JournalStopped.
        """
        with self.reading(), self.reader() as connection:
            version = list(connection.execute(_VERSION).scalars())
        if len(version) != 1 or version[0] not in VERSIONS:
            self._check_version(version)
        try:
            connection = self.writer()
            with connection.begin():
                bring_up(connection)
        except (SQLAlchemyError, OSError, self.driver_error) as error:
            raise self.stopped("upgraded", error) from error

    def append(self, rows: Sequence[Row], before: Meta, after: Meta) -> None:
        """Rows and the head they lead to, in one transaction, durable on return.

        Raises JournalStopped, also where the head is no longer what it was.
        """
        try:
            connection = self.writer()
            with connection.begin():
                self.insert(connection, rows)
                moved = connection.execute(
                    _MOVE_HEAD,
                    {
                        "old_sequence": before.head.sequence,
                        "old_chain": before.head.chain,
                        "new_sequence": after.head.sequence,
                        "new_chain": after.head.chain,
                        "new_seal": after.seal(),
                    },
                )
                if moved.rowcount != 1:
                    raise OSError(f"another writer has moved the head from {before.head.sequence}")
            self.acknowledged(after.head, rows)
        except Exception as error:
            # Whatever it was, nobody knows what the disk holds: there is no second try.
            raise self.stopped("written", error) from error

    def rows(self, after: int, until: int) -> Generator[Any]:
        """Raw rows `after`+1 to `until` in order, straight from the driver."""
        with self.reading(after), self.reader() as connection:
            yield from self.raw_rows(connection, {"after": after, "until": until})

    @abstractmethod
    def raw_rows(self, connection: Connection, bounds: dict[str, int]) -> Iterable[Any]:
        """What `SOME_ROWS` gives, without SQLAlchemy's own rows around it."""

    def chain_at(self, sequence: int) -> object:
        """The chain that a row has; None where there is no such row."""
        with self.reading(), self.reader() as connection:
            return connection.execute(_CHAIN, {"at": sequence}).scalar()

    @contextmanager
    def reading(self, after: int | None = None) -> Iterator[None]:
        """Turn what the driver raises into JournalCorrupt or JournalStopped."""
        try:
            yield
        except (SQLAlchemyError, OSError, UnicodeError, self.driver_error) as error:
            fault = of_driver(error)
            if isinstance(fault, UnicodeError) or self.is_damage(fault):
                place = None if after is None else after + 1
                raise self.damaged(
                    "a database that can be read", f"{fault}", sequence=place
                ) from error
            raise self.stopped("read", error) from error

    def damaged(self, expected: str, found: str, sequence: int | None = None) -> JournalCorrupt:
        """The exception that says what is wrong with this journal, and where."""
        return JournalCorrupt(self.name, sequence=sequence, expected=expected, found=found)

    def stopped(self, done: str, error: Exception) -> JournalStopped:
        """The exception that ends all use of the journal; from here on nothing is written."""
        self.fault = JournalStopped(
            f"{self.name}: the journal could not be {done}, and stopped: {of_driver(error)!r}"
        )
        self.abandon()
        return self.fault


def of_driver(error: Exception) -> BaseException:
    """What the driver raised, without what SQLAlchemy says of it."""
    return (error.orig or error) if isinstance(error, DBAPIError) else error
