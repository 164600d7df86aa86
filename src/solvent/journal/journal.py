"""The journal: what the engine was told and what came of it, durable before anyone hears of it.

Rows enter in batches and are never changed. Each is bound to all before it by its chain, which is
checked whenever rows are read. Times are milliseconds since 1970 UTC, sequences count from 1.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from operator import eq, itemgetter
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from solvent.chains import ORIGIN, link
from solvent.errors import check
from solvent.journal.errors import JournalCorrupt, JournalStopped
from solvent.journal.files import Files
from solvent.journal.parquet import read_parquet, write_parquet
from solvent.journal.place import create, store_at
from solvent.journal.row import Head, Row, rows_in_order, verified_rows
from solvent.journal.snapshots import Snapshot
from solvent.journal.store import Store

CHUNK_ROWS: Final = 10_000
_SEQUENCE: Final = itemgetter(0)


class Summary(NamedTuple):
    """What a full verification saw."""

    rows: int
    head: Head


class Journal:
    """One journal that is open; a context manager. Not for use by several threads at once.

    With `read_only` it takes no lock, writes nothing, and sees what another process appends.
    After JournalStopped it does nothing more than close.
    """

    def __init__(self, store: Store, url: str | Path, *, read_only: bool, files: Files) -> None:
        self.url = str(url)
        """As it was told: where another process finds it, with any password."""
        self._store = store
        self._files = files
        self._read_only = read_only
        self._closed = False
        self._meta = store.opened()
        self.snapshots_skipped: tuple[str, ...] = ()
        """Why snapshots newer than the latest good one were left out, after `latest_snapshot`."""

    @classmethod
    def open(cls, url: str | Path, *, read_only: bool = False, files: Files | None = None) -> Self:
        """The journal at a directory or `postgresql://…`, its head and last link verified.

        Raises JournalMissing, JournalVersion, JournalBusy, JournalCorrupt, JournalStopped.
        """
        files = files or Files()
        store = store_at(url, read_only=read_only, files=files)
        try:
            journal = cls(store, url, read_only=read_only, files=files)
            journal._check_last_row()
        except BaseException:
            store.abandon()
            store.close()
            raise
        return journal

    @property
    def name(self) -> str:
        """Where it is, without any password."""
        return self._store.name

    @property
    def journal_id(self) -> str:
        """What tells it from every other journal, given when it was made."""
        return self._meta.journal_id

    @property
    def head(self) -> Head:
        """The last durable row's sequence and chain; (0, ORIGIN) of an empty journal."""
        if self._read_only:
            self._meta = self._store.meta()
        return self._meta.head

    def append(self, rows: Sequence[Row]) -> None:
        """Make rows durable, all or none, in one transaction.

        They continue the head; links after the first are taken at their word until they are read.
        Raises JournalStopped when the database could not take them or said so too late to know.
        """
        self._check_usable()
        self._store.writer()
        if not rows:
            return
        first, last = rows[0], rows[-1]
        sequence, chain = self._meta.head
        due = range(sequence + 1, sequence + 1 + len(rows))
        check(all(map(eq, map(_SEQUENCE, rows), due)), "rows continue the journal", sequence)
        linked = link(chain, first.sequence, first.time_ms, first.command, first.events)
        check(first.chain == linked, "the first row is linked to the head", first.sequence)
        after = self._meta._replace(head=Head(last.sequence, last.chain))
        self._store.append(rows, self._meta, after)
        self._meta = after

    def read(
        self,
        after: int = 0,
        until: int | None = None,
        *,
        verify: bool = True,
        chunk: int = CHUNK_ROWS,
    ) -> Generator[Row]:
        """Rows `after`+1 to `until` (the head, if it is not given), in order, each verified.

        Without `verify` only gaps are found. Raises JournalCorrupt at the first row that is not
        what was written; rows before it are right.
        """
        self._check_usable()
        head = self.head.sequence
        last = head if until is None else min(until, head)
        read = self._verified if verify else self._ordered
        return read(max(after, 0), last, chunk)

    def verify(self) -> Summary:
        """Read everything. Raises JournalCorrupt at the first thing that is wrong."""
        self._check_usable()
        self._meta = self._store.opened() if self._read_only else self._store.meta()
        count, chain = 0, ORIGIN
        for row in self.read(until=self._meta.head.sequence):
            count, chain = row.sequence, row.chain
        self._check_head(chain)
        return Summary(count, self._meta.head)

    def find(self, sequence: int) -> Row | None:
        """One row, verified against the one before it; None beyond either end."""
        if sequence < 1:
            return None
        return next(self.read(after=sequence - 1, until=sequence), None)

    def save_snapshot(self, sequence: int, chain: bytes, image: bytes | Iterable[bytes]) -> None:
        """Keep the state right after a row, and the one kept before; older ones are dropped.

        A large image may come in parts, none of which is copied. Raises JournalStopped.
        """
        self._check_usable()
        self._store.writer()
        check(self._chain_at(sequence) == chain, "a snapshot is of a row of this journal", sequence)
        try:
            self._store.snapshots().save(self.journal_id, Head(sequence, chain), image)
        except Exception as error:
            raise self._store.stopped("given a snapshot", error) from error

    def latest_snapshot(self) -> Snapshot | None:
        """The newest snapshot that is whole and of a row of this journal.

        `snapshots_skipped` then says what newer ones were left out, and why. Raises
        JournalCorrupt for one that is whole and ahead of the rows: rows were lost.
        """
        self._check_usable()
        skipped: list[str] = []
        snapshots = self._store.snapshots()
        found = None
        for sequence in snapshots.stored():
            try:
                snapshot = snapshots.load(self.journal_id, sequence)
            except (JournalCorrupt, OSError) as damage:
                skipped.append(str(damage))
                continue
            head = self.head
            if snapshot.sequence > head.sequence:
                raise JournalCorrupt(
                    self.name, sequence=head.sequence + 1,
                    expected=f"rows up to {snapshot.sequence}, of which there is a snapshot",
                    found=f"rows up to {head.sequence}",
                )  # fmt: skip
            if self._chain_at(snapshot.sequence) == snapshot.chain:
                found = snapshot
                break
            skipped.append(f"{self.name}: snapshot {sequence} has another link than its row")
        self.snapshots_skipped = tuple(skipped)
        return found

    def export(self, path: str | Path) -> int:
        """Write every row to a Parquet file, verified on the way; how many there were.

        Raises JournalCorrupt, and JournalError where the file cannot be written.
        """
        self._check_usable()
        head = self.head
        write_parquet(
            Path(path), self.read(until=head.sequence),
            journal_id=self.journal_id, head=head, files=self._files,
        )  # fmt: skip
        return head.sequence

    def close(self) -> None:
        """Let go of the journal and its lock. Twice is once. Raises JournalStopped."""
        self._closed = True
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _check_usable(self) -> None:
        if self._store.fault is not None:
            raise JournalStopped(str(self._store.fault))
        check(not self._closed, "a closed journal is not used", self.name)

    def _verified(self, after: int, last: int, chunk: int) -> Generator[Row]:
        chain = self._chain_at(after) if after < last else ORIGIN
        for start in range(after, last, chunk):
            stop = min(start + chunk, last)
            # Closed at once, whatever comes: a reader that is left open holds up all tidying.
            with closing(self._store.rows(start, stop)) as raws:
                name = self.name
                for row in verified_rows(raws, after=start, until=stop, chain=chain, name=name):
                    yield row
                    chain = row.chain

    def _ordered(self, after: int, last: int, chunk: int) -> Generator[Row]:
        for start in range(after, last, chunk):
            stop = min(start + chunk, last)
            with closing(self._store.rows(start, stop)) as raws:
                yield from rows_in_order(raws, after=start, until=stop, name=self.name)

    def _check_last_row(self) -> None:
        head = self._meta.head
        if head.sequence > 0:
            self._check_head(next(self._verified(head.sequence - 1, head.sequence, 1)).chain)

    def _check_head(self, chain: bytes) -> None:
        head = self._meta.head
        if chain != head.chain:
            raise JournalCorrupt(
                self.name, sequence=head.sequence,
                expected=f"link {head.chain.hex()}, the head", found=f"link {chain.hex()}",
            )  # fmt: skip

    def _chain_at(self, sequence: int) -> bytes:
        if sequence == 0:
            return ORIGIN
        chain = self._store.chain_at(sequence)
        if not isinstance(chain, bytes):
            raise JournalCorrupt(
                self.name, sequence=sequence, expected=f"row {sequence}", found=f"{chain!r}"
            )
        return chain


def import_parquet(path: str | Path, url: str | Path, *, files: Files | None = None) -> Head:
    """A new journal with the rows of an export; its head.

    All of the file is verified before anything is made. Raises JournalCorrupt, and what `create`
    and `Journal.append` raise.
    """
    for _ in read_parquet(Path(path)):
        continue
    create(url, files=files)
    with Journal.open(url, files=files) as journal:
        for rows in read_parquet(Path(path)):
            journal.append(rows)
        return journal.head
