"""The engine in its own thread: lanes, group commit, reads, streams, and how it ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from solvent.engine.state import State
from solvent.errors import BadInput
from solvent.host import Answer, Engine
from solvent.journal import Journal
from solvent.messages import commands as c
from solvent.messages.fields import Command, Side
from solvent.service.lanes import Lane, Lanes, Overloaded, Ticket, lane_of
from solvent.service.streams import Dropped, Entry, Subscription
from solvent.service.venue import NotServing, Phase, Venue
from tests.services import PERPETUAL, made


@pytest.fixture
def url(tmp_path: Path) -> Path:
    return made(tmp_path)


def deposit(key: str, amount: int = 1) -> Command:
    return c.Deposit(key=key, actor="me", account="u5", asset="USDC", amount=amount)


def order(key: str, *, reduce_only: bool = False) -> Command:
    return c.PlaceOrder(
        key=key, actor="me", account="u5", order=key, symbol=PERPETUAL, side=Side.BUY, lots=10,
        price_ticks=100_000, reduce_only=reduce_only,
    )  # fmt: skip


def cancel(key: str) -> Command:
    return c.CancelOrder(key=key, actor="me", account="u5", order="x")


# ── lanes ────────────────────────────────────────────────────────────────────────────────────────


def ticket(commands: Sequence[Command], entered_s: float = 0.0, *, gone: bool = False) -> Ticket:
    return Ticket(
        commands, lane_of(commands), [None] * len(commands), entered_s,
        lambda *_: None, lambda: gone,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("commands", "lane"),
    [
        ([cancel("1")], Lane.RELIEF),
        ([deposit("1"), cancel("2")], Lane.RELIEF),
        ([order("1", reduce_only=True)], Lane.RELIEF),
        ([order("1")], Lane.ORDINARY),
        ([cancel("1"), order("2")], Lane.ORDINARY),
        ([c.Heartbeat(key="1", actor="me")], Lane.HOUSE),
        ([c.Heartbeat(key="1", actor="me"), cancel("2")], Lane.RELIEF),
    ],
)  # fmt: skip
def test_a_request_is_in_the_lane_of_its_slowest_command(
    commands: list[Command], lane: Lane
) -> None:
    assert lane_of(commands) is lane


def test_a_draft_that_is_a_function_waits_with_all_others() -> None:
    assert lane_of([lambda _: cancel("1")]) is Lane.ORDINARY


def test_a_kind_that_nobody_has_thought_of_waits_with_all_others() -> None:
    class Novel(Command, frozen=True):
        """A new kind."""

    assert lane_of([Novel(key="1", actor="me")]) is Lane.ORDINARY


def test_a_flood_of_one_lane_leaves_the_others_their_parts() -> None:
    lanes = Lanes(room=10_000, patience_s=10.0)
    for number in range(1_000):
        lanes.put(ticket([order(f"o{number}")]))
    for number in range(30):
        lanes.put(ticket([cancel(f"c{number}")]))
    taken, late = lanes.take(100, 0.0)
    assert not late
    assert sum(one.lane is Lane.RELIEF for one in taken) == 30
    assert sum(one.lane is Lane.ORDINARY for one in taken) == 70


def test_a_flood_of_cancellations_does_not_stop_trading() -> None:
    lanes = Lanes(room=10_000, patience_s=10.0)
    for number in range(1_000):
        lanes.put(ticket([cancel(f"c{number}")]))
    for number in range(1_000):
        lanes.put(ticket([order(f"o{number}")]))
    taken, _ = lanes.take(100, 0.0)
    assert sum(one.lane is Lane.ORDINARY for one in taken) == 50
    assert len(taken) == 100


def test_a_lane_that_is_full_refuses_and_the_others_do_not() -> None:
    lanes = Lanes(room=3, patience_s=10.0)
    for number in range(3):
        lanes.put(ticket([order(f"o{number}")]))
    with pytest.raises(Overloaded, match="lane ordinary: 3 commands wait already") as refused:
        lanes.put(ticket([order("o4")]))
    assert refused.value.retry_after_s > 0
    lanes.put(ticket([cancel("c")]))
    assert lanes.waiting == {Lane.HOUSE: 0, Lane.RELIEF: 1, Lane.ORDINARY: 3}
    assert lanes.refused[Lane.ORDINARY] == 1


def test_one_request_always_finds_an_empty_lane() -> None:
    lanes = Lanes(room=3, patience_s=10.0)
    lanes.put(ticket([order(f"o{number}") for number in range(10)]))
    taken, _ = lanes.take(4, 0.0)
    assert len(taken) == 1


def test_who_would_wait_too_long_is_refused_and_who_has_is_not_done() -> None:
    lanes = Lanes(room=1_000, patience_s=1.0)
    lanes.done(1, 10.0)
    lanes.put(ticket([order("o1")]))
    with pytest.raises(Overloaded, match="would wait more than 1 s"):
        lanes.put(ticket([order("o2")]))
    taken, late = lanes.take(10, 100.0)
    assert (len(taken), len(late)) == (0, 1)


def test_nobody_waits_for_what_was_given_up() -> None:
    lanes = Lanes(room=10, patience_s=1.0)
    lanes.put(ticket([order("o1")], gone=True))
    assert lanes.take(10, 0.0) == ([], [])
    assert not lanes


# ── the venue ────────────────────────────────────────────────────────────────────────────────────


def run(url: Path, what: Callable[[Venue], Any], **options: Any) -> Venue:
    """Something with a venue that runs."""

    async def live() -> Venue:
        async with Venue(url, clock=None, **options) as venue:
            await what(venue)
        return venue

    return asyncio.run(live())


def test_what_waits_is_made_durable_together(url: Path) -> None:
    async def work(venue: Venue) -> None:
        before, commits = venue.head, venue.commits
        answers = await asyncio.gather(*(venue.submit([deposit(f"d{n}")]) for n in range(500)))
        assert [one.sequence for (one,) in answers] == list(range(before + 1, before + 501))
        assert venue.commits - commits < 50
        assert await venue.read(lambda engine: engine.state.log.sequence) == before + 500

    assert run(url, work).phase is Phase.STOPPED
    with Journal.open(url) as journal:
        assert journal.verify().rows == 550


def test_one_request_is_in_order_and_a_repeat_answers_as_it_did(url: Path) -> None:
    async def work(venue: Venue) -> None:
        first = await venue.submit([order("o1"), c.CancelOrder(
            key="c1", actor="me", account="u5", order="o1")])  # fmt: skip
        assert [one.accepted for one in first] == [True, True]
        assert await venue.submit([order("o1")]) == [first[0]]
        (other,) = await venue.submit([deposit("o1")])
        assert (other.sequence, other.code) == (0, 503)

    run(url, work)


def test_a_draft_is_drawn_when_its_turn_comes(url: Path) -> None:
    async def work(venue: Venue) -> None:
        def draft(state: State) -> Command:
            return deposit(f"at {state.log.sequence}")

        def told(engine: Engine, answers: Sequence[Answer]) -> tuple[int, int]:
            return answers[0].sequence, engine.state.log.sequence

        assert await venue.request([draft], told) == (51, 51)

        def broken(state: State) -> Command:
            raise LookupError(state.log.sequence)

        with pytest.raises(LookupError):
            await venue.submit([broken])
        assert venue.head == 51

    run(url, work)


def test_a_command_that_cannot_be_stored_fails_alone(url: Path) -> None:
    async def work(venue: Venue) -> None:
        asked = [venue.submit([deposit(f"d{n}" if n != 7 else "")]) for n in range(20)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(found[7], BadInput)
        assert sum(isinstance(one, list) for one in found) == 19

    run(url, work)


def test_times_may_be_told_and_never_run_backwards(url: Path) -> None:
    async def work(venue: Venue) -> None:
        now_ms = await venue.read(lambda engine: engine.state.log.time_ms)
        async with await venue.subscribe() as news:
            await venue.submit([deposit("1"), deposit("2"), deposit("3")],
                               time_ms=[now_ms + 5, None, now_ms + 9])  # fmt: skip
            (commit,) = [await anext(news)]
        assert [one.time_ms - now_ms for one in commit.entries] == [5, 5, 9]

    run(url, work)


def test_everything_is_told_once_and_in_order(url: Path) -> None:
    hooked: list[int] = []

    async def work(venue: Venue) -> None:
        async with await venue.subscribe() as news:
            await asyncio.gather(*(venue.submit([deposit(f"d{n}")]) for n in range(100)))
            await venue.submit([deposit("d5")])
            await venue.submit([c.CloseAccount(key="no", actor="me", account="u5")])
            seen: list[Entry] = []
            while len(seen) < 101:
                seen += (await anext(news)).entries
            assert [one.sequence for one in seen] == list(range(news.start + 1, news.start + 102))
            assert seen[-1].code != 0
            assert hooked == [one.sequence for one in seen]

    venue = Venue(url, clock=None)
    venue.hooks.append(lambda _, entries: hooked.extend(one.sequence for one in entries))

    async def live() -> None:
        async with venue:
            await work(venue)

    asyncio.run(live())


def test_a_slow_listener_is_dropped_and_told_where(url: Path) -> None:
    async def work(venue: Venue) -> None:
        news = await venue.subscribe(capacity=3)
        await venue.submit([deposit("first")])
        assert (await anext(news)).last == 51
        for number in range(5):
            await venue.submit([deposit(f"d{number}")])
        with pytest.raises(Dropped, match="after command 51: a slow consumer"):
            await anext(news)
        assert not news.open

    run(url, work)


def test_listeners_end_when_the_venue_stops(url: Path) -> None:
    async def live() -> None:
        venue = Venue(url, clock=None)
        venue.start()
        await venue.ready()
        news = await venue.subscribe()
        await venue.submit([deposit("1")])
        await venue.stop()
        assert [commit.last async for commit in news] == [51]
        with pytest.raises(NotServing, match="stopped"):
            await venue.submit([deposit("2")])

    asyncio.run(live())


def test_a_hook_that_fails_stops_nothing(url: Path, caplog: pytest.LogCaptureFixture) -> None:
    venue = Venue(url, clock=None)

    def broken(_: Engine, __: Sequence[Entry]) -> None:
        raise ValueError("broken")

    venue.hooks.append(broken)

    async def live() -> None:
        async with venue:
            assert (await venue.submit([deposit("1")]))[0].accepted

    asyncio.run(live())
    assert "a hook has failed" in caplog.text


def test_what_waits_is_done_before_it_stops(url: Path) -> None:
    async def live() -> None:
        venue = Venue(url, clock=None)
        venue.start()
        await venue.ready()
        gate = threading.Event()
        held = asyncio.create_task(venue.read(lambda _: gate.wait(10)))
        await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(venue.submit([deposit(f"d{n}")])) for n in range(10)]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(venue.stop())
        await asyncio.sleep(0.01)
        gate.set()
        await stopping
        assert [(await one)[0].accepted for one in waiting] == [True] * 10
        assert await held

    asyncio.run(live())


def test_an_overload_is_told_and_cancellations_go_on(url: Path) -> None:
    async def work(venue: Venue) -> None:
        gate = threading.Event()
        held = asyncio.create_task(venue.read(lambda _: gate.wait(10)))
        await asyncio.sleep(0.01)
        orders = [asyncio.create_task(venue.submit([order(f"o{n}")])) for n in range(50)]
        relief = [asyncio.create_task(venue.submit([deposit(f"d{n}")])) for n in range(10)]
        await asyncio.sleep(0)
        gate.set()
        found = await asyncio.gather(*orders, return_exceptions=True)
        assert sum(isinstance(one, Overloaded) for one in found) == 30
        assert all(one[0].accepted for one in await asyncio.gather(*relief))
        assert venue.lanes.refused[Lane.ORDINARY] == 30
        await held

    run(url, work, room=20)


def test_a_thread_without_a_loop_may_submit(url: Path) -> None:
    async def work(venue: Venue) -> None:
        (answer,) = await asyncio.to_thread(venue.submit_from_thread, [deposit("1")])
        assert answer.accepted
        with pytest.raises(BadInput):
            await asyncio.to_thread(venue.submit_from_thread, [deposit("")])

    run(url, work)


def test_a_venue_that_is_not_there_fails_and_says_so(tmp_path: Path) -> None:
    async def live() -> None:
        venue = Venue(tmp_path / "none")
        venue.start()
        with pytest.raises(Exception, match="none"):
            await venue.ready()
        assert venue.phase is Phase.FAILED
        with pytest.raises(NotServing, match="failed"):
            await venue.read(lambda _: None)
        await venue.stop()

    asyncio.run(live())


def test_a_journal_that_cannot_be_written_stops_it(
    url: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        venue = Venue(url, clock=None)
        venue.start()
        await venue.ready()
        news = await venue.subscribe()

        def full(*_: object) -> None:
            raise OSError(28, "no space left")

        monkeypatch.setattr(Journal, "append", full)
        with pytest.raises(NotServing, match="asked again"):
            await venue.submit([deposit("1")])
        for _ in range(200):
            if venue.phase is Phase.FAILED:
                break
            await asyncio.sleep(0.01)
        assert venue.phase is Phase.FAILED
        assert "no space" in str(venue.fault)
        with pytest.raises(Dropped, match="no space"):
            await anext(news)
        with pytest.raises(NotServing):
            await venue.submit([deposit("2")])
        await venue.stop()

    asyncio.run(live())


def test_reads_do_not_keep_commands_waiting_for_ever(url: Path) -> None:
    async def work(venue: Venue) -> None:
        reads = [asyncio.create_task(venue.read(lambda _: time.sleep(0.004)))
                 for _ in range(30)]  # fmt: skip
        await asyncio.sleep(0.001)
        begun_s = time.perf_counter()
        await venue.submit([deposit("1")])
        assert time.perf_counter() - begun_s < 0.1
        await asyncio.gather(*reads)

    run(url, work)


def test_a_subscription_hands_out_what_is_there() -> None:
    async def live() -> None:
        one = Subscription(start=5)
        assert one.ready() == []
        assert one.waiting() == 0

    asyncio.run(live())
