"""Playing recordings: as an iterator, into an adapter, or as a venue's local WebSocket server.

Speed 1 is real time, 10 ten times faster, 0 as fast as it goes. The server speaks the venue's
protocol as far as `stand_in` does, over WebSocket and plain HTTP on one port; the tape begins when
the first client has subscribed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from solvent.errors import check
from solvent.feeds.faults import Injection, Injector
from solvent.feeds.live.adapter import Adapter, Taken
from solvent.feeds.live.generator import GeneratedTape
from solvent.feeds.live.messages import (
    BookDelta,
    BookSnapshot,
    Channel,
    Funding,
    Message,
    Ticker,
    Trade,
    Want,
)
from solvent.feeds.live.venues import adapter_for
from solvent.feeds.recorder import Frame
from solvent.feeds.recordings import first_place
from solvent.feeds.stand_in import Session, Stage

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

_OUTBOX_MAX: Final = 1_000
"""Frames that wait for a client; the tape waits while there are more."""
_BEAT_MS: Final = 1_000
_PLAYED_MS: Final = 600_000
"""No venue's clock is so far from that of who records it."""
_ROUNDS_MAX: Final = 50_000
"""Answers to answers to answers; a protocol that goes on for longer goes round in circles."""


def paced(frames: Iterable[Frame], *, speed: float) -> Iterator[Frame]:
    """Frames, each when it is due. Speed 0 waits for nothing."""
    check(speed >= 0.0, "a speed of 0 or more", speed)
    begun, first = time.monotonic_ns(), None
    for frame in frames:
        if speed:
            first = frame.at_ns if first is None else first
            due = begun + round((frame.at_ns - first) / speed)
            time.sleep(max(0, due - time.monotonic_ns()) / 1e9)
        yield frame


def stage_of(recording: Iterable[Frame]) -> Stage:
    """The venue of a recording, or of a list of frames. Raises BadInput where it is none that an
    adapter reads."""
    answers = [one for one in _sample(recording) if one.kind == "answer"]
    place = first_place(recording)
    return Stage(place, answers, late_ms=_late_ms(recording, place))


def _late_ms(recording: Iterable[Frame], place: str) -> int:
    """How far the clock of who recorded is from that of a venue that was itself played; 0 for a
    venue of its own time, whose lateness is what is to be seen."""
    truth = adapter_for(place)
    for frame in _sample(recording):
        if frame.kind == "in":
            truth.take(frame.payload, frame.at_ms)
            late_ms = truth.health.clock.skew_ms
            if late_ms is not None:
                return late_ms if abs(late_ms) > _PLAYED_MS else 0
    return 0


def wants_of(recording: Iterable[Frame]) -> list[Want]:
    """Everything that a recording tells, as wants. Raises BadInput as `stage_of` does."""
    truth = adapter_for(first_place(recording))
    channels: dict[type, Channel] = {
        Ticker: Channel.TICKER, Trade: Channel.TRADES, Funding: Channel.FUNDING,
        BookSnapshot: Channel.BOOK, BookDelta: Channel.BOOK,
    }  # fmt: skip
    found: dict[Want, None] = {}
    for frame in _sample(recording):
        if frame.kind == "in":
            for message in truth.take(frame.text, frame.at_ms).messages:
                if type(message) in channels:
                    found[Want(channels[type(message)], message.symbol)] = None
    found |= {Want(Channel.BOOK, symbol): None for symbol in truth.books}
    return list(found)


def _sample(recording: Iterable[Frame]) -> Iterable[Frame]:
    """What tells of a tape whatever it has: all of it, or where it is generated its first step."""
    return recording.first_step if isinstance(recording, GeneratedTape) else recording


class Ending(Enum):
    """What a book is against the truth. `BEHIND` lacks changes, or is asked for; one that lacks
    none and is another book is `WRONG`. Where frames were lost and the venue numbers no changes,
    nobody can say that a book lacks none."""

    EQUAL = "equal"
    BEHIND = "behind"
    WRONG = "wrong"


class Rehearsal:
    """A venue and an adapter in one process: no socket, no waiting, the recording's own clock."""

    def __init__(
        self, stage: Stage, adapter: Adapter, *, injection: Injection | None = None
    ) -> None:
        self.stage, self.adapter = stage, adapter
        self._injector = None if injection is None else Injector(injection)
        self._session = stage.join(injector=self._injector)
        self._beat_ms: int | None = None

    def play(self, frames: Iterable[Frame]) -> Iterator[Message]:
        """Messages of the adapter, in order. The connection opens where the recorded one did."""
        now_ms = 0
        for frame in frames:
            if self._beat_ms is None:
                if frame.kind not in ("open", "in"):
                    continue
                yield from self._exchange(self.adapter.open(frame.at_ms), frame.at_ms)
                self._beat_ms = frame.at_ms
            now_ms = max(now_ms, frame.at_ms)
            for _, pause, text in self.stage.step(frame):
                yield from self._exchange(self.adapter.take(text, now_ms + pause), now_ms + pause)
            if now_ms - self._beat_ms >= _BEAT_MS:
                yield from self.beat(now_ms)
        if self._injector is not None:
            for _, text in self._injector.flush():
                yield from self._exchange(self.adapter.take(text, now_ms), now_ms)

    def beat(self, now_ms: int) -> Iterator[Message]:
        """Let the adapter notice the time."""
        self._beat_ms = now_ms
        yield from self._exchange(self.adapter.beat(now_ms), now_ms)

    def endings(self) -> dict[str, Ending]:
        """What each book of the adapter is now, against the recording's."""
        found: dict[str, Ending] = {}
        for symbol, held in self.stage.truth.books.items():
            book, mine = held.book, self.adapter.book(symbol)
            if mine is None:
                found[symbol] = Ending.BEHIND if book.live else Ending.EQUAL
            elif book.live and (mine.bids(), mine.asks()) == (book.bids(), book.asks()):
                found[symbol] = Ending.EQUAL
            else:
                same = (mine.sequence, mine.time_ms) == (book.sequence, book.time_ms)
                numbered = self.adapter.numbered and book.sequence > 0
                wrong = book.live and same and (numbered or self._injector is None)
                found[symbol] = Ending.WRONG if wrong else Ending.BEHIND
        return found

    def equal_books(self) -> dict[str, bool]:
        """Whether each book of the adapter is now what the recording has."""
        return {symbol: one is Ending.EQUAL for symbol, one in self.endings().items()}

    @property
    def injected(self) -> dict[str, int]:
        """Faults that were injected, by kind."""
        return dict(self._injector.injected) if self._injector else {}

    def _exchange(self, taken: Taken, now_ms: int) -> Iterator[Message]:
        """Messages of what was taken, and of the venue's answers to what it sends."""
        waiting, rounds = [taken], 0
        while waiting:
            rounds += 1
            check(rounds < _ROUNDS_MAX, "a protocol comes to an end", rounds)
            one = waiting.pop(0)
            yield from one.messages
            # An adapter's answer belongs to its next call: what it was told is taken first.
            sends, fetches = list(one.sends), list(one.fetches)
            for text in sends:
                answers = self.stage.heard(self._session, text, now_ms)
                waiting += [self.adapter.take(answer, now_ms) for answer in answers]
            for fetch in fetches:
                body = self.stage.rest(fetch.path)
                waiting.append(self.adapter.answered(fetch, body, now_ms))


class PlayerServer:
    """A venue's server on a port of this machine, from a recording or a list of frames.

    Attributes: `ws_url` and `rest_url` are what to give an adapter's connection; `finished` is set
    when the tape is at its end; the server stays until it is closed.
    """

    def __init__(
        self, recording: Iterable[Frame], *, speed: float = 0.0, injection: Injection | None = None,
        wait_for_client: bool = True,
    ) -> None:  # fmt: skip
        check(speed >= 0.0, "a speed of 0 or more", speed)
        self._recording, self._speed = recording, speed
        self._injection = injection
        self.stage = stage_of(recording)
        # Who asks for the time is told the tape's: its frames are stamped with it.
        self.stage.at_ms = next((frame.at_ms for frame in recording), 0)
        self.finished = asyncio.Event()
        self._begin = asyncio.Event()
        if not wait_for_client:
            self._begin.set()
        self._outboxes: dict[int, asyncio.Queue[tuple[int, str]]] = {}
        self._clients = 0
        self._server: Server | None = None

    @asynccontextmanager
    async def open(self, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[PlayerServer]:
        """Serve while inside; port 0 takes any that is free."""
        from websockets.asyncio.server import serve

        async with serve(
            self._client, host, port, process_request=self._http, ping_interval=None,
            max_size=None, compression=None,
        ) as server:  # fmt: skip
            self._server = server
            tape = asyncio.create_task(self._play())
            try:
                yield self
            finally:
                tape.cancel()
                with suppress(asyncio.CancelledError):
                    await tape

    @property
    def port(self) -> int:
        """The port that is served."""
        check(self._server is not None, "the server is open")
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def ws_url(self) -> str:
        """WebSocket address."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def rest_url(self) -> str:
        """REST address; the venue's own paths follow it."""
        return f"http://127.0.0.1:{self.port}"

    async def _play(self) -> None:
        await self._begin.wait()
        begun, first = time.monotonic_ns(), None
        for frame in self._recording:
            if self._speed:
                first = frame.at_ns if first is None else first
                due = begun + (frame.at_ns - first) / self._speed
                await asyncio.sleep(max(0.0, due - time.monotonic_ns()) / 1e9)
            for session, pause, text in self.stage.step(frame):
                outbox = self._outboxes.get(id(session))
                if outbox is not None:
                    await outbox.put((pause, text))
            await asyncio.sleep(0)
        for session in self.stage.sessions:
            for pause, text in session.injector.flush() if session.injector else ():
                await self._outboxes[id(session)].put((pause, text))
        for outbox in list(self._outboxes.values()):
            await outbox.join()
        self.finished.set()

    async def _client(self, socket: ServerConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        plan = self._injection
        injector = None if plan is None else Injector(replace(plan, seed=plan.seed + self._clients))
        self._clients += 1
        session = self.stage.join(socket.request.path if socket.request else "", injector)
        outbox: asyncio.Queue[tuple[int, str]] = asyncio.Queue(_OUTBOX_MAX)
        self._outboxes[id(session)] = outbox
        writer = asyncio.create_task(self._write(socket, outbox))
        try:
            if session.topics:
                self._begin.set()
            async for said in socket:
                await self._answer(session, outbox, said)
        except ConnectionClosed:
            pass
        finally:
            self.stage.leave(session)
            del self._outboxes[id(session)]
            writer.cancel()
            self._drain(outbox)

    async def _answer(
        self, session: Session, outbox: asyncio.Queue[tuple[int, str]], said: str | bytes
    ) -> None:
        text = said if isinstance(said, str) else said.decode("utf-8", "replace")
        for answer in self.stage.heard(session, text, self.stage.at_ms):
            await outbox.put((0, answer))
        if session.topics:
            self._begin.set()

    async def _write(
        self, socket: ServerConnection, outbox: asyncio.Queue[tuple[int, str]]
    ) -> None:
        from websockets.exceptions import ConnectionClosed

        while True:
            pause, text = await outbox.get()
            try:
                if pause and self._speed:
                    await asyncio.sleep(pause / 1e3 / self._speed)
                await socket.send(text)
            except ConnectionClosed:
                self._drain(outbox)
            finally:
                outbox.task_done()

    def _drain(self, outbox: asyncio.Queue[tuple[int, str]]) -> None:
        while not outbox.empty():
            outbox.get_nowait()
            outbox.task_done()

    def _http(self, socket: ServerConnection, request: Request) -> Response | None:
        """Answer what is no WebSocket."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return None
        body = self.stage.rest(request.path)
        if body is None:
            return socket.respond(HTTPStatus.NOT_FOUND, '{"error":"not recorded"}\n')
        answer: Any = socket.respond(HTTPStatus.OK, body)
        del answer.headers["Content-Type"]
        answer.headers["Content-Type"] = "application/json"
        return answer  # type: ignore[no-any-return]
