"""The journal on a real PostgreSQL server."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine

from solvent.chains import ORIGIN
from solvent.errors import InvariantBroken
from solvent.journal import Head, Journal, create, import_parquet, upgrade
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
from solvent.journal.row import EMPTY
from tests.journals import Faults, batches, faulty_database, rows_after, started
from tests.postgres import database, server

__all__ = ["database", "server"]

ROWS = [row for rows in batches(4, 5) for row in rows]
WRITER = """
    import sys
    from solvent.journal import Journal
    from tests.journals import rows_after
    with Journal.open(sys.argv[1]) as journal:
        while True:
            journal.append(rows_after(journal.head, 1 + journal.head.sequence % 7))
            print(journal.head.sequence, flush=True)
"""


@pytest.fixture
def filled(database: str) -> str:
    """A database with a journal of 20 rows in four batches."""
    create(database)
    with Journal.open(database) as journal:
        for rows in batches(4, 5):
            journal.append(rows)
    return database


def change(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_rows_come_back(filled: str) -> None:
    with Journal.open(filled) as journal:
        assert journal.head == (20, ROWS[-1].chain)
        assert journal.verify() == (20, journal.head)
        assert list(journal.read(3, 17, chunk=4)) == ROWS[3:17]
        assert list(journal.read(verify=False)) == ROWS
        assert [journal.find(sequence) for sequence in (0, 1, 20, 21)] == [
            None, ROWS[0], ROWS[19], None,
        ]  # fmt: skip
        with pytest.raises(InvariantBroken):
            journal.append(ROWS)
        more = rows_after(journal.head, 100, size=50_000)
        journal.append(more)
        with Journal.open(filled, read_only=True) as reader:
            assert list(reader.read(20)) == more
            with pytest.raises(JournalError, match="was opened for reading"):
                reader.append(rows_after(reader.head, 1))
        assert journal.head.sequence == 120


def test_a_journal_is_not_made_twice(filled: str) -> None:
    with pytest.raises(JournalExists, match="expected no journal, found one"):
        create(filled)
    upgrade(filled)
    with Journal.open(filled) as journal:
        assert journal.verify().rows == 20


def test_no_journal_there(database: str) -> None:
    for act in (Journal.open, upgrade):
        with pytest.raises(JournalMissing, match="found no table journal_meta"):
            act(database)
    away = database.replace("/journal_", "/nothing_").replace(":@", ":secret@")
    for act in (create, Journal.open):
        with pytest.raises(JournalError, match="does not exist") as caught:
            act(away + "&password=hidden")
        assert "secret" not in str(caught.value)
        assert "hidden" not in str(caught.value)


def test_tables_of_another_version_are_refused(filled: str) -> None:
    change(filled, "UPDATE journal_version SET version_num = '0099'")
    for act in (Journal.open, upgrade):
        with pytest.raises(JournalVersion, match=r"found \['0099'\].* use a newer one"):
            act(filled)


def test_the_tables_are_what_the_scripts_make(filled: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = create_engine(filled.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": schema_module.VERSION_TABLE}
        )
        assert compare_metadata(context, schema_module.TABLES) == []
    engine.dispose()


def test_a_second_engine_is_refused(filled: str) -> None:
    with Journal.open(filled):
        found = rf"found server process \d+ \(solvent, process {os.getpid()} on "
        for act in (Journal.open, upgrade):
            with pytest.raises(JournalBusy, match=found):
                act(filled)
    with opened_when_free(filled) as journal:
        assert journal.head.sequence == 20


def test_a_holder_that_is_just_leaving(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import text

    monkeypatch.setattr("solvent.journal.postgres._HOLDER", text("SELECT 1, 'x' WHERE false"))
    with Journal.open(filled), pytest.raises(JournalBusy, match="found one that was just leaving"):
        Journal.open(filled)


def test_a_server_that_does_not_sync_is_refused(filled: str, server: str) -> None:
    change(server, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    try:
        wait_for(server, "fsync", "off")
        with pytest.raises(JournalError, match="expected a server with fsync on, found it off"):
            Journal.open(filled)
        with Journal.open(filled, read_only=True) as reader:
            assert reader.verify().rows == 20
    finally:
        change(server, "ALTER SYSTEM RESET fsync", "SELECT pg_reload_conf()")
        wait_for(server, "fsync", "on")


@pytest.mark.parametrize(
    ("said", "used"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")]
)
def test_commits_wait_for_the_disk(filled: str, said: str, used: str) -> None:
    name = filled.split("?")[0].rsplit("/", 1)[1]
    change(filled, f"ALTER DATABASE {name} SET synchronous_commit = {said}")
    with Journal.open(filled) as journal:
        connection = journal._store.writer()
        with connection.begin():
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == used


def wait_for(server: str, setting: str, value: str) -> None:
    for _ in range(500):
        with psycopg.connect(server) as connection:
            if connection.execute(f"SHOW {setting}").fetchone() == (value,):
                return
        time.sleep(0.01)
    pytest.fail(f"{setting} is not {value}")


@pytest.mark.parametrize(
    ("statement", "sequence"),
    [
        ("DELETE FROM journal WHERE sequence = 7", 7),
        ("DELETE FROM journal WHERE sequence > 13", 14),
        ("UPDATE journal SET time_ms = -1 WHERE sequence = 7", 7),
        ("UPDATE journal SET kind = 'other' WHERE sequence = 7", 7),
        ("UPDATE journal SET events = '' WHERE sequence = 20", 20),
        ("UPDATE journal SET sequence = 99 WHERE sequence = 7", 21),
        ("DELETE FROM journal_meta", None),
        ("UPDATE journal_meta SET head_sequence = 19", None),
        ("DROP TABLE journal", None),
        ("ALTER TABLE journal DROP COLUMN kind", None),
    ],
)
def test_altered_rows_are_named(filled: str, statement: str, sequence: int | None) -> None:
    change(filled, statement)
    with pytest.raises(JournalCorrupt, match=r"expected .*, found ") as caught:  # noqa: SIM117
        with Journal.open(filled) as journal:
            journal.verify()
    if sequence is not None:
        assert caught.value.sequence == sequence


def test_snapshots(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solvent.journal.snapshots.PART_BYTES", 1000)
    image = os.urandom(12_345)
    with Journal.open(filled) as journal:
        assert journal.latest_snapshot() is None
        journal.save_snapshot(0, ORIGIN, b"")
        assert journal.latest_snapshot() == (0, ORIGIN, b"")
        for row in ROWS[4::5]:
            journal.save_snapshot(row.sequence, row.chain, [image, b"%d" % row.sequence])
        journal.save_snapshot(20, ROWS[19].chain, image)
        assert journal.latest_snapshot() == (20, ROWS[19].chain, image)
        change(filled, "UPDATE journal_snapshot_parts SET image = 'x' WHERE sequence = 20")
        assert journal.latest_snapshot() == (15, ROWS[14].chain, image + b"15")
        (told,) = journal.snapshots_skipped
        assert "snapshot 20: expected 12345 bytes with digest" in told
        change(filled, "UPDATE journal_snapshots SET trailer = 'x' WHERE sequence = 15")
        assert journal.latest_snapshot() is None
        assert "expected a trailer" in journal.snapshots_skipped[1]
        with psycopg.connect(filled) as connection:
            parts = "SELECT DISTINCT sequence FROM journal_snapshot_parts ORDER BY 1"
            assert connection.execute(parts).fetchall() == [(15,), (20,)]


def test_parquet_takes_a_journal_to_sqlite_and_back(
    filled: str, tmp_path: Path, server: str
) -> None:
    with Journal.open(filled) as journal:
        assert journal.export(tmp_path / "rows.parquet") == 20
    head = import_parquet(tmp_path / "rows.parquet", tmp_path / "copy")
    with Journal.open(tmp_path / "copy") as copy:
        assert list(copy.read()) == ROWS
        copy.export(tmp_path / "again.parquet")
    change(server, "CREATE DATABASE journal_back")
    try:
        back = server.replace("/postgres?", "/journal_back?")
        assert import_parquet(tmp_path / "again.parquet", back) == head
        with Journal.open(back) as journal:
            assert list(journal.read()) == ROWS
    finally:
        change(server, "DROP DATABASE journal_back WITH (FORCE)")


def test_a_connection_that_is_cut_stops_the_journal(filled: str) -> None:
    """The lock is lost with the connection, so it must not be made anew behind the engine."""
    with Journal.open(filled) as journal:
        change(
            filled,
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        with pytest.raises(JournalStopped, match="could not be written, and stopped"):
            journal.append(rows_after(journal.head, 3))
        with Journal.open(filled) as other:
            other.append(rows_after(other.head, 2))
        with pytest.raises(JournalStopped):
            journal.append(rows_after(Head(20, ROWS[-1].chain), 3))
    with Journal.open(filled) as journal:
        assert journal.verify().rows == 22


def test_a_reader_that_is_cut_off_says_so(filled: str) -> None:
    with Journal.open(filled, read_only=True) as reader:
        change(
            filled,
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        with pytest.raises(JournalStopped, match="could not be read"):
            list(reader.read())


@pytest.mark.parametrize("forever", [False, True])
def test_the_nth_thing_fails(database: str, forever: bool) -> None:
    create(database)
    for number in range(1, 200):
        faults = Faults(number, forever=forever)
        said, told = 0, ""
        try:
            with ExitStack() as undoing:
                undoing.enter_context(faulty_database(faults))
                with Journal.open(database) as journal:
                    said = journal.head.sequence
                    for count in (1, 3):
                        journal.append(rows_after(journal.head, count))
                        said = journal.head.sequence
                        journal.save_snapshot(*journal.head, [b"image"])
        except JournalError as fault:
            told = str(fault)
        assert (f"fault {number}" in told) == faults.fired
        with opened_when_free(database) as journal:
            assert journal.head.sequence >= said
            assert journal.verify().head == journal.head
            snapshot = journal.latest_snapshot()
            assert journal.snapshots_skipped == ()
            assert snapshot is None or snapshot.image == b"image"
        if not faults.fired:
            break
    else:
        pytest.fail("there is always another thing to fail")
    assert number > 20


def test_killed_at_any_moment(database: str) -> None:
    create(database)
    total = 0
    for pause in (0.0, 0.07, 0.2):
        writer = started(WRITER, database)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(pause)
        writer.kill()
        output, _ = writer.communicate()
        said = [int(line) for line in (first + output).split("\n")[:-1]]
        with opened_when_free(database) as journal:
            assert journal.head.sequence >= said[-1] > total
            total = journal.head.sequence
            assert journal.verify().rows == total
            expected, head = [], EMPTY
            while head.sequence < total:
                expected += rows_after(head, 1 + head.sequence % 7)
                head = Head(expected[-1].sequence, expected[-1].chain)
            assert list(journal.read()) == expected


def opened_when_free(url: str) -> Journal:
    """The server lets go of a lock when it sees that who held it is gone."""
    for _ in range(500):
        try:
            return Journal.open(url)
        except JournalBusy:
            time.sleep(0.01)
    pytest.fail("the lock is held for ever")
