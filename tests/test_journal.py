"""The journal on SQLite: what goes in comes out, and whatever else happens is told."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from solvent.chains import ORIGIN, link
from solvent.errors import InvariantBroken, MissingExtra
from solvent.journal import Head, Journal, Row, create, import_parquet, upgrade
from solvent.journal import schema as schema_module
from solvent.journal.errors import (
    JournalBusy,
    JournalCorrupt,
    JournalError,
    JournalExists,
    JournalMissing,
    JournalStopped,
    JournalVersion,
)
from solvent.journal.parquet import frames_of, read_parquet
from solvent.journal.row import EMPTY
from tests.journals import batches, rows_after, started

HOLDER = """
    import sys, time
    from solvent.journal import Journal
    with Journal.open(sys.argv[1]) as journal:
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with an empty journal."""
    create(tmp_path / "journal")
    return tmp_path / "journal"


@pytest.fixture
def filled(place: Path) -> Path:
    """A directory with a journal of 20 rows in four batches."""
    with Journal.open(place) as journal:
        for rows in batches(4, 5):
            journal.append(rows)
    return place


ROWS = [row for rows in batches(4, 5) for row in rows]


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".db-shm" and path.stat().st_size > 0
    }


# ── what goes in comes out ───────────────────────────────────────────────────────────────────────


def test_rows_come_back(place: Path) -> None:
    with Journal.open(place) as journal:
        assert journal.head == EMPTY
        assert list(journal.read()) == []
        assert journal.verify() == (0, EMPTY)
        for number, rows in enumerate(batches(4, 5), 1):
            journal.append(rows)
            assert journal.head == (5 * number, rows[-1].chain)
            assert list(journal.read()) == ROWS[: 5 * number]
    with Journal.open(str(place)) as journal:
        assert journal.head == (20, ROWS[-1].chain)
        assert journal.verify() == (20, journal.head)
        assert [journal.find(sequence) for sequence in range(22)] == [None, *ROWS, None]


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("chunk", [1, 3, 20, 1000])
def test_any_part_can_be_read(filled: Path, verify: bool, chunk: int) -> None:
    with Journal.open(filled, read_only=True) as journal:
        for after in (-1, 0, 1, 7, 19, 20, 30):
            for until in (None, 0, 1, 7, 20, 30):
                expected = ROWS[max(after, 0) : until]
                assert list(journal.read(after, until, verify=verify, chunk=chunk)) == expected


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 253_402_300_799_999),
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            st.binary(max_size=20_000),
            st.binary(max_size=100),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_content_comes_back(
    tmp_path_factory: pytest.TempPathFactory, content: list[tuple[int, str, bytes, bytes]]
) -> None:
    place = tmp_path_factory.mktemp("any") / "journal"
    create(place)
    rows, chain = [], ORIGIN
    for sequence, (time_ms, kind, command, events) in enumerate(content, 1):
        chain = link(chain, sequence, time_ms, command, events)
        rows.append(Row(sequence, time_ms, kind, command, events, chain))
    with Journal.open(place) as journal:
        journal.append(rows)
        assert list(journal.read()) == rows


def test_what_does_not_continue_is_a_fault_of_the_caller(filled: Path) -> None:
    with Journal.open(filled) as journal:
        good = rows_after(journal.head, 3)
        for bad in (good[1:], [good[0], good[2]], [good[0], good[0]], ROWS[-1:]):
            with pytest.raises(InvariantBroken, match="rows continue the journal"):
                journal.append(bad)
        with pytest.raises(InvariantBroken, match="linked to the head"):
            journal.append([good[0]._replace(events=b"other")])
        journal.append([])
        assert journal.head.sequence == 20
        journal.append(good)
        assert journal.verify().rows == 23


def test_only_the_owner_may_read(filled: Path) -> None:
    with Journal.open(filled) as journal:
        journal.save_snapshot(*journal.head, b"image")
        for path in filled.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


# ── where it is ──────────────────────────────────────────────────────────────────────────────────


def test_a_journal_is_not_made_twice(filled: Path) -> None:
    with pytest.raises(JournalExists, match=f"{filled}: expected no journal, found journal.db"):
        create(filled)
    with Journal.open(filled), pytest.raises(JournalBusy):
        create(filled)
    (filled / "journal.db").rename(filled / "journal.db-wal")
    with pytest.raises(JournalExists, match=r"found journal\.db-wal"):
        create(filled)


def test_what_was_begun_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "journal.new").write_bytes(b"half")
    (tmp_path / "journal.new-wal").write_bytes(b"half")
    create(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"journal.db", "head", "lock", "snapshots"}
    Journal.open(tmp_path).close()


def test_no_journal_there(tmp_path: Path) -> None:
    for url in (tmp_path, tmp_path / "none"):
        with pytest.raises(JournalMissing, match=f"{url}: expected a journal, found no journal.db"):
            Journal.open(url)
        with pytest.raises(JournalMissing):
            upgrade(url)
    for other in ("mysql://a:secret@b/c", "://", "9://x"):
        with pytest.raises(JournalMissing, match="expected a directory or postgresql:") as caught:
            Journal.open(other)
        assert "secret" not in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="no journal could be made"):
        create(tmp_path / "file")


def test_postgres_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "solvent.journal.postgres", None)
    monkeypatch.delattr("solvent.journal.postgres", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'solvent\[postgres\]'"):
        Journal.open("postgresql://localhost/x")


def test_the_tables_are_what_the_scripts_make(place: Path) -> None:
    engine = create_engine(f"sqlite:///{place / 'journal.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema_module.VERSION_TABLE}
        )
        assert compare_metadata(context, schema_module.TABLES) == []
        assert context.get_current_revision() == schema_module.VERSIONS[-1]
    engine.dispose()


def test_the_scripts_do_nothing_of_themselves(filled: Path) -> None:
    before = contents(filled)
    importlib.import_module("solvent.journal.migrations.env")
    importlib.import_module("solvent.journal.migrations.versions.first")
    assert contents(filled) == before


def test_tables_of_another_version_are_refused(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(filled)
    monkeypatch.setattr("solvent.journal.store.VERSIONS", ("0001", "0002"))
    with pytest.raises(JournalVersion, match=r"found \['0001'\]; solvent.journal.upgrade\(url\)"):
        Journal.open(filled)
    monkeypatch.undo()
    change(filled, "UPDATE journal_version SET version_num = '0099'")
    for act in (Journal.open, upgrade):
        with pytest.raises(JournalVersion, match=r"found \['0099'\].* use a newer one"):
            act(filled)
    change(filled, "DELETE FROM journal_version")
    for act in (Journal.open, upgrade):
        with pytest.raises(JournalVersion, match=r"found \[\]"):
            act(filled)


def test_the_sql_of_the_page_runs(filled: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "journal.md").read_text("utf-8")
    statements = re.findall(r"```sql\n(.*?)```", page, flags=re.DOTALL)
    with sqlite3.connect(filled / "journal.db") as connection:
        kinds, days, gaps, head = (connection.execute(s).fetchall() for s in statements)
    connection.close()
    assert sum(count for _, count, _ in kinds) == 20
    assert days == [(19675, 20, 1, 20)]
    assert gaps == []
    assert head[0][0] == 20


def test_a_copy_that_is_taken_while_an_engine_writes(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with Journal.open(filled) as journal:
        journal.append(rows_after(journal.head, 2))
        source = sqlite3.connect(filled / "journal.db")
        target = sqlite3.connect(tmp_path / "copy" / "journal.db")
        source.backup(target)
        source.close()
        target.close()
        journal.append(rows_after(journal.head, 2))
    with Journal.open(tmp_path / "copy", read_only=True) as copy:
        assert copy.verify().rows == 22
    with Journal.open(tmp_path / "copy") as copy:
        copy.append(rows_after(copy.head, 2))


# ── one writer ───────────────────────────────────────────────────────────────────────────────────


def test_a_second_engine_is_refused(filled: Path) -> None:
    with Journal.open(filled):
        with pytest.raises(JournalBusy, match=f"found process {os.getpid()} at work"):
            Journal.open(filled)
        with pytest.raises(JournalBusy):
            upgrade(filled)
    holder = started(HOLDER, str(filled))
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(JournalBusy, match=f"found process {holder.pid} at work"):
            Journal.open(filled)
        with Journal.open(filled, read_only=True) as reader:
            assert reader.verify().rows == 20
    finally:
        holder.kill()
        holder.communicate()
    with Journal.open(filled) as journal:
        journal.append(rows_after(journal.head, 1))


def test_an_unnamed_holder(filled: Path) -> None:
    with Journal.open(filled):
        (filled / "lock").write_text("")
        with pytest.raises(JournalBusy, match="process of unknown number"):
            Journal.open(filled)


def test_a_reader_sees_what_is_appended_and_writes_nothing(filled: Path) -> None:
    with Journal.open(filled) as journal, Journal.open(filled, read_only=True) as reader:
        for _ in range(3):
            rows = rows_after(journal.head, 4)
            journal.append(rows)
            before = contents(filled)
            assert reader.head == journal.head
            assert list(reader.read())[-4:] == rows
            assert reader.verify().head == journal.head
            with pytest.raises(JournalError, match="was opened for reading"):
                reader.save_snapshot(*reader.head, b"image")
            assert contents(filled) == before
    before = contents(filled)
    with Journal.open(filled, read_only=True) as reader:
        assert reader.verify().rows == 32
    assert contents(filled) == before


def test_a_reader_cannot_append(filled: Path) -> None:
    with Journal.open(filled, read_only=True) as reader:
        with pytest.raises(JournalError, match="was opened for reading"):
            reader.append(rows_after(reader.head, 1))
        assert reader.verify().rows == 20


def test_a_medium_that_cannot_be_written(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    names = sorted(path.name for path in filled.iterdir())
    with Journal.open(filled, read_only=True) as reader:
        assert reader.verify().rows == 20
        assert sorted(path.name for path in filled.iterdir()) == names


# ── what is damaged is found ─────────────────────────────────────────────────────────────────────


def change(place: Path, *statements: str) -> None:
    with sqlite3.connect(place / "journal.db", isolation_level=None) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


OTHER = "x'00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'"

COPY_ROW = (
    "INSERT INTO journal SELECT 21, time_ms, kind, command, events, chain, kind_check"
    " FROM journal WHERE sequence = 20"
)
COPY_META = (
    "INSERT INTO journal_meta SELECT 2, journal_id, created_ms, head_sequence, head_chain, seal"
    " FROM journal_meta"
)


@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        ("DELETE FROM journal WHERE sequence = 7", 7),
        ("DELETE FROM journal WHERE sequence = 1", 1),
        ("DELETE FROM journal WHERE sequence = 19", 19),
        ("DELETE FROM journal WHERE sequence > 13", 14),
        ("DELETE FROM journal", 1),
        ("UPDATE journal SET time_ms = time_ms + 1 WHERE sequence = 7", 7),
        ("UPDATE journal SET time_ms = 1.5 WHERE sequence = 7", 7),
        ("UPDATE journal SET time_ms = -1 WHERE sequence = 7", 7),
        ("UPDATE journal SET kind = 'fundinG' WHERE sequence = 7", 7),
        ("UPDATE journal SET kind = x'00' WHERE sequence = 7", 7),
        ("UPDATE journal SET kind = cast(x'ff' AS text) WHERE sequence = 7", None),
        ("UPDATE journal SET kind_check = kind_check + 1 WHERE sequence = 7", 7),
        ("UPDATE journal SET command = x'00' WHERE sequence = 7", 7),
        ("UPDATE journal SET command = 'text' WHERE sequence = 7", 7),
        ("UPDATE journal SET events = x'00' WHERE sequence = 20", 20),
        (f"UPDATE journal SET chain = {OTHER} WHERE sequence = 7", 7),
        ("UPDATE journal SET chain = 'text' WHERE sequence = 7", 7),
        ("UPDATE journal SET chain = 'text' WHERE sequence = 19", 19),
        (f"UPDATE journal SET chain = {OTHER} WHERE sequence = 20", 20),
        ("UPDATE journal SET sequence = 99 WHERE sequence = 7", 21),
        ("UPDATE journal SET sequence = 0 WHERE sequence = 7", 7),
        (COPY_ROW, 21),
        ("DROP TABLE journal", None),
        ("DROP TABLE journal_version", None),
        ("DELETE FROM journal_meta", None),
        (COPY_META, None),
        ("UPDATE journal_meta SET head_sequence = 19", None),
        ("UPDATE journal_meta SET head_sequence = 'x'", None),
        ("UPDATE journal_meta SET head_chain = 'x'", None),
        (f"UPDATE journal_meta SET head_chain = {OTHER}", None),
        ("UPDATE journal_meta SET journal_id = 'x'", None),
        ("UPDATE journal_meta SET created_ms = 0", None),
        ("UPDATE journal_meta SET seal = x'00'", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read_only", [True, False])
def test_altered_rows_are_named(
    filled: Path, statement: str, sequence: int | None, read_only: bool
) -> None:
    change(filled, statement)
    before = contents(filled)
    with pytest.raises(JournalCorrupt, match=r"expected .*, found ") as caught:  # noqa: SIM117
        with Journal.open(filled, read_only=read_only) as journal:
            journal.verify()
    assert str(filled) in str(caught.value)
    if sequence is not None:
        assert caught.value.sequence == sequence
        assert f"sequence {sequence}: " in str(caught.value)
    after = contents(filled)
    assert {name: after[name] for name in before if name not in ("lock", "head")} == {
        name: before[name] for name in before if name not in ("lock", "head")
    }


def test_rows_before_the_damage_are_given(filled: Path) -> None:
    change(filled, "UPDATE journal SET events = x'00' WHERE sequence = 12")
    for chunk in (1, 4, 100):
        with Journal.open(filled) as journal:
            seen: list[Row] = []
            with pytest.raises(JournalCorrupt):
                seen.extend(journal.read(chunk=chunk))
            assert seen == ROWS[:11]
            assert list(journal.read(12)) == ROWS[12:]
            assert len(list(journal.read(verify=False))) == 20
    for missing, chunk in ((10, 10), (10, 5), (5, 100), (1, 1)):
        change(filled, f"DELETE FROM journal WHERE sequence = {missing}")
        with Journal.open(filled) as journal:
            with pytest.raises(JournalCorrupt) as caught:
                list(journal.read(verify=False, chunk=chunk))
            assert caught.value.sequence == missing


def test_a_head_that_is_sealed_and_wrong(filled: Path) -> None:
    with Journal.open(filled, read_only=True) as journal:
        wrong = journal._meta._replace(head=Head(20, bytes(31) + b"x"))
    (filled / "head").unlink()
    change(
        filled,
        f"UPDATE journal_meta SET head_chain = x'{wrong.head.chain.hex()}',"
        f" seal = x'{wrong.seal().hex()}'",
    )
    with pytest.raises(JournalCorrupt, match=r"sequence 20: expected link 0.*78, the head, found"):
        Journal.open(filled)


@pytest.mark.parametrize(
    ("code", "damage"),
    [
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_CORRUPT_VTAB, True),
        (sqlite3.SQLITE_NOTADB, True),
        (sqlite3.SQLITE_ERROR, True),
        (sqlite3.SQLITE_IOERR_SHORT_READ, True),
        (sqlite3.SQLITE_IOERR_READ, False),
        (sqlite3.SQLITE_BUSY_RECOVERY, False),
        (sqlite3.SQLITE_CANTOPEN, False),
        (sqlite3.SQLITE_NOMEM, False),
    ],
)
def test_damage_is_told_from_a_machine_in_trouble(
    filled: Path, monkeypatch: pytest.MonkeyPatch, code: int, damage: bool
) -> None:
    fault = sqlite3.OperationalError("as SQLite says it")
    fault.sqlite_errorcode = code

    def refuse(*_: object) -> None:
        raise fault

    with Journal.open(filled) as journal:
        monkeypatch.setattr(journal._store, "raw_rows", refuse)
        with pytest.raises(JournalCorrupt if damage else JournalStopped, match="as SQLite says it"):
            list(journal.read())
        if not damage:
            with pytest.raises(JournalStopped):
                journal.append(rows_after(Head(20, ROWS[19].chain), 1))


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────


def snapshot_files(place: Path) -> list[Path]:
    return sorted((place / "snapshots").iterdir())


def test_two_snapshots_are_kept(filled: Path) -> None:
    with Journal.open(filled) as journal:
        shutil.rmtree(filled / "snapshots")
        assert journal.latest_snapshot() is None
        journal.save_snapshot(0, ORIGIN, b"")
        assert journal.latest_snapshot() == (0, ORIGIN, b"")
        for row in ROWS[4::5]:
            journal.save_snapshot(row.sequence, row.chain, b"image %d" % row.sequence)
            found = journal.latest_snapshot()
            assert found == (row.sequence, row.chain, b"image %d" % row.sequence)
        assert [int(path.stem) for path in snapshot_files(filled)] == [15, 20]
        journal.save_snapshot(20, ROWS[19].chain, b"again")
        assert len(snapshot_files(filled)) == 2
    with Journal.open(filled, read_only=True) as journal:
        assert journal.latest_snapshot() == (20, ROWS[19].chain, b"again")
        assert journal.snapshots_skipped == ()


def test_a_large_image_comes_in_parts(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solvent.journal.snapshots.PART_BYTES", 1000)
    image = os.urandom(12_345)
    with Journal.open(filled) as journal:
        journal.save_snapshot(*journal.head, (image[at : at + 777] for at in range(0, 12_345, 777)))
        found = journal.latest_snapshot()
        assert found is not None
        assert found.image == image
        journal.save_snapshot(*journal.head, image)
        assert journal.latest_snapshot() == found


def test_a_snapshot_is_of_a_row(filled: Path) -> None:
    with Journal.open(filled) as journal:
        with pytest.raises(InvariantBroken, match="a snapshot is of a row of this journal"):
            journal.save_snapshot(20, ROWS[18].chain, b"")
        with pytest.raises(JournalCorrupt, match="expected row 21, found None"):
            journal.save_snapshot(21, ROWS[18].chain, b"")
        journal.append(rows_after(journal.head, 1))


def test_a_damaged_snapshot_is_left_out(filled: Path) -> None:
    with Journal.open(filled) as journal:
        for row in (ROWS[9], ROWS[19]):
            journal.save_snapshot(row.sequence, row.chain, b"image %d" % row.sequence)
        newest = snapshot_files(filled)[-1]
        good = newest.read_bytes()
        for at in range(len(good)):
            newest.write_bytes(good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :])
            assert journal.latest_snapshot() == (10, ROWS[9].chain, b"image 10")
            (told,) = journal.snapshots_skipped
            assert told.startswith(f"{newest}: expected ")
        for at in range(len(good)):
            newest.write_bytes(good[:at])
            assert journal.latest_snapshot() == (10, ROWS[9].chain, b"image 10")
            assert len(journal.snapshots_skipped) == 1
        newest.write_bytes(b"x" + good)
        assert journal.latest_snapshot() == (10, ROWS[9].chain, b"image 10")
        newest.unlink()
        newest.mkdir()
        assert journal.latest_snapshot() == (10, ROWS[9].chain, b"image 10")
        assert "Is a directory" in journal.snapshots_skipped[0]
        newest.rmdir()
        snapshot_files(filled)[0].write_bytes(b"")
        assert journal.latest_snapshot() is None
        assert len(journal.snapshots_skipped) == 1


def test_snapshots_of_elsewhere_are_left_out(filled: Path, tmp_path: Path) -> None:
    create(tmp_path / "other")
    with Journal.open(tmp_path / "other") as other:
        rows = rows_after(EMPTY, 20, seed=1)
        other.append(rows)
        with Journal.open(filled) as journal:
            journal.save_snapshot(*journal.head, b"image")
            shutil.copy(snapshot_files(filled)[0], tmp_path / "other" / "snapshots")
        (tmp_path / "other" / "snapshots" / "notes.snap").write_text("not one")
        assert other.latest_snapshot() is None
        assert "expected a snapshot of journal" in other.snapshots_skipped[0]
        # Right in itself, of this journal, and of a history that went another way.
        fresh = other.journal_id
        other._store.snapshots().save(fresh, Head(20, ROWS[19].chain), b"image")
        assert other.latest_snapshot() is None
        assert "has another link than its row" in other.snapshots_skipped[0]


def test_a_snapshot_ahead_of_the_rows_shows_that_rows_were_lost(filled: Path) -> None:
    shutil.copytree(filled, filled.with_name("older"))
    with Journal.open(filled) as journal:
        journal.append(rows_after(journal.head, 3))
        journal.save_snapshot(*journal.head, b"image")
    for name in ("journal.db", "head"):
        shutil.copy(filled.with_name("older") / name, filled / name)
    with Journal.open(filled) as journal:
        with pytest.raises(JournalCorrupt, match="expected rows up to 23, of which") as caught:
            journal.latest_snapshot()
        assert caught.value.sequence == 21


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_export_and_import(
    place: Path, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solvent.journal.parquet._CHUNK_ROWS", 7)
    path = tmp_path / "rows.parquet"
    with Journal.open(place) as journal:
        journal.append(ROWS[:count])
        assert journal.export(path) == count
        head = journal.head
    assert pl.read_parquet(path)["sequence"].to_list() == list(range(1, count + 1))
    assert import_parquet(path, tmp_path / "copy") == head
    with Journal.open(tmp_path / "copy") as copy:
        assert list(copy.read()) == ROWS[:count]
    with pytest.raises(JournalExists):
        import_parquet(path, tmp_path / "copy")


def test_a_damaged_journal_is_not_exported(filled: Path, tmp_path: Path) -> None:
    change(filled, "UPDATE journal SET events = x'00' WHERE sequence = 12")
    with Journal.open(filled) as journal:
        with pytest.raises(JournalCorrupt, match="sequence 12: "):
            journal.export(tmp_path / "rows.parquet")
        assert journal.find(11) == ROWS[10]
    assert {path.name for path in tmp_path.iterdir()} == {"journal"}


def test_an_export_that_has_no_place(filled: Path, tmp_path: Path) -> None:
    with Journal.open(filled) as journal:
        with pytest.raises(JournalError, match=r"rows\.parquet: could not be written: "):
            journal.export(tmp_path / "none" / "rows.parquet")
        assert journal.export(tmp_path / "rows.parquet") == 20


def test_an_export_with_other_rows_than_it_should_have(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal.open(filled) as journal:
        monkeypatch.setattr(journal, "read", lambda **_: iter(ROWS[:7]))
        with pytest.raises(JournalError, match="every row was written once, was 7, 20"):
            journal.export(tmp_path / "rows.parquet")
    assert not (tmp_path / "rows.parquet").exists()


def test_frames_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars runs these on a thread of its own, out of sight of coverage."""
    monkeypatch.setattr("solvent.journal.parquet._CHUNK_ROWS", 7)
    faults: list[Exception] = []
    frames = list(frames_of(iter(ROWS), faults))
    assert [len(frame) for frame in frames] == [7, 7, 6]
    assert [Row(*raw[:6]) for frame in frames for raw in frame.iter_rows()] == ROWS
    with pytest.raises(JournalCorrupt):
        list(frames_of(failing(), faults))
    assert len(faults) == 1


def failing() -> Iterator[Row]:
    yield ROWS[0]
    raise JournalCorrupt("here", expected="this", found="that")


def test_a_damaged_export_is_refused(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with Journal.open(filled) as journal:
        journal.export(path)
    frame, said = pl.read_parquet(path), pl.read_parquet_metadata(path)
    said = {name: text for name, text in said.items() if name.startswith("solvent")}
    change_row = pl.when(pl.col("sequence") == 9).then(1).otherwise(pl.col("time_ms"))
    for altered, words in (
        (frame.with_columns(time_ms=change_row), "sequence 9: expected link"),
        (frame[:9], "sequence 10: expected row 10, found no row"),
        (frame[[*range(9), *range(10, 20)]], "sequence 10: expected row 10, found row 11"),
        (frame.drop("events"), "expected the columns"),
    ):
        altered.write_parquet(path, metadata=said)
        with pytest.raises(JournalCorrupt, match=words):
            import_parquet(path, tmp_path / "copy")
    frame.write_parquet(path, metadata=said | {"solvent.head": "20 00"})
    with pytest.raises(JournalCorrupt, match="expected the head 20 00, found 20 "):
        import_parquet(path, tmp_path / "copy")
    frame.write_parquet(path)
    with pytest.raises(JournalCorrupt, match=r"expected solvent.head in its metadata, found None"):
        import_parquet(path, tmp_path / "copy")
    with pytest.raises(JournalCorrupt, match="No such file"):
        import_parquet(tmp_path / "none.parquet", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_every_byte_of_an_export_is_minded(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with Journal.open(place) as journal:
        journal.append(ROWS[:3])
        journal.export(path)
    good = path.read_bytes()
    refused = 0
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << at % 8)]) + good[at + 1 :])
        try:
            seen = [row for rows in read_parquet(path) for row in rows]
        except JournalCorrupt:
            refused += 1
        else:
            assert seen == ROWS[:3], at
    assert refused > len(good) // 3
