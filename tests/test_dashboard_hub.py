"""The hub: what became durable is on the pages soon, whole, and the engine waits for none of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from solvent.cli.demo_serve import Driver
from solvent.dashboard import hub as hubs
from solvent.dashboard.approvals import NotApproved, TwoPersons
from solvent.dashboard.hub import Hub
from solvent.dashboard.mount import PATHS
from solvent.dashboard.news import news_of
from solvent.dashboard.rulebook_view import adoption_of, in_force
from solvent.dashboard.venue_view import VenueView
from solvent.engine.standing import standings, view
from solvent.host import Engine
from solvent.messages import events as e
from solvent.messages.commands import Deposit, Heartbeat, OpenAccount, ReviewMargin
from solvent.messages.fields import AccountKind
from solvent.service.streams import Dropped, Entry
from solvent.service.venue import Venue
from solvent.sim.live import TRADER, LiveVenue
from solvent.solvency.classes import State as Class

ACCOUNTS = 120
Run = Callable[[Callable[[Venue, Hub, Driver], Awaitable[None]]], None]


class Clock:
    """A clock that is told what time it is."""

    def __init__(self) -> None:
        self.ms = 1_790_000_000_000

    def __call__(self) -> int:
        self.ms += 1
        return self.ms


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run something with a venue that is served, its hub, and its market."""
    clock = Clock()
    monkeypatch.setattr("solvent.cli.demo_serve.time.time_ns", lambda: clock() * 1_000_000)
    live = LiveVenue(accounts=ACCOUNTS, seed=2, steps=16)
    with Engine.create(tmp_path / "venue", clock=clock) as engine:
        live.open(engine)

    def go(act: Callable[[Venue, Hub, Driver], Awaitable[None]]) -> None:
        async def inside() -> None:
            async with Venue(str(tmp_path / "venue"), clock=clock) as venue:
                hub = Hub(venue, period_s=0.01)
                hub.start()
                try:
                    await act(venue, hub, Driver(live, venue, hub, pace_s=0.0))
                finally:
                    await hub.stop()

        asyncio.run(inside())

    go.clock = clock  # type: ignore[attr-defined]
    return go


async def _settled(venue: Venue, hub: Hub) -> VenueView:
    until = time.monotonic() + 30
    while hub.view is None or hub.view.sequence < venue.head:
        assert time.monotonic() < until, "no view came"
        hub.wake()
        await asyncio.sleep(0.01)
    return hub.view


def test_the_view_is_the_engine(run: Run) -> None:
    """After every tick of a crash the counts and sums are those of asking everybody."""

    async def act(venue: Venue, hub: Hub, driver: Driver) -> None:
        for _ in range(7):
            await driver.tick(quiet=hub.view is None)
            seen = await _settled(venue, hub)
            equity, fallen, count = await venue.read(_asked)
            assert seen.total.equity_micro == equity
            assert seen.stands[Class.LIQUIDATE].accounts == fallen
            assert seen.total.accounts == seen.loaded == count
            assert [one.time_ms for one in seen.history] == sorted(
                {one.time_ms for one in seen.history}
            )
        assert seen.prices["BTC"] < seen.history[0].prices["BTC"]
        assert seen.latency.count >= 1
        assert seen.vols["BTC"] > 0.1

    run(act)


def _asked(engine: Engine) -> tuple[int, int, int]:
    state = engine.state
    accounts = [one for one in state.accounts[16:] if one is not None]
    found = standings(state, [view(state, one) for one in accounts])
    return (
        sum(one.equity_micro for one in found), sum(one.liquidate for one in found), len(accounts)
    )  # fmt: skip


def test_accounts_are_copied_in_slices(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "SLICE", 17)

    async def act(venue: Venue, hub: Hub, driver: Driver) -> None:
        await driver.tick(quiet=True)
        seen = await _settled(venue, hub)
        assert seen.loaded == seen.accounts == ACCOUNTS + 21

    run(act)


def test_who_is_watched_is_followed(run: Run) -> None:
    """Copies and a history as long as somebody looks; a deposit is seen at once."""

    async def act(venue: Venue, hub: Hub, driver: Driver) -> None:
        await driver.tick(quiet=True)
        hub.watch(TRADER)
        await _settled(venue, hub)
        while TRADER not in hub.accounts:
            hub.wake()
            await asyncio.sleep(0.01)
        before = hub.accounts[TRADER].standing.equity_micro
        (answer,) = await venue.submit(
            [Deposit(key="d", actor="t", account=TRADER, asset="USDC", amount=7_000_000)]
        )
        assert answer.accepted
        await _settled(venue, hub)
        assert hub.accounts[TRADER].standing.equity_micro == before + 7_000_000
        points = hub.histories[TRADER]
        assert points[-1].equity_micro == before + 7_000_000
        hub.leave(TRADER)
        assert TRADER not in hub.accounts
        await venue.submit([OpenAccount(key="n", actor="t", account="new", kind=AccountKind.USER,
                                        rulebook="deribit-pm")])  # fmt: skip
        seen = await _settled(venue, hub)
        assert seen.accounts == ACCOUNTS + 22
        assert "new" in hub.names.values()

    run(act)


def test_old_arrays_make_everybody_unknown(run: Run) -> None:
    async def act(venue: Venue, hub: Hub, driver: Driver) -> None:
        await driver.tick(quiet=True)
        seen = await _settled(venue, hub)
        assert seen.stale == ()
        run.clock.ms += 10 * 60_000  # type: ignore[attr-defined]
        await venue.submit([Heartbeat(key="h", actor="t")])
        seen = await _settled(venue, hub)
        assert seen.stale == ("deribit-pm",)
        assert seen.stands[Class.UNKNOWN].accounts == seen.accounts
        assert seen.total.equity_micro == 0

    run(act)


def test_calls_are_told(run: Run) -> None:
    """Accounts that come near are reviewed, and the pages tell of it."""

    async def act(venue: Venue, hub: Hub, driver: Driver) -> None:
        for _ in range(9):
            await driver.tick(quiet=hub.view is None)
            await _settled(venue, hub)
        kinds = {one.kind for one in hub.news}
        assert kinds & {"call", "warning"}
        assert "liquidation" in kinds
        assert all(one.account in hub.names.values() for one in hub.news)

    run(act)


def test_news_in_words() -> None:
    command = ReviewMargin(key="k", actor="a", account="x")
    happened = (
        e.MarginCalled(20, 2, 5_000_000, "USDC", 5, 9), e.MarginCalled(20, 1, 0, "", 0, 0),
        e.CallEnded(20, "met"), e.CallEnded(20, "unmet"),
        e.LiquidationBegun(21, 1_000_000, 3_000_000),
        e.StatusChanged(20, "open"), e.StatusChanged(20, "frozen"),
    )  # fmt: skip
    told = list(news_of(Entry(3, 4, command, 0, happened), {20: "bob"}))
    assert [(one.kind, one.account) for one in told] == [
        ("call", "bob"), ("warning", "bob"), ("well", "bob"), ("call", "bob"),
        ("liquidation", "#21"), ("warning", "bob"),
    ]  # fmt: skip
    assert told[0].text == "margin call of $5.00"
    assert told[4].text == "liquidation begun, $2.00 short"


def test_who_is_dropped_begins_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription that ends does not end the pages: everybody is read again."""

    async def act(venue: Venue, hub: Hub, driver: Driver) -> None:
        await driver.tick(quiet=True)
        first = await _settled(venue, hub)
        real, faults = venue.subscribe, [1]

        async def broken(**told: Any) -> Any:
            if faults:
                faults.pop()
                raise Dropped("a slow consumer", last=0)
            return await real(**told)

        monkeypatch.setattr(venue, "subscribe", broken)
        hub._tasks[0].cancel()
        await asyncio.gather(hub._tasks[0], return_exceptions=True)
        await driver.tick(quiet=True)
        hub._tasks[0] = asyncio.create_task(hub._listen())
        seen = await _settled(venue, hub)
        await asyncio.sleep(0.05)
        seen = await _settled(venue, hub)
        assert seen.sequence > first.sequence
        assert seen.loaded == first.loaded
        assert faults == []

    run(act)


def test_two_persons(run: Run) -> None:
    """Nothing is done until another person approves; then once; what is refused says why."""

    async def act(venue: Venue, hub: Hub, driver: Driver) -> None:
        await driver.tick(quiet=True)
        seen = await _settled(venue, hub)
        approvals = TwoPersons(venue)
        command = adoption_of("paradex-pm", by="ann", at_ms=seen.time_ms, venue=False)
        one = await approvals.propose("ann", "adopt", command)
        assert len(await venue.read(in_force)) == 1
        with pytest.raises(NotApproved, match="another person than ann"):
            await approvals.approve(one.number, "ann")
        done = await approvals.approve(one.number, "ben")
        assert (done.status, done.approved_by) == ("done", "ben")
        assert [name for name, *_ in await venue.read(in_force)] == ["deribit-pm", "paradex-pm"]
        with pytest.raises(NotApproved, match="found done"):
            await approvals.approve(one.number, "cid")
        with pytest.raises(NotApproved, match="found none"):
            await approvals.approve(99, "cid")
        other = await approvals.propose("ann", "take back", command)
        assert (await approvals.withdraw(other.number, "ann")).status == "withdrawn"
        bad = Deposit(key="x", actor="ann", account="nobody", asset="USDC", amount=1)
        refused = await approvals.propose("ann", "give", bad)
        found = await approvals.approve(refused.number, "ben")
        assert found.status == "refused"
        assert "nobody" in found.detail
        assert [x.number for x in await approvals.proposals()] == [3, 2, 1]

    run(act)


def test_the_api_keeps_its_own_paths() -> None:
    """Paths that are no page's stay the API's to refuse, whatever is mounted last."""
    from fastapi import FastAPI

    from solvent.dashboard.mount import _keep_to_pages

    app, pages = FastAPI(), FastAPI()

    @app.get("/v1/things")
    def things() -> str:
        return "things"

    @pages.get("/{rest:path}")
    def anything() -> str:
        return "page"

    app.mount("/", pages)
    _keep_to_pages(app)

    async def ask() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            assert (await client.get("/v1/things")).json() == "things"
            assert (await client.get("/v1/nothing")).status_code == 404
            assert (await client.post("/v1/things")).status_code == 405
            for path in [*PATHS, "account/alice"]:
                assert (await client.get(f"/{path}")).json() == "page"

    asyncio.run(ask())


def test_accounts_whose_arrays_come_later(run: Run) -> None:
    """Nobody is left out whose rulebook had no arrays when they were first copied."""

    async def act(venue: Venue, hub: Hub, driver: Driver) -> None:
        await driver.tick(quiet=True)
        seen = await _settled(venue, hub)
        command = adoption_of("paradex-pm", by="ann", at_ms=seen.time_ms, venue=False)
        new = OpenAccount(
            key="o", actor="a", account="late", kind=AccountKind.USER, rulebook="paradex-pm"
        )
        assert all(one.accepted for one in await venue.submit([command, new]))
        seen = await _settled(venue, hub)
        assert (seen.accounts, seen.loaded) == (ACCOUNTS + 22, ACCOUNTS + 21)
        await driver.tick(quiet=True)
        seen = await _settled(venue, hub)
        assert seen.loaded == seen.accounts
        assert set(seen.rulebooks) == {"deribit-pm", "paradex-pm"}

    run(act)
