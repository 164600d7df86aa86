"""Journals under fire: flipped bytes, lost ends, failing disks, killed processes.

What was acknowledged is there afterwards, whole batches or none, or the loss is told.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from solvent.journal import Head, Journal, Row, create, upgrade
from solvent.journal import sqlite as sqlite_module
from solvent.journal.errors import JournalCorrupt, JournalError, JournalStopped
from solvent.journal.files import Files
from solvent.journal.row import EMPTY
from tests.journals import (
    Faults,
    FaultyFiles,
    batches,
    faulty_database,
    file_size_limit,
    rows_after,
    started,
)

WRITER = """
    import os, sys
    from solvent.journal import Journal, sqlite
    from tests.journals import rows_after
    sqlite._PAGE_BYTES = 512
    sqlite._CHECKPOINT_BYTES = int(sys.argv[3])
    journal = Journal.open(sys.argv[1])
    while journal.head.sequence < int(sys.argv[2]):
        rows = rows_after(journal.head, 1 + journal.head.sequence % 7)
        journal.append(rows)
        print(journal.head.sequence, flush=True)
    os._exit(0)
"""
"""Appends batches, says each that is durable, and goes without closing."""


def acknowledged(output: str) -> list[int]:
    """What the writer said in whole lines."""
    return [int(line) for line in output.split("\n")[:-1]]


def expected_rows(count: int) -> list[Row]:
    """What the writer appends, up to a batch that ends at `count`."""
    rows: list[Row] = []
    head = EMPTY
    while head.sequence < count:
        rows += rows_after(head, 1 + head.sequence % 7)
        head = Head(rows[-1].sequence, rows[-1].chain)
    assert head.sequence == count, "a batch ends there"
    return rows


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """More pages, and fewer bytes that mean nothing."""
    monkeypatch.setattr(sqlite_module, "_PAGE_BYTES", 512)


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    """A journal whose writer went away without closing: its rows are in the log alone."""
    place = tmp_path_factory.mktemp("crashed") / "journal"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_module, "_PAGE_BYTES", 512)
        create(place)
    output, _ = started(WRITER, str(place), "12", "1000000").communicate(timeout=60)
    said = acknowledged(output)
    assert said[-1] >= 12
    assert (place / "journal.db-wal").stat().st_size > 5_000
    return place, expected_rows(said[-1])


def read_back(place: Path, *, read_only: bool = True) -> list[Row]:
    with Journal.open(place, read_only=read_only) as journal:
        return list(journal.read())


class Copies:
    """One directory after another with the same content, but for one file."""

    def __init__(self, original: Path, place: Path) -> None:
        self.place = place
        self._files = {
            path.name: path.read_bytes() for path in original.iterdir() if path.is_file()
        }
        self._files.pop("journal.db-shm", None)
        shutil.copytree(original, place, dirs_exist_ok=True)

    def with_file(self, name: str, content: bytes) -> Path:
        """The directory with another content of one file."""
        (self.place / "journal.db-shm").unlink(missing_ok=True)
        for file, good in self._files.items():
            (self.place / file).write_bytes(content if file == name else good)
        return self.place

    def content(self, name: str) -> bytes:
        """What the file had in it."""
        return self._files[name]


def flipped(good: bytes, at: int) -> bytes:
    return good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :]


def flip_bytes(copies: Copies, name: str, rows: list[Row], *, every: int) -> int:
    """Nothing but the rows ever comes back; how many flips were refused."""
    faults = []
    good = copies.content(name)
    # Not in step with anything in the file, and another set of bytes each day.
    first = random.Random(time.strftime("%j")).randrange(every)
    for at in range(first, len(good), every):
        place = copies.with_file(name, flipped(good, at))
        try:
            assert read_back(place) == rows, at
        except JournalError as fault:
            faults.append(str(fault))
    assert all(str(copies.place) in fault for fault in faults)
    return len(faults)


EVERY = pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.soak)])


# ── flipped bytes ────────────────────────────────────────────────────────────────────────────────


@EVERY
@pytest.mark.usefixtures("small_pages")
def test_every_byte_of_the_database(tmp_path: Path, every: int) -> None:
    create(tmp_path / "journal")
    rows = [row for batch in batches(2, 3) for row in batch]
    with Journal.open(tmp_path / "journal") as journal:
        journal.append(rows)
    copies = Copies(tmp_path / "journal", tmp_path / "copy")
    stored = sum(len(row.command) + len(row.events) + len(row.chain) for row in rows)
    assert flip_bytes(copies, "journal.db", rows, every=every) > stored / every


@EVERY
def test_every_byte_of_the_log(crashed: tuple[Path, list[Row]], tmp_path: Path, every: int) -> None:
    place, rows = crashed
    copies = Copies(place, tmp_path / "copy")
    refused = flip_bytes(copies, "journal.db-wal", rows, every=every)
    # Each frame has its checksum, so only what nothing reads is free to change.
    assert refused > 0.9 * len(copies.content("journal.db-wal")) / every


def test_every_byte_of_the_witness(tmp_path: Path) -> None:
    create(tmp_path / "journal")
    rows = [row for batch in batches(2, 3) for row in batch]
    with Journal.open(tmp_path / "journal") as journal:
        journal.append(rows)
    copies = Copies(tmp_path / "journal", tmp_path / "copy")
    # One slot may be damaged: the other one tells.
    assert flip_bytes(copies, "head", rows, every=1) == 0
    good = copies.content("head")
    for at in range(0, 100, 7):
        for damaged in (flipped(flipped(good, at), 512 + at), good[:at]):
            with pytest.raises(JournalCorrupt, match=r"expected a head of journal .*, found none"):
                read_back(copies.with_file("head", damaged))


# ── lost ends ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("small_pages")
def test_the_database_truncated_anywhere(tmp_path: Path) -> None:
    create(tmp_path / "journal")
    rows = [row for batch in batches(10, 5) for row in batch]
    with Journal.open(tmp_path / "journal") as journal:
        journal.append(rows)
    copies = Copies(tmp_path / "journal", tmp_path / "copy")
    good = copies.content("journal.db")
    for length in [*range(0, len(good), 61), *range(0, len(good), 512), len(good) - 1]:
        with pytest.raises(JournalCorrupt, match=str(tmp_path / "copy")):
            read_back(copies.with_file("journal.db", good[:length]))


def test_the_log_truncated_anywhere(crashed: tuple[Path, list[Row]], tmp_path: Path) -> None:
    """Below the last commit the loss is told; without a witness whole batches are left."""
    place, rows = crashed
    copies = Copies(place, tmp_path / "copy")
    good = copies.content("journal.db-wal")
    ends = {0} | {end for end in range(1, len(rows) + 1) if is_end_of_batch(end)}
    seen = set()
    for length in [*range(0, len(good), 53), *range(32, len(good), 536), len(good) - 1]:
        for read_only in (True, False):
            with pytest.raises(JournalCorrupt, match=f"expected rows up to {len(rows)}, durable"):
                read_back(copies.with_file("journal.db-wal", good[:length]), read_only=read_only)
        copies.with_file("journal.db-wal", good[:length])
        (copies.place / "head").unlink()
        left = read_back(copies.place)
        assert left == rows[: len(left)]
        seen.add(len(left))
    assert seen == ends - {len(rows)}


def test_what_follows_the_last_commit_is_nothing(
    crashed: tuple[Path, list[Row]], tmp_path: Path
) -> None:
    place, rows = crashed
    copies = Copies(place, tmp_path / "copy")
    good = copies.content("journal.db-wal")
    draw = random.Random(5)
    for tail in (b"\0", bytes(5_000), draw.randbytes(5_000), good[-536:], good[32:], good[-100:]):
        for read_only in (True, False):
            place = copies.with_file("journal.db-wal", good + tail)
            assert read_back(place, read_only=read_only) == rows


def is_end_of_batch(count: int) -> bool:
    end = 0
    while end < count:
        end += 1 + end % 7
    return end == count


def test_an_older_copy_is_not_taken_for_the_journal(tmp_path: Path) -> None:
    place = tmp_path / "journal"
    create(place)
    with Journal.open(place) as journal:
        journal.append(rows_after(journal.head, 5))
    older = (place / "journal.db").read_bytes()
    with Journal.open(place) as journal:
        journal.append(rows_after(journal.head, 5))
    (place / "journal.db").write_bytes(older)
    for read_only in (True, False):
        with pytest.raises(JournalCorrupt, match="rows up to 10, durable once") as caught:
            Journal.open(place, read_only=read_only)
        assert caught.value.sequence == 6
    # Taking the witness away says that the loss is meant.
    (place / "head").unlink()
    with Journal.open(place) as journal:
        assert journal.verify().rows == 5
        other = rows_after(journal.head, 7, seed=9)
        journal.append(other)
    witness = (place / "head").read_bytes()
    (place / "journal.db").write_bytes(older)
    (place / "head").unlink()
    with Journal.open(place) as journal:
        journal.append(rows_after(journal.head, 8))
    (place / "head").write_bytes(witness)
    with pytest.raises(JournalCorrupt, match=r"sequence 12: expected link .*, found another"):
        Journal.open(place)


# ── failing disks ────────────────────────────────────────────────────────────────────────────────


def run_script(place: Path, files: Files) -> Iterator[tuple[str, int]]:
    """Open, append, snapshot, append, close, open again; tells what was acknowledged."""
    for _ in range(2):
        journal = Journal.open(place, files=files)
        try:
            for count in (1, 3, 2):
                journal.append(rows_after(journal.head, count))
                yield "rows", journal.head.sequence
                journal.save_snapshot(*journal.head, [b"image ", b"%d" % journal.head.sequence])
                yield "snapshot", journal.head.sequence
        except JournalStopped:
            check_unusable(journal)
            raise
        finally:
            journal.close()
            journal.close()


def check_unusable(journal: Journal) -> None:
    for act in (
        lambda: journal.append(rows_after(EMPTY, 1)),
        lambda: journal.save_snapshot(0, bytes(32), b""),
        journal.latest_snapshot,
        journal.verify,
        journal.read,
        lambda: journal.find(1),
        lambda: journal.export("never.parquet"),
    ):
        with pytest.raises(JournalStopped, match="and stopped: "):
            act()


def check_after(place: Path, ends: list[int], said: dict[str, int]) -> None:
    """What was acknowledged is there, and whole batches alone; and it goes on from there."""
    with Journal.open(place) as journal:
        count = journal.head.sequence
        assert count in ends
        assert count >= said["rows"]
        expected: list[Row] = []
        for start, end in pairwise(ends):
            head = Head(start, expected[-1].chain) if expected else EMPTY
            expected += rows_after(head, end - start)
        assert list(journal.read()) == expected[:count]
        snapshot = journal.latest_snapshot()
        assert journal.snapshots_skipped == ()
        if snapshot is not None:
            assert snapshot.image == b"image %d" % snapshot.sequence
        assert (snapshot.sequence if snapshot else 0) >= said["snapshot"]
        journal.append(rows_after(journal.head, 2))
        journal.save_snapshot(*journal.head, b"image")


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("where", ["files", "database"])
@pytest.mark.parametrize("checkpoint", [1, 1 << 30])
def test_the_nth_thing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, forever: bool, checkpoint: int
) -> None:
    monkeypatch.setattr(sqlite_module, "_CHECKPOINT_BYTES", checkpoint)
    create(tmp_path / "template")
    for number in range(1, 1_000):
        place = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "template", place)
        faults = Faults(number, forever=forever)
        said = {"rows": 0, "snapshot": 0}
        told = ""
        try:
            with ExitStack() as undoing:
                if where == "database":
                    undoing.enter_context(faulty_database(faults))
                for what, sequence in run_script(
                    place, FaultyFiles(faults) if where == "files" else Files()
                ):
                    said |= {what: sequence}
        except JournalError as fault:
            told = str(fault)
        check_after(place, [0, 1, 4, 6, 7, 10, 12], said)
        shutil.rmtree(place)
        if not faults.fired:
            assert not told
            break
        assert f"fault {number}" in told
    else:
        pytest.fail("there is always another thing to fail")
    assert number > 20


@pytest.mark.parametrize("forever", [False, True])
def test_the_nth_thing_fails_while_it_is_made(tmp_path: Path, forever: bool) -> None:
    for number in range(1, 1_000):
        for where in ("files", "database"):
            place = tmp_path / f"{number}-{where}"
            faults = Faults(number, forever=forever)
            try:
                if where == "files":
                    create(place, files=FaultyFiles(faults))
                else:
                    with faulty_database(faults):
                        create(place)
                told = ""
            except JournalError as fault:
                told = str(fault)
            assert (f"fault {number}" in told) == faults.fired
            if not (place / "journal.db").exists():
                assert faults.fired
                create(place)
            check_after(place, [0, 3], {"rows": 0, "snapshot": 0})
            if not faults.fired and where == "files":
                return


def test_the_nth_thing_fails_while_it_is_upgraded(tmp_path: Path) -> None:
    create(tmp_path)
    for number in range(1, 1_000):
        faults, told = Faults(number, forever=False), ""
        try:
            with faulty_database(faults):
                upgrade(tmp_path)
        except JournalStopped as fault:
            told = str(fault)
        assert (f"fault {number}" in told) == faults.fired
        if not faults.fired:
            break
    check_after(tmp_path, [0, 3], {"rows": 0, "snapshot": 0})


def test_a_short_write_is_a_failed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create(tmp_path)
    with Journal.open(tmp_path) as journal:
        monkeypatch.setattr("os.pwrite", lambda *_: 3)
        with pytest.raises(JournalStopped, match="short write"):
            journal.append(rows_after(EMPTY, 3))
    monkeypatch.undo()
    check_after(tmp_path, [0, 3], {"rows": 0, "snapshot": 0})


@pytest.mark.usefixtures("small_pages")
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """Real writes fail, at many sizes of the log and of the database."""
    create(tmp_path / "template")
    with Journal.open(tmp_path / "template") as journal:
        journal.append(rows_after(EMPTY, 4))
    outcomes = set()
    for limit in range(0, 24_000, 400):
        place = tmp_path / f"{limit}"
        shutil.copytree(tmp_path / "template", place)
        said = {"rows": 4, "snapshot": 0}
        journal = Journal.open(place)
        journal._store._unwritten_bytes = 1 << 30 if limit % 800 else 0  # type: ignore[attr-defined]
        with file_size_limit(limit):
            try:
                journal.append(rows_after(journal.head, 20))
                said["rows"] = 24
                outcomes.add("appended")
                journal.save_snapshot(*journal.head, b"image 24")
                said["snapshot"] = 24
                outcomes.add("saved")
                journal.close()
                outcomes.add("closed")
            except JournalStopped as fault:
                outcomes.add(re.sub(r".*could not be (.*), and.*", r"not \1", str(fault)))
                journal.close()
        check_after(place, [0, 4, 24], said)
    assert outcomes >= {"appended", "saved", "closed", "not written", "not closed"}


def test_nothing_is_written_after_a_failed_sync(tmp_path: Path) -> None:
    """Neither a second try nor SQLite's own tidying up at the end may touch the database."""
    create(tmp_path)
    journal = Journal.open(tmp_path)
    journal.append(rows_after(journal.head, 3))
    before = {name: (tmp_path / name).read_bytes() for name in ("journal.db", "journal.db-wal")}

    journal._store._witness._files = FaultyFiles(Faults(1, forever=True))  # type: ignore[attr-defined]
    with pytest.raises(JournalStopped, match="fault 1"):
        journal.append(rows_after(journal.head, 3))
    journal.close()
    log = (tmp_path / "journal.db-wal").read_bytes()
    assert (tmp_path / "journal.db").read_bytes() == before["journal.db"]
    assert log.startswith(before["journal.db-wal"])
    with Journal.open(tmp_path) as again:
        assert again.verify().rows == 6


def test_another_writer_that_got_in_all_the_same(tmp_path: Path) -> None:
    """As on a network disk without locks: the head has moved, and nothing is written over it."""
    create(tmp_path)
    with Journal.open(tmp_path) as journal:
        (tmp_path / "lock").unlink()
        with Journal.open(tmp_path) as other:
            other.append(rows_after(EMPTY, 1))
        with pytest.raises(JournalStopped, match="UNIQUE constraint failed"):
            journal.append(rows_after(EMPTY, 1))
    with Journal.open(tmp_path) as journal:
        (tmp_path / "lock").unlink()
        with Journal.open(tmp_path) as other:
            other.append(rows_after(other.head, 1))
        row = rows_after(journal.head, 1)[0]
        ahead = journal._meta._replace(head=Head(3, row.chain))
        with pytest.raises(JournalStopped, match="another writer has moved the head from 1"):
            journal._store.append([row._replace(sequence=3)], journal._meta, ahead)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("checkpoint_bytes", ["30000", "1000000"])
def test_killed_at_any_moment(tmp_path: Path, checkpoint_bytes: str) -> None:
    """Every batch that was acknowledged is there; the one under way is there or not."""
    draw = random.Random(int(checkpoint_bytes))
    create(tmp_path)
    total = 0
    for _ in range(4):
        writer = started(WRITER, str(tmp_path), "1000000000", checkpoint_bytes)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(draw.random() * 0.2)
        writer.kill()
        output, _ = writer.communicate()
        said = acknowledged(first + output)
        with Journal.open(tmp_path) as journal:
            assert journal.head.sequence >= said[-1] > total
            total = journal.head.sequence
            assert journal.verify().rows == total
        if draw.random() < 0.5:
            assert read_back(tmp_path) == expected_rows(total)
