"""Running the service: uvicorn around the application, and looks at the books as time passes."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from solvent.errors import BadInput, Problem, Reject, SolventError
from solvent.host import Engine, clock_ms
from solvent.messages import commands as c
from solvent.service.callers import LOOPBACK, OpenCallers
from solvent.service.lanes import Overloaded
from solvent.service.metrics import Metrics
from solvent.service.settings import Settings
from solvent.service.streams import Entry
from solvent.service.venue import NotServing, Phase, Venue

SWITCH_S: Final = 0.000_5
"""How long a thread that computes may keep others waiting that have something to say."""
_PRICES: Final = (c.PublishMarket, c.PublishArrays)
_LOG: Final = logging.getLogger(__name__)


def venue_of(settings: Settings) -> Venue:
    """The venue that settings tell, not started."""
    return Venue(
        settings.url, clock=None if settings.hold_time else clock_ms, room=settings.room,
        patience_s=settings.patience_ms / 1_000, batch_max=settings.batch_max,
        snapshot_every=settings.snapshot_every,
    )  # fmt: skip


def check_open(app: FastAPI, settings: Settings) -> None:
    """Refuse to let everybody in from other machines. Raises BadInput."""
    if settings.host in LOOPBACK:
        return
    if isinstance(app.state.callers, OpenCallers):
        raise _refused(
            "host", "this machine's loopback, while anybody may do anything (see --security)",
            settings.host,
        )  # fmt: skip
    if settings.tls_certificate is None and not settings.behind_proxy:
        raise _refused(
            "tls_certificate", "a certificate beyond loopback, or --behind-proxy where a proxy "
            "ends TLS", "none",
        )  # fmt: skip


def _refused(field: str, expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(
            code=Reject.SOURCE_UNREADABLE, source="settings", field=field, expected=expected,
            found=found,
        )
    )  # fmt: skip


class Tends:
    """Has the engine call margin and liquidate: when prices were published, and as time passes."""

    def __init__(
        self, venue: Venue, *, every_s: float, told: Callable[[float], None] | None = None
    ) -> None:
        self._venue, self._every_s = venue, every_s
        self._told = told
        """Hears for how many seconds prices had been durable when everybody was looked at."""
        self._heard_s: float | None = None
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        venue.hooks.append(self._hear)
        self.looks = 0

    def _hear(self, engine: Engine, entries: Sequence[Entry]) -> None:
        del engine
        if any(isinstance(one.command, _PRICES) for one in entries):
            if self._heard_s is None:
                self._heard_s = time.perf_counter()
            self._loop.call_soon_threadsafe(self._news.set)

    def _look(self, engine: Engine) -> None:
        heard_s, self._heard_s = self._heard_s, None
        engine.tend()
        if heard_s is not None and self._told is not None:
            self._told(time.perf_counter() - heard_s)

    async def run(self) -> None:
        """Look until the venue stops."""
        with suppress(NotServing):
            await self._venue.ready()
        while self._venue.phase in (Phase.STARTING, Phase.RUNNING):
            self._news.clear()
            try:
                await self._venue.read(self._look)
                self.looks += 1
            except Overloaded:
                _LOG.warning("the engine has no time to look at accounts that cannot pay")
            except NotServing:
                return
            except SolventError:
                _LOG.exception("looking at accounts that cannot pay has failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._every_s)


class Server(uvicorn.Server):
    """uvicorn that also stops when the venue has failed, and then says so."""

    def __init__(self, config: uvicorn.Config, venue: Venue) -> None:
        super().__init__(config)
        self._venue = venue

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second: whether to stop."""
        stop = await super().on_tick(counter)
        return stop or self._venue.phase is Phase.FAILED

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal stops it in order, and is not raised again: that is no failure."""
        del frame
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    @property
    def ports(self) -> list[int]:
        """Where it listens."""
        return [one.getsockname()[1] for server in self.servers for one in server.sockets]


async def serve(app: FastAPI, settings: Settings, *, told: Any = None) -> None:
    """Serve until a signal, or until the venue fails: then raises what it failed of.

    `told` is called with the server once it listens.
    """
    check_open(app, settings)
    venue: Venue = app.state.venue
    sys.setswitchinterval(SWITCH_S)
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, log_level=settings.log_level,
        access_log=False, server_header=False, date_header=False, lifespan="on",
        ssl_certfile=_path(settings.tls_certificate), ssl_keyfile=_path(settings.tls_key),
        timeout_graceful_shutdown=10, root_path=settings.root_path,
        log_config=None, http=_protocol(app),
    )  # fmt: skip
    server = Server(config, venue)
    others = [asyncio.create_task(_tell(server, told))]
    if settings.tend:
        metrics: Metrics | None = getattr(app.state, "metrics", None)
        tends = Tends(
            venue, every_s=settings.tend_every_ms / 1e3,
            told=None if metrics is None else metrics.judged,
        )  # fmt: skip
        others.append(asyncio.create_task(tends.run()))
    try:
        await server.serve()
    finally:
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    if venue.fault is not None:
        raise venue.fault


def _protocol(app: FastAPI) -> Any:
    """The protocol that refuses early, where there is httptools to read requests with."""
    try:
        from solvent.service.door import door_of
    except ImportError:
        return "auto"
    return door_of(app)


def run_quickly(work: Coroutine[Any, Any, None]) -> None:
    """Run some work to its end, on uvloop where there is one."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        asyncio.run(work)
        return
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work)


async def _tell(server: Server, told: Any) -> None:
    while not server.started:
        await asyncio.sleep(0.01)
    if told is not None:
        told(server)


def _path(file: Any) -> str | None:
    return None if file is None else str(file)
