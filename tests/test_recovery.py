"""Recovery: what is followed and what is applied, alone and with a second process."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from solvent import recovery
from solvent.chains import ORIGIN
from solvent.engine.apply import Applied
from solvent.engine.follow import Gist, Place, follow, summed_up
from solvent.engine.image import image, restore, state_hash
from solvent.engine.state import State
from solvent.errors import InvariantBroken, Reject
from solvent.journal import Journal, Row, create
from solvent.journal.errors import JournalCorrupt
from solvent.messages import commands as c
from solvent.messages.codec import decode_events
from solvent.messages.events import (
    BlockReported,
    OrderEnded,
    OrderReduced,
    OrderRested,
    ProtectionTripped,
    StopCancelled,
    Traded,
    Uncrossed,
)
from solvent.messages.fields import Phase, Side, TimeInForce
from solvent.recovery import parts_of, recovered, replay
from tests.histories import (
    COMBO,
    HOUSES,
    PERPETUAL,
    History,
    at_random,
    every_command,
    with_books,
)
from tests.postgres import database, server

__all__ = ["database", "server"]

START = Place(0, 0, ORIGIN)


def history(house: str) -> list[Row]:
    """Every command, then many at random."""
    return [Row(*row) for row in every_command(house).rows]


def taken_over(state: State, rows: Sequence[Row], start: Place) -> int:
    """Follow and apply rows as recovery does; how many were followed."""
    followed = 0
    for part in parts_of(rows, start):
        if isinstance(part, Gist):
            follow(state, part)
            followed += len(part.identities)
        else:
            replay(state, part, decisions=False)
    return followed


def place_of(row: Row) -> Place:
    return Place(row.sequence, row.time_ms, row.chain)


@pytest.mark.parametrize("house", HOUSES)
def test_following_is_applying(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, over every command and many at random, from any place on, in any batches."""
    for rows in (history(house), [Row(*r) for r in at_random(house, seed=3, commands=400).rows]):
        applied, images = State(), {}
        cuts = sorted(Random(5).sample(range(len(rows)), 6))
        for start, end in pairwise([0, *cuts, len(rows)]):
            replay(applied, rows[start:end])
            images[end] = image(applied)
        for batch in (5, 8_192):
            monkeypatch.setattr(recovery, "REPLAY_BATCH", batch)
            state = State()
            followed = taken_over(state, rows, START)
            assert image(state) == images[len(rows)]
            assert 0 < followed < len(rows)
            for cut in cuts:
                state = restore(images[cut]) if cut else State()
                taken_over(state, rows[cut:], place_of(rows[cut - 1]) if cut else START)
                assert image(state) == images[len(rows)], (batch, cut)


def test_answers_are_forgotten_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row(*row) for row in at_random("debt", seed=9, commands=300).rows]
    monkeypatch.setattr("solvent.engine.apply.KEYS_MAX", 100)
    applied, followed = State(), State()
    replay(applied, rows)
    assert taken_over(followed, rows, START) > 100
    assert followed.log == applied.log
    assert list(followed.log.answers) == list(applied.log.answers)


def test_only_what_is_linked_is_summed_up() -> None:
    rows = history("debt")
    first = next(n for n in range(len(rows)) if summed_up(rows, n, place_of(rows[n - 1]))[1] > 1)
    before = place_of(rows[first - 1])
    gist, count = summed_up(rows, first, before)
    assert gist is not None
    assert gist.end == place_of(rows[first + count - 1])
    for wrong in (
        {"events": rows[first].events + b"\0"}, {"chain": bytes(32)}, {"kind": "heartbeat!"},
        {"kind": "trade" if rows[first].kind != "trade" else "deposit"}, {"command": b"\1"},
        {"command": "text"}, {"time_ms": before.time_ms - 1},
    ):  # fmt: skip
        damaged = [*rows[:first], rows[first]._replace(**wrong), *rows[first + 1 :]]
        assert summed_up(damaged, first, before) == (None, 0), wrong
    state = State()
    with pytest.raises(InvariantBroken, match="in sequence"):
        follow(state, gist)


def test_who_closes_all_that_it_holds_holds_nothing() -> None:
    h = History("debt")
    for name in ("late", "later"):
        h.open(name)
        h.must(c.Deposit, account=name, asset="USDC", amount=10**12)
    started = len(h.rows)
    traded = {"symbol": PERPETUAL, "price_ticks": h.ticks(PERPETUAL), "aggressor": Side.BUY}
    h.must(c.Trade, buyer="late", seller="later", lots=3, **traded)
    h.must(c.Trade, buyer="later", seller="late", lots=3, **traded)
    rows, state = [Row(*row) for row in h.rows], State()
    replay(state, rows[:started])
    assert taken_over(state, rows[started:], place_of(rows[started - 1])) == 2
    assert state.account(state.account_numbers["late"]).positions is None
    assert image(state) == image(h.state)


# ── books ────────────────────────────────────────────────────────────────────────────────────────

BOOKS = [house for house in HOUSES if house != "hard"]


def set_going(h: History) -> list[Applied]:
    """What happens to everything that rests and waits: it trades, shows more, is set off, trips."""
    ticks = h.ticks(PERPETUAL)
    told = [
        h.must(c.SetPhase, symbol=PERPETUAL, phase=Phase.CONTINUOUS),
        h.order("bob", Side.SELL, 9, ticks - 400),
        h.order("carol", Side.BUY, 20, ticks + 400),
        h.order("carol", Side.SELL, 30, ticks - 400, time_in_force=TimeInForce.IOC),
        h.order("frank", Side.SELL, 1, ticks + 900, group="mm"),
        h.order("bob", Side.BUY, 2, ticks - 800),
    ]
    if not h.by_contract:
        told.append(h.order("carol", Side.SELL, 4, -(10**6), symbol=COMBO))
    told += [
        h.must(c.ReportBlock, account="bob", counterparty="carol", side=Side.BUY, reference="b3",
               symbol=PERPETUAL, lots=40, price_ticks=ticks + 17),
        h.must(c.CancelOrder, account="erin", order="far"),
        h.must(c.Disconnect, account="frank", session="day"),
    ]  # fmt: skip
    return told


@pytest.mark.parametrize("house", BOOKS)
def test_books_are_taken_up_as_they_were(house: str) -> None:
    """Icebergs, stops, a group's fills and freeze, an auction, combinations and blocks: from the
    image, and by recovery of the whole record."""
    live = with_books(house)
    rows, taken = [Row(*row) for row in live.rows], image(live.state)
    found = restore(taken)
    assert image(found) == taken
    assert found.desk.phase(found.contract_numbers[PERPETUAL]) is Phase.AUCTION
    assert found.open.sides == live.state.open.sides
    assert found.open.asked == live.state.open.asked
    kept = [one for mine in found.desk.orders.values() for one in mine.values()]
    assert sorted(one.shown for one in kept if one.display) == [4, 4, 5, 5]
    assert (len(found.desk.stops), len(found.blocks), len(found.desk.groups)) == (1, 1, 1)
    again = with_books(house)
    again.state = found
    assert set_going(again) == set_going(live)
    assert state_hash(found) == state_hash(live.state)
    seen = {type(event) for row in live.rows[len(rows) :] for event in decode_events(row[4])}
    assert {OrderEnded, OrderReduced, OrderRested, ProtectionTripped, StopCancelled, Traded,
            Uncrossed, BlockReported} <= seen  # fmt: skip
    every = [Row(*row) for row in live.rows]
    for cut in (0, len(rows) - 20, len(rows)):
        state = restore(taken) if cut == len(rows) else State()
        if 0 < cut < len(rows):
            replay(state, every[:cut])
            state = restore(image(state))
        taken_over(state, every[cut:], place_of(every[cut - 1]) if cut else START)
        assert image(state) == image(live.state)


def test_a_group_that_is_frozen_stays_so() -> None:
    """Until its time, whether or not the engine was away in the meantime."""
    h = with_books("debt")
    h.must(c.SetPhase, symbol=PERPETUAL, phase=Phase.CONTINUOUS)
    h.must(c.SetProtection, account="frank", group="mm", window_ms=1_000, frozen_ms=500, lots=6)
    ticks = h.ticks(PERPETUAL)
    h.rests("frank", Side.SELL, 9, ticks + 300, group="mm")
    assert h.order("carol", Side.BUY, 7, ticks + 300).code == 0
    h.state = restore(image(h.state))
    h.time_ms += 499
    assert h.order("frank", Side.SELL, 1, ticks + 900, group="mm").code == Reject.PROTECTION_TRIPPED
    h.time_ms += 1
    h.rests("frank", Side.SELL, 6, ticks + 300, group="mm")
    # What was filled before it tripped counts no more: six are within the limit, a seventh is not.
    assert h.order("carol", Side.BUY, 6, ticks + 300).code == 0
    h.rests("frank", Side.SELL, 6, ticks + 300, group="mm")
    h.state = restore(image(h.state))
    tripped = h.order("carol", Side.BUY, 1, ticks + 300).events
    assert [one for one in tripped if isinstance(one, ProtectionTripped)] == [
        ProtectionTripped(h.state.account_numbers["frank"], "mm", h.time_ms + 500)
    ]


# ── a second process ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def venue(tmp_path: Path) -> tuple[Path, list[Row], str]:
    """A journal with a snapshot a third of the way, its rows, and the hash at its end."""
    rows = history("mixed")
    where, state = tmp_path / "venue", State()
    create(where)
    with Journal.open(where) as journal:
        journal.append(rows)
        third = len(rows) // 3
        replay(state, rows[:third])
        journal.save_snapshot(state.log.sequence, state.log.chain, image(state))
        replay(state, rows[third:])
    return where, rows, state_hash(state)


def check(url: str | Path, live: str) -> None:
    for processes in (1, 2, None):
        seen: list[tuple[int, int]] = []
        with Journal.open(url) as journal:
            state = recovered(
                journal, processes=processes, progress=lambda *place, s=seen: s.append(place)
            )
        assert state_hash(state) == live
        assert seen[-1] == (state.log.sequence, state.log.sequence)


def test_a_second_process_reads(
    venue: tuple[Path, list[Row], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, _, live = venue
    monkeypatch.setattr(recovery, "LONG_TAIL", 1)
    check(where, live)


def test_a_second_process_reads_from_postgresql(
    venue: tuple[Path, list[Row], str], database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, rows, live = venue
    monkeypatch.setattr(recovery, "LONG_TAIL", 1)
    create(database)
    with Journal.open(database) as journal:
        journal.append(rows)
    check(database, live)


def test_what_a_second_process_does_not_bring_is_read_here(
    venue: tuple[Path, list[Row], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot start, it dies at once, it is cut off in the midst of a part."""
    where, _, live = venue
    monkeypatch.setattr(recovery, "LONG_TAIL", 1)
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/nowhere/python")
        check(where, live)
    with monkeypatch.context() as patch:
        patch.setattr("sys.executable", "/bin/false")
        check(where, live)
    whole = recovery._read_frames

    class Cut:
        def __init__(self, source: object) -> None:
            self.source, self.left = source, 20_000

        def read(self, count: int) -> bytes:
            found: bytes = self.source.read(min(count, self.left))  # type: ignore[attr-defined]
            self.left -= len(found)
            return found

    monkeypatch.setattr(recovery, "REPLAY_BATCH", 50)
    monkeypatch.setattr(recovery, "_read_frames", lambda source, out: whole(Cut(source), out))  # type: ignore[arg-type]
    check(where, live)


def test_damage_is_found_whoever_reads(
    venue: tuple[Path, list[Row], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, rows, _ = venue
    bad = len(rows) - 20
    with sqlite3.connect(where / "journal.db") as connection:
        connection.execute("UPDATE journal SET events = ? WHERE sequence = ?", [b"\1\x90", bad])
    connection.close()
    for longest in (1, 1 << 40):
        monkeypatch.setattr(recovery, "LONG_TAIL", longest)
        with Journal.open(where) as journal, pytest.raises(JournalCorrupt) as caught:
            recovered(journal)
        assert caught.value.sequence == bad
