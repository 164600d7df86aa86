"""The live demo: a generated venue that is served, with a market that crashes while one looks."""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from solvent.dashboard.hub import Hub
    from solvent.dashboard.venue_view import VenueView
    from solvent.service.venue import Venue
    from solvent.sim.live import LiveVenue

_LOG = logging.getLogger(__name__)
_ACTS = 12
"""What others do between two publications."""
_REVIEWS, _WIND_UPS = 60, 400
"""Accounts that are called, and taken over, between two publications, at most."""


class Driver:
    """Tells a served venue what happens: prices, business, calls and liquidations, at a pace.

    Attributes:
        ticks: publications so far.
    """

    def __init__(self, live: LiveVenue, venue: Venue, hub: Hub, *, pace_s: float) -> None:
        self.live, self.venue, self.hub, self.pace_s = live, venue, hub, pace_s
        self.ticks = 0
        self._called: dict[str, int] = {}

    def mount(self, app: FastAPI) -> None:
        """Run as long as the application does."""
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def life(one: Any) -> AsyncIterator[Any]:
            async with inner(one) as told:
                task = asyncio.create_task(self._run())
                try:
                    yield told
                finally:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)

        app.router.lifespan_context = life

    async def _run(self) -> None:
        from solvent.service.venue import NotServing

        await self.venue.ready()
        while self.hub.view is None:
            await self.tick(quiet=True)
            await asyncio.sleep(0.5)
        while True:
            began_s = time.monotonic()
            try:
                await self.tick()
            except NotServing:
                return
            except Exception:
                _LOG.exception("the market could not go on")
            await asyncio.sleep(max(0.05, self.pace_s - (time.monotonic() - began_s)))

    async def tick(self, *, quiet: bool = False) -> None:
        """One publication, and what follows from it."""
        rulebooks = await self.venue.read(
            lambda engine: {name: one.rulebook for name, one in engine.state.rules.items()}
        )
        market = await asyncio.to_thread(self.live.market, time.time_ns() // 1_000_000)
        commands = await asyncio.to_thread(self.live.publication, market, rulebooks)
        await self.venue.submit(commands)
        self.ticks += 1
        if quiet:
            return
        near, fallen = self._near()
        await self.venue.read(lambda engine: self.live.business(engine, count=_ACTS))
        if near:
            await self.venue.read(lambda engine: self.live.review(engine, near))
        if fallen:
            await self.venue.read(lambda engine: self.live.wind_up(engine, fallen))

    def _near(self) -> tuple[list[str], list[str]]:
        """Accounts to be called for the first time, or at a nearer level; and those to be wound
        up."""
        from solvent.dashboard.hub import fallen, near_ones

        found = list(self.hub.found.values())
        calls: list[str] = []
        for name, level in near_ones(found, most=8 * _REVIEWS):
            if self._called.get(name, 0) < level and len(calls) < _REVIEWS:
                self._called[name] = level
                calls.append(name)
        return calls, fallen(found, most=_WIND_UPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A venue that is ready to be served, and where its journal lies."""

    live: LiveVenue
    url: str


def opened(live: LiveVenue, place: Path) -> Opened:
    """Make the journal of a generated venue, with a snapshot so that serving begins at once."""
    from solvent.host import Engine

    with Engine.create(place) as engine:
        live.open(engine)
        engine.snapshot()
    return Opened(live=live, url=str(place))


def application(ready: Opened, *, port: int, pace_s: float) -> tuple[FastAPI, Hub, Driver]:
    """The service of a generated venue with its pages and its market."""
    from solvent.dashboard.mount import mount_dashboard
    from solvent.service.app import create_app
    from solvent.service.settings import load_settings
    from solvent.service.venue import Venue
    from solvent.sim.live import TRADER

    venue = Venue(ready.url)
    # The driver calls and liquidates by itself: everybody of a large venue at every tick would be
    # more than one processor can do.
    app = create_app(venue, load_settings(flags={"url": ready.url, "port": port, "tend": False}))
    hub = mount_dashboard(app, venue, first_account=TRADER)
    driver = Driver(ready.live, venue, hub, pace_s=pace_s)
    driver.mount(app)
    return app, hub, driver


def serve_demo(
    *, accounts: int, seed: int, rulebook: str, port: int, once: bool, json: bool,
    pace_s: float = 1.5, steps: int = 200, ticks_once: int = 3,
) -> dict[str, Any]:  # fmt: skip
    """Serve until it is stopped; with `once` some ticks, without a port, and what they showed."""
    from solvent.cli import console
    from solvent.sim.live import LiveVenue

    with tempfile.TemporaryDirectory(prefix="solvent-demo-") as folder:
        with console.progress(quiet=json) as bar:
            bar.add_task(f"opening a venue of {accounts:,} accounts", total=None)
            live = LiveVenue(accounts=accounts, seed=seed, rulebook=rulebook, steps=steps)
            ready = opened(live, Path(folder) / "venue")
        if once:
            return asyncio.run(_some_ticks(ready, ticks_once))
        _serve(ready, port=port, pace_s=pace_s)
    return {}


def _serve(ready: Opened, *, port: int, pace_s: float) -> None:
    import uvicorn

    from solvent.cli import console

    app, _, _ = application(ready, port=port, pace_s=pace_s)
    console.out.print(
        f"[bold]http://127.0.0.1:{port}/[/bold]  the venue, live: a crash begins within a minute. "
        "Ctrl-C ends it."
    )
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=3)


async def _some_ticks(ready: Opened, ticks: int) -> dict[str, Any]:
    """The same without a page: publications, and figures of everybody after each."""
    from solvent.dashboard.hub import Hub
    from solvent.service.venue import Venue

    async with Venue(ready.url) as venue:
        hub = Hub(venue, period_s=0.05)
        hub.start()
        driver = Driver(ready.live, venue, hub, pace_s=0.0)
        try:
            for _ in range(ticks):
                await driver.tick(quiet=hub.view is None)
                await _settled(hub, venue)
            return _told(hub.view, driver)
        finally:
            await hub.stop()


async def _settled(hub: Hub, venue: Venue, *, within_s: float = 120.0) -> None:
    """Wait until the hub has seen all that is durable."""
    until_s = time.monotonic() + within_s
    while hub.view is None or hub.view.sequence < venue.head:
        if time.monotonic() > until_s:
            raise TimeoutError("the pages' figures did not come")
        hub.wake()
        await asyncio.sleep(0.05)


def _told(view: VenueView | None, driver: Driver) -> dict[str, Any]:
    assert view is not None, "the hub has settled"
    return {
        "accounts": view.accounts, "ticks": driver.ticks, "commands": view.sequence,
        "states": {state.name.lower(): one.accounts for state, one in view.stands.items()},
        "positions": view.positions,
        "tick_to_figures_ms": {
            "half": round(view.latency.half_ms, 1), "most": round(view.latency.most_ms, 1)
        },
    }  # fmt: skip
