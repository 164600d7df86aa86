"""Engines that are killed, whose disks fail and whose journals lose their ends.

Whatever was acknowledged is there afterwards, and nothing else but whole batches.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs

from solvent.engine import margin_of_orders
from solvent.engine.apply import HANDLERS
from solvent.engine.audit import audit
from solvent.engine.image import image, restore, state_hash
from solvent.engine.state import Standing, State
from solvent.errors import BadInput, InvariantBroken
from solvent.host import Engine, EngineStopped
from solvent.journal import Journal, Row
from solvent.journal import journal as journal_module
from solvent.journal import sqlite as sqlite_module
from solvent.journal.errors import JournalBusy, JournalCorrupt, JournalError, JournalStopped
from solvent.messages.commands import Deposit, Heartbeat, OpenAccount
from solvent.recovery import ReplayDiverged, batches, recovered, replay
from tests.engines import (
    ROOT,
    Fold,
    Life,
    Nursery,
    batch,
    found,
    founding,
    market,
    opened,
)
from tests.histories import HOUSES, every_command
from tests.journals import Faults, FaultyFiles, faulty_database
from tests.killing import NEVER, Killing
from tests.postgres import database, server

__all__ = ["database", "server"]

ROUNDS = 25
"""Kills of one journal."""


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal that others begin as copies of."""
    place = tmp_path_factory.mktemp("venue") / "template"
    found(place)
    return place


# ── killed processes ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hash_seed", [0, pytest.param(4_321, marks=pytest.mark.soak)])
def test_killed_at_any_moment(venue: Path, tmp_path: Path, hash_seed: int) -> None:
    """250 kills of real processes under load, some while they were still recovering."""
    seen: Counter[str] = Counter()
    with Nursery(hash_seed=hash_seed) as nursery:
        for number in range(10):
            place = tmp_path / f"{number}"
            shutil.copytree(venue, place)
            killing = Killing(str(place), nursery, seed=100 * hash_seed + number)
            for _ in range(ROUNDS):
                killing.round(work_seconds=0.06)
            if number == 9:
                killing.go_on(seen, "opening", "done unacknowledged", "not done")
            killing.finish().check_mixture()
            seen += killing.seen
    assert seen["working"] + seen["opening"] >= 250
    assert seen["acknowledged"] > 250, seen


# ── failing disks ────────────────────────────────────────────────────────────────────────────────


def lives(place: Path) -> Iterator[tuple[int, str, int]]:
    """Two engines one after the other, with snapshots between.

    Tells before each batch how far the journal goes, its chain, and how many commands come next.
    """
    draw = random.Random(3)
    for _ in range(2):
        engine = opened(place, snapshot_every=5)
        try:
            for size in (2, 5, 1):
                commands = batch(engine.state, draw, size)
                yield (*durable(engine), size)
                engine.submit_all(commands)
            yield (*durable(engine), 0)
            engine.snapshot()
        except JournalError:
            check_stopped(engine)
            raise
        finally:
            engine.close()


def durable(engine: Engine) -> tuple[int, str]:
    return engine.journal.head.sequence, engine.journal.head.chain.hex()


def check_stopped(engine: Engine) -> None:
    """An engine that has stopped does nothing more, and asks nothing more of the disk."""
    beat = Heartbeat(key="more", actor="test")
    for act in (lambda: engine.submit(beat), lambda: engine.submit_all([]), engine.snapshot):
        with pytest.raises(EngineStopped, match="open it anew"):
            act()


def check_after(place: Path, said: tuple[int, str, int]) -> None:
    """What was acknowledged is there, the next batch as a whole or not at all; and it goes on."""
    fold = Fold()
    sequence, chain, under_way = said
    with opened(place) as engine:
        fold.check(engine)
        assert len(fold.rows) in (sequence, sequence + under_way)
        assert fold.chains[sequence].hex() == chain
        assert engine.journal.snapshots_skipped == ()
        engine.submit_all(batch(engine.state, random.Random(9), 2))
        fold.check(engine)


@pytest.mark.parametrize("forever", [False, True])
@pytest.mark.parametrize("where", ["files", "database"])
def test_the_nth_thing_fails(
    venue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, forever: bool
) -> None:
    """Every write, sync, rename, statement, begin and commit, of opening as well."""
    monkeypatch.setattr(sqlite_module, "_CHECKPOINT_BYTES", 60_000)
    for number in range(1, 1_000):
        place = tmp_path / f"{number}"
        shutil.copytree(venue, place)
        faults, told, said = Faults(number, forever=forever), "", (0, "", 0)
        with ExitStack() as undoing, pytest.MonkeyPatch.context() as patch:
            if where == "files":
                patch.setattr(journal_module, "Files", lambda faults=faults: FaultyFiles(faults))
            else:
                undoing.enter_context(faulty_database(faults))
            try:
                for said in lives(place):  # noqa: B007
                    pass
            except JournalError as fault:
                told = str(fault)
            assert not faults.fired or faults.count == number, "nothing is tried again"
        if said[0]:
            check_after(place, said)
        shutil.rmtree(place)
        assert (f"fault {number}" in told) == faults.fired
        if not faults.fired:
            break
    else:
        pytest.fail("there is always another thing to fail")
    assert number > 20


def test_an_engine_that_fails_in_memory_stops(
    venue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in memory is thrown away, and the journal does not hear of it."""
    shutil.copytree(venue, tmp_path / "venue")

    def broken(*_: object) -> None:
        raise InvariantBroken("two and two make four")

    with opened(tmp_path / "venue") as engine:
        before = durable(engine), engine.hash()
        monkeypatch.setitem(HANDLERS, Heartbeat, broken)  # type: ignore[misc]
        commands = [*batch(engine.state, random.Random(1), 5), Heartbeat(key="h", actor="test")]
        with pytest.raises(InvariantBroken, match="two and two"):
            engine.submit_all(commands)
        check_stopped(engine)
        with opened(tmp_path / "venue") as other:
            assert (durable(other), other.hash()) == before
            assert len(other.submit_all(commands[:-1])) == 5


def test_what_could_not_be_read_back_is_not_stored(venue: Path, tmp_path: Path) -> None:
    """A constructor checks nothing; a batch with such a command is not done, and no harm is."""
    shutil.copytree(venue, tmp_path / "venue")
    money: dict[str, Any] = {"actor": "test", "account": "u1", "asset": "USDC"}
    with opened(tmp_path / "venue") as engine:
        before = durable(engine), engine.hash()
        good = Deposit(key="good", amount=1, **money)
        for amount in (0, -5, 1 << 62 | 1, 1 << 64, 1.5, True, None, "7"):
            with pytest.raises(BadInput, match=r"field 'amount'|can't serialize ints"):
                engine.submit_all([good, Deposit(key="bad", **{**money, "amount": amount})])
        for key in ("", "x" * 65, "\ud800", 7):
            with pytest.raises(BadInput):
                engine.submit(Deposit(key=key, amount=1, **money))  # type: ignore[arg-type]
        assert (durable(engine), engine.hash()) == before
        assert engine.submit(good).accepted


# ── lost ends ────────────────────────────────────────────────────────────────────────────────────


def test_the_log_cut_or_garbled_after_the_last_commit(venue: Path, tmp_path: Path) -> None:
    """After each acknowledged batch, the next one on its way to the disk in all its stages."""
    place, copy = tmp_path / "venue", tmp_path / "copy"
    shutil.copytree(venue, place)
    draw = random.Random(6)
    shots: list[tuple[tuple[int, str], dict[str, bytes]]] = []
    with opened(place, snapshot_every=25) as engine:
        for size in (1, 3, 40, 2, 1, 9):
            engine.submit_all(batch(engine.state, draw, size))
            files = {path.relative_to(place): path for path in place.rglob("*") if path.is_file()}
            shots.append((durable(engine), {
                str(name): path.read_bytes() for name, path in files.items()
                if path.suffix != ".db-shm"
            }))  # fmt: skip
    outcomes: Counter[bool] = Counter()
    for (before, shot), (after, later) in pairwise(shots):
        log, longer = shot["journal.db-wal"], later["journal.db-wal"]
        assert longer.startswith(log)
        more = longer[len(log) :]
        for tail in tails(more, draw):
            written = {**shot, "journal.db-wal": log + tail}
            outcomes[check_copy(copy, written, before, after)] += 1
        assert check_copy(copy, {**shot, "journal.db-wal": longer}, before, after)
        # What was acknowledged does not vanish without a word.
        with pytest.raises(JournalCorrupt, match="durable once"):
            check_copy(copy, {**later, "journal.db-wal": longer[:-1]}, before, after)
    assert outcomes[False] > 50


def tails(more: bytes, draw: random.Random) -> Iterator[bytes]:
    """Ends of a log as a torn write may leave them: cut, garbled, in part zeros, or another's."""
    for _ in range(8):
        yield more[: draw.randrange(len(more))]
        at = draw.randrange(len(more))
        yield more[:at] + bytes([more[at] ^ 1 << draw.randrange(8)]) + more[at + 1 :]
        yield more[:at] + bytes(len(more) - at)
    yield draw.randbytes(len(more))
    yield more[len(more) // 2 :]


def check_copy(
    copy: Path, files: dict[str, bytes], before: tuple[int, str], after: tuple[int, str]
) -> bool:
    """Whether the batch under way is there; what came before it is, or this fails."""
    shutil.rmtree(copy, ignore_errors=True)
    for name, content in files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    with opened(copy) as engine:
        assert durable(engine) in (before, after)
        assert engine.journal.find(before[0]).chain.hex() == before[1]  # type: ignore[union-attr]
        assert audit(engine.state).violations == ()
        return durable(engine) == after


# ── one engine at a time ─────────────────────────────────────────────────────────────────────────


def test_a_second_engine_is_refused(venue: Path, tmp_path: Path) -> None:
    place = tmp_path / "venue"
    shutil.copytree(venue, place)
    life = Life(str(place), 1, NEVER, NEVER)
    with Nursery(hash_seed=0) as nursery:
        for _ in range(3):
            number = nursery.born(life)
            nursery.wait_until_opened()
            with pytest.raises(JournalBusy, match=f"found process {number} at work"):
                opened(place)
            nursery.end(number, [], opened=True)
            opened(place).close()
    with opened(place), pytest.raises(JournalBusy, match=f"found process {os.getpid()} at work"):
        opened(place)


# ── replay ───────────────────────────────────────────────────────────────────────────────────────


def run(url: str | Path, size: int) -> tuple[str, bytes]:
    """A history in batches of a size: the hash of its end and its last link."""
    history = founding()
    with Engine.create(url, clock=lambda: int(market().as_of_ms)) as engine:
        for start in range(0, len(history), size):
            engine.submit_all(history[start : start + size])
        draw = random.Random(8)
        # Commands are drawn of one state, whatever the batches: all that are known at first.
        more = batch(engine.state, draw, 240)
        more = [structs.replace(one, key=f"{place}") for place, one in enumerate(more)]
        for start in range(0, len(more), size):
            engine.submit_all(more[start : start + size])
        return engine.hash(), engine.journal.head.chain


HASHES = """
    import sys
    from solvent.host import Engine
    with Engine.open(sys.argv[1]) as engine:
        print(engine.hash(), engine.journal.head.sequence)
"""


def test_replay_is_what_was_lived_through(tmp_path: Path) -> None:
    """Other sizes of batches, other seeds of hashes, and a snapshot at every 60th place."""
    ends = {size: run(tmp_path / f"{size}", size) for size in (1, 7, 1_000)}
    assert len(set(ends.values())) == 1
    (live, chain) = ends[7]
    for seed in (0, 1, 4_321):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HASHES), str(tmp_path / "7")], cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": f"{seed}"}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert done.stdout.split()[0] == live
    with Journal.open(tmp_path / "7") as journal:
        check_replays(journal, live, chain)


def check_replays(journal: Journal, live: str, chain: bytes) -> None:
    """From the beginning and from every 60th place on, in batches of several sizes."""
    rows = list(journal.read())
    for size in (1, 7, 1_000):
        assert state_hash(replayed(State(), rows, size)) == live
    state = State()
    for start in range(0, len(rows), 60):
        replay(state, rows[start : start + 60])
        journal.save_snapshot(state.log.sequence, state.log.chain, image(state))
        for size in (1, 7):
            tail = replayed(restore(image(state)), rows[start + 60 :], size)
            assert (state_hash(tail), tail.log.chain) == (live, chain)
        assert state_hash(recovered(journal)) == live


def replayed(state: State, rows: list[Row], size: int) -> State:
    for some in batches(rows, size):
        replay(state, some)
    return state


_ORDERED = ("place_order", "amend_order")


@pytest.mark.parametrize("house", HOUSES)
def test_recovery_decides_nothing_anew(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused is taken from the record, what was done is worked out: the same books."""
    history = every_command(house)
    rows = [Row(*row) for row in history.rows]
    live = state_hash(history.state)
    for decisions in (True, False):
        state = State()
        for some in batches(rows, 37):
            replay(state, some, decisions=decisions)
        assert state_hash(state) == live
        assert not state.decided
    call = Standing(0, 1, 0, known=True, call=True, liquidate=False)
    for module in ("trading", "cash", "accounts"):
        monkeypatch.setattr(f"solvent.engine.{module}.standing", lambda *_: call)
    admitted: list[object] = []
    reduces = margin_of_orders._only_reduces

    def counted(*told: Any) -> bool:
        admitted.append(told)
        return reduces(*told)

    monkeypatch.setattr("solvent.engine.margin_of_orders._only_reduces", counted)
    monkeypatch.setattr("solvent.engine.ahead.known", lambda *_: None)
    monkeypatch.setattr("solvent.engine.slack.after", lambda *_: None)
    state = State()
    replay(state, rows, decisions=False)
    assert state_hash(state) == live
    # Where an order went for want of margin, that was decided anew; no other order's was.
    assert len(admitted) == sum(b"margin" in row.events for row in rows if row.kind in _ORDERED)
    if not history.by_contract:
        with pytest.raises(ReplayDiverged, match="initial margin"):
            replay(State(), rows)


def test_damage_and_another_history_are_told_apart(venue: Path, tmp_path: Path) -> None:
    """Recovery names the row that is not what was written, or what came out otherwise."""
    place = tmp_path / "venue"
    shutil.copytree(venue, place)
    with Journal.open(place) as journal:
        count = journal.head.sequence
        good = list(journal.read())
    for column, value in (
        ("command", b"x"), ("command", good[0].command), ("command", "text"), ("events", b""),
        ("chain", bytes(32)), ("kind", "deposit"), ("time_ms", 0), ("time_ms", 1 << 60),
    ):  # fmt: skip
        with sqlite3.connect(place / "journal.db") as connection:
            connection.execute(f"UPDATE journal SET {column} = ? WHERE sequence = 9", [value])
        with pytest.raises(JournalCorrupt) as caught:
            opened(place)
        assert caught.value.sequence == 9, column
        with sqlite3.connect(place / "journal.db") as connection:
            kept = [getattr(good[8], column)]
            connection.execute(f"UPDATE journal SET {column} = ? WHERE sequence = 9", kept)
        connection.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(HANDLERS, Deposit, lambda *_: None)  # type: ignore[misc]
        with opened(place) as engine:
            assert engine.journal.head.sequence == count  # Deposits are taken from the record.
        patch.setitem(HANDLERS, OpenAccount, lambda *_: None)  # type: ignore[misc]
        with pytest.raises(
            ReplayDiverged, match=r"\(open_account\): expected 1 events, .* found 0"
        ):
            opened(place)
    with opened(place) as engine:
        assert engine.journal.head.sequence == count


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────


def test_on_postgresql(database: str) -> None:
    live, chain = run(database, 1_000)
    with opened(database) as engine:
        assert engine.hash() == live
        with pytest.raises(JournalBusy, match="expected no other engine on this journal"):
            opened(database)
    with Journal.open(database) as journal:
        check_replays(journal, live, chain)


def test_on_postgresql_and_cut_off(database: str) -> None:
    """The server ends the engine's connection, or is asked for something it refuses."""
    found(database)
    fold = Fold()
    terminate = "pg_terminate_backend(pid, 60000)"
    cuts = (
        f"SELECT {terminate} FROM pg_stat_activity WHERE application_name LIKE 'solvent%'",
        "ALTER TABLE journal ADD CONSTRAINT small CHECK (octet_length(command) < 0) NOT VALID",
    )
    for cut in cuts:
        with opened(database, snapshot_every=7) as engine:
            for size in (5, 1, 12):
                engine.submit_all(batch(engine.state, random.Random(size), size))
            fold.check(engine)
            before = durable(engine), engine.hash()
            with psycopg.connect(database, autocommit=True) as connection:
                connection.execute(cut)
            with pytest.raises(JournalStopped, match="could not be written, and stopped"):
                engine.submit_all(batch(engine.state, random.Random(0), 5))
            check_stopped(engine)
        with opened(database) as engine:
            assert (durable(engine), engine.hash()) == before
            fold.check(engine)
    fold.check_books()


def test_on_postgresql_killed_at_any_moment(database: str) -> None:
    found(database)
    with Nursery(hash_seed=5) as nursery:
        killing = Killing(database, nursery, seed=55)
        for _ in range(10):
            killing.round(work_seconds=0.06)
        killing.finish().check_mixture()
    assert killing.seen["acknowledged"] > 0
