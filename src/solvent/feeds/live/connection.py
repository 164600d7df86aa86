"""The shell round an adapter: a WebSocket that is kept open, REST, the clock.

A connection that ends is opened again after a pause that doubles, with chance in it, so that many
clients do not come back at once. What is sent and fetched stays below the venue's rates.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from solvent.errors import SolventError
from solvent.feeds.live.adapter import FRAME_BYTES_MAX, Adapter, Fetch, Taken
from solvent.feeds.live.inbox import WAITING_MAX, Inbox
from solvent.feeds.live.messages import Fault, FaultKind, Funding, Message, Ticker, Trade
from solvent.feeds.recorder import Recorder

if TYPE_CHECKING:
    from httpx import AsyncClient
    from websockets.asyncio.client import ClientConnection

_SETTLED_S: Final = 30.0
"""A connection that lived so long ends the doubling of pauses."""
_OPEN_S: Final = 10.0
_ANSWER_S: Final = 10.0
_UNSENT_MAX: Final = 1_000
"""Frames that wait to be sent; a connection that is farther behind is opened anew."""


@dataclass(slots=True)
class Backoff:
    """Pauses before one tries again: doubling from `first_s` to `most_s`, the half of it chance."""

    first_s: float = 0.5
    most_s: float = 60.0
    tries: int = 0

    def next_s(self, rng: random.Random) -> float:
        """The next pause, in seconds.

        >>> backoff = Backoff(first_s=1.0, most_s=8.0, tries=10)
        >>> 4.0 <= backoff.next_s(random.Random(1)) <= 8.0
        True
        """
        whole = min(self.most_s, self.first_s * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return whole * (0.5 + 0.5 * rng.random())


class Bucket:
    """A rate limit: tokens that fill up at `per_s`, at most `burst` of them."""

    def __init__(self, per_s: float, *, burst: float = 5.0) -> None:
        self._per_s, self._burst = per_s, burst
        self._tokens, self._at_s = burst, 0.0

    def wait_s(self, now_s: float) -> float:
        """Take a token; how long to wait before it may be used.

        >>> bucket = Bucket(2.0, burst=1.0)
        >>> bucket.wait_s(10.0), bucket.wait_s(10.0), bucket.wait_s(10.0)
        (0.0, 0.5, 1.0)
        """
        passed = max(0.0, now_s - self._at_s)
        self._tokens = min(self._burst, self._tokens + passed * self._per_s) - 1.0
        self._at_s = max(now_s, self._at_s)
        return max(0.0, -self._tokens / self._per_s)

    def hold(self, seconds: float) -> None:
        """The venue asked for silence."""
        self._tokens = min(self._tokens, 0.0) - seconds * self._per_s


class Connection:
    """One adapter's connection. `run` keeps it until `stop`; `batches` are the messages.

    Args: `url` and `rest_url` take the place of the venue's own, such as a player's; `recorder`
    takes every frame, under the venue's own addresses: what it is, and not where it was heard,
    which is the text of `open`. Times are of `now_ns`. Raises SolventError without the libraries.
    """

    def __init__(
        self, adapter: Adapter, *, url: str | None = None, rest_url: str | None = None,
        recorder: Recorder | None = None, backoff: Backoff | None = None, seed: int = 0,
        waiting_max: int = WAITING_MAX, beat_s: float = 1.0,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:  # fmt: skip
        _libraries()
        self.adapter = adapter
        self.url, self.rest_url = url or adapter.url, rest_url or adapter.rest_url
        self.inbox = Inbox(waiting_max)
        self._recorder = recorder
        self._backoff = backoff or Backoff()
        self._rng = random.Random(seed)
        self._beat_s = beat_s
        self._now_ns = now_ns
        self._sends: asyncio.PriorityQueue[tuple[bool, int, str]] = asyncio.PriorityQueue()
        """Urgent ones first, else in their order."""
        self._asked = 0
        self._send_rate = Bucket(adapter.sends_per_s)
        self._fetch_rate = Bucket(adapter.fetches_per_s)
        self._fetching: set[asyncio.Task[None]] = set()
        self._waited: set[Fetch] = set()
        """What is being fetched: nothing is fetched twice at a time."""
        self._broken: BaseException | None = None
        self._arrived = asyncio.Event()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Keep the connection until it is stopped."""
        import httpx

        try:
            async with httpx.AsyncClient(timeout=_ANSWER_S) as client:
                while not self._stopped.is_set():
                    begun = time.monotonic()
                    detail = await self._until_stopped(client)
                    self._record("close", detail)
                    if self._stopped.is_set():
                        break
                    self._handle(self.adapter.lost(detail, self._now_ms), client)
                    if time.monotonic() - begun >= _SETTLED_S:
                        self._backoff.tries = 0
                    with suppress(TimeoutError):
                        pause = self._backoff.next_s(self._rng)
                        await asyncio.wait_for(self._stopped.wait(), pause)
        finally:
            self.stop()
        if self._broken is not None:
            raise self._broken

    def stop(self) -> None:
        """End `run` and `batches`."""
        self._stopped.set()
        self._arrived.set()

    async def batches(self) -> AsyncIterator[list[Message]]:
        """Messages as they come, all that wait at a time, until the connection is stopped."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if found := self.inbox.take():
                yield found
            if self._stopped.is_set():
                if found := self.inbox.take():
                    yield found
                return

    async def _until_stopped(self, client: AsyncClient) -> str:
        """A session to its end, or to when all is stopped; why it ended."""
        from websockets.exceptions import InvalidURI, WebSocketException

        session = asyncio.create_task(self._session(client))
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({session, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(session, stopped)
        fault = None if session.cancelled() else session.exception()
        if isinstance(fault, InvalidURI):  # it never will be one
            raise SolventError(f"{self.url}: expected an address such as wss://…: {fault}")
        if isinstance(fault, WebSocketException | OSError | TimeoutError):
            return f"{type(fault).__name__}: {fault}"
        if fault is not None:
            raise fault
        return "ended"

    async def _session(self, client: AsyncClient) -> None:
        """One connection, from its opening to its end."""
        from websockets.asyncio.client import connect

        async with connect(
            self.url, open_timeout=_OPEN_S, close_timeout=1.0, max_size=FRAME_BYTES_MAX
        ) as socket:
            self._sends = asyncio.PriorityQueue()
            self._record("open", self.url)
            self._handle(self.adapter.open(self._now_ms), client)
            works = [
                asyncio.create_task(one)
                for one in (self._read(socket, client), self._write(socket), self._beat(client))
            ]
            try:
                # None ends but by a fault; the first to have one ends the others.
                await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
                faults = [one.exception() for one in works if one.done()]
            finally:
                await _ended(*works, *self._fetching)
                self._fetching.clear()
                self._waited.clear()
            raise faults[0] or ConnectionError("a connection's work ended")

    async def _read(self, socket: ClientConnection, client: AsyncClient) -> None:
        while True:
            async with asyncio.timeout(self.adapter.silence_ms / 1e3):
                frame = await socket.recv()
            self._record("in", frame)
            self._handle(self.adapter.take(frame, self._now_ms), client)

    async def _write(self, socket: ClientConnection) -> None:
        while True:
            if self._sends.empty():
                self._sends.put_nowait(await self._sends.get())
            await asyncio.sleep(self._send_rate.wait_s(time.monotonic()))
            _, _, text = self._sends.get_nowait()  # what became urgent meanwhile goes first
            await socket.send(text)
            self._record("out", text)

    async def _beat(self, client: AsyncClient) -> None:
        while True:
            await asyncio.sleep(self._beat_s)
            if self._sends.qsize() > _UNSENT_MAX:
                raise ConnectionError(f"{self._sends.qsize()} frames wait to be sent")
            unsent = not self._sends.empty()
            self._handle(self.adapter.beat(self._now_ms, unsent=unsent), client)

    async def _fetch(self, fetch: Fetch, client: AsyncClient) -> None:
        from httpx import HTTPError

        await asyncio.sleep(self._fetch_rate.wait_s(time.monotonic()))
        place, body = self.adapter.rest_url + fetch.path, None
        try:
            answer = await client.get(self.rest_url + fetch.path)
            if answer.is_success:
                body = answer.text
                self._record("answer", body, place)
            else:
                later = answer.headers.get("Retry-After", "")
                self._fetch_rate.hold(float(later) if later.isdigit() else 1.0)
        except HTTPError as fault:
            body = None
            self._record("close", f"{type(fault).__name__}: {fault}", place)
        self._waited.discard(fetch)
        self._handle(self.adapter.answered(fetch, body, self._now_ms), client)

    def _handle(self, taken: Taken, client: AsyncClient) -> None:
        """Do what an adapter told; where too many messages wait, begin its books anew."""
        fits = True
        for message in taken.messages:
            if fits or isinstance(message, Ticker | Funding | Fault):
                fits = self.inbox.put(message) and fits
            else:  # it would follow what is gone
                self.inbox.trades_lost += isinstance(message, Trade)
        if not fits:
            again = self.adapter.resync(None, FaultKind.OVERFLOW, self._now_ms)
            for message in again.messages:
                self.inbox.put(message)
            self._ask(again, client)
        self._ask(taken, client)
        if taken.messages:
            self._arrived.set()

    def _ask(self, taken: Taken, client: AsyncClient) -> None:
        for text in taken.sends:
            self._asked += 1
            self._sends.put_nowait((text not in taken.urgent, self._asked, text))
        for fetch in taken.fetches:
            if fetch in self._waited:
                continue
            self._waited.add(fetch)
            task = asyncio.create_task(self._fetch(fetch, client))
            self._fetching.add(task)
            task.add_done_callback(self._fetched)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._broken = fault
            self.stop()

    @property
    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def _record(self, kind: str, payload: str | bytes, place: str | None = None) -> None:
        if self._recorder is None:
            return
        try:
            self._recorder.take(self._now_ns(), kind, place or self.adapter.url, payload)
        except OSError as fault:  # no fault of the connection: it must not be tried again
            where = self._recorder.folder
            raise SolventError(f"{where}: cannot be written: {fault.strerror or fault}") from fault


def _libraries() -> None:
    """Load what a connection needs, before its time begins."""
    try:
        import httpx
        import websockets.asyncio.client
    except ImportError as fault:
        raise SolventError(f"live feeds need websockets and httpx: {fault}") from fault
    del httpx, websockets


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Running(Protocol):
    """What can be listened to."""

    def run(self) -> Coroutine[Any, Any, None]:
        """Until it is stopped."""

    def stop(self) -> None:
        """End it."""

    def batches(self) -> AsyncIterator[list[Message]]:
        """Messages as they come."""


async def _reading(one: Running, each: Callable[[list[Message]], object]) -> None:
    async for batch in one.batches():
        each(batch)


def listen(
    connections: Sequence[Running],
    *,
    seconds: float | None,
    each: Callable[[list[Message]], object],
) -> None:
    """Run connections for so long, or until they are interrupted; `each` gets messages as they
    come. Raises SolventError where the libraries are missing; one's fault ends all."""

    def stop(*_: object) -> None:
        for one in connections:
            one.stop()

    async def running() -> None:
        loop = asyncio.get_running_loop()
        if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, stop)
        if seconds is not None:
            loop.call_later(seconds, stop)
        works: list[Coroutine[Any, Any, None]] = []
        for one in connections:
            works += [one.run(), _reading(one, each)]
        tasks = [asyncio.create_task(work) for work in works]
        for task in tasks:
            task.add_done_callback(stop)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        if faults := [one for one in found if isinstance(one, BaseException)]:
            raise faults[0]

    asyncio.run(running())
