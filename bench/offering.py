"""Requests at a rate, from one process, as cheaply as Python can: the generator shares the machine
with what it measures.

`Offer` keeps connections open, each with one request at a time. A request that is due while none is
free waits for one, and its latency counts from when it was due; or, with `sent`, it is not sent at
all and `unsent` counts it: then latencies count from when requests were sent.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar, cast

Body = Callable[[int], bytes]
_TICK_S = 0.001
_TAKEN_S = 0.002
_WAIT_S = 30.0
_AGAIN = b"\r\nretry-after:"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What came of a load. Latencies in milliseconds of those that were answered with 2xx;
    `statuses` counts all."""

    name: str
    offered_a_second: float
    answered_a_second: float
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    max_ms: float
    seconds: float
    server_us: float = 0.0
    """The server's own time on a processor, for each request."""
    untold: int = 0
    """Refusals (429, 503) that do not say when to come again."""
    unsent: int = 0
    """Requests that were due while every connection waited for an answer."""
    sent_a_second: float = 0.0


class _Line(asyncio.Protocol):
    """A connection: sends a request, and tells its offer of the answer."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer
        self._seen = b""
        self._begun_s = 0.0
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)

    def ask(self, request: bytes, begun_s: float) -> None:
        """Send a request whose latency counts from a time."""
        assert self.transport is not None
        self._begun_s = begun_s
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        seen = self._seen + data if self._seen else data
        end = seen.find(b"\r\n\r\n")
        if end >= 0:
            head = seen[: end + 2].lower()
            at = head.find(b"\r\ncontent-length:")
            length = int(head[at + 17 : head.index(b"\r\n", at + 2)]) if at >= 0 else 0
            if len(seen) >= end + 4 + length:
                self._seen = b""
                self._offer.answered(self, int(head[9:12]), head, self._begun_s)
                return
        self._seen = seen

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._offer.lost()


class Offer:
    """A load; see the module. `told` hears of every answer: status and milliseconds."""

    def __init__(
        self, port: int, name: str, a_second: float, seconds: float, draw: Body, *,
        connections: int = 64, sent: bool = False,
    ) -> None:  # fmt: skip
        self._port, self._name, self._a_second, self._seconds = port, name, a_second, seconds
        self._draw, self._sent, self._connections = draw, sent, connections
        self._free: deque[_Line] = deque()
        self._due: deque[int] = deque()
        self._took: list[float] = []
        self._statuses: Counter[int] = Counter()
        self._untold = self._unsent = self._out = 0
        self._ended = self._over = False
        self._begun_s = 0.0

    async def run(self) -> Load:
        """Offer it, and wait for the last answers."""
        loop = asyncio.get_running_loop()
        lines = [
            (await loop.create_connection(lambda: _Line(self), "127.0.0.1", self._port))[1]
            for _ in range(self._connections)
        ]
        # A server on libuv takes one connection in each turn of its loop.
        await asyncio.sleep(_TAKEN_S * len(lines))
        self._free.extend(lines)
        self._begun_s = time.perf_counter()
        await self._pace()
        spent_s = time.perf_counter() - self._begun_s
        until_s = time.monotonic() + _WAIT_S
        while (self._due or self._out) and not self._ended and time.monotonic() < until_s:
            await asyncio.sleep(_TICK_S)
        if self._ended or self._out or self._due:
            raise TimeoutError(
                f"{self._name}: {self._out} requests have no answer, "
                f"a connection was closed: {self._ended}"
            )
        if not self._sent:
            spent_s = time.perf_counter() - self._begun_s
        self._over = True
        for one in lines:
            assert one.transport is not None
            one.transport.close()
        return self._load(spent_s)

    async def _pace(self) -> None:
        number, count = 0, int(self._a_second * self._seconds)
        while number < count and not self._ended:
            now_s = time.perf_counter() - self._begun_s
            due = min(count, 1 + int(now_s * self._a_second))
            while number < due:
                if self._free:
                    self._ask(self._free.popleft(), number)
                elif self._sent:
                    self._unsent += due - number
                    number = due
                    break
                else:
                    self._due.append(number)
                number += 1
            await asyncio.sleep(max(_TICK_S, number / self._a_second - now_s))

    def _ask(self, line: _Line, number: int) -> None:
        self._out += 1
        request = self._draw(number)
        due_s = self._begun_s + number / self._a_second
        line.ask(request, time.perf_counter() if self._sent else due_s)

    def answered(self, line: _Line, status: int, head: bytes, begun_s: float) -> None:
        """An answer has come over a connection, which is free again."""
        self._out -= 1
        self._statuses[status] += 1
        if 200 <= status < 300:
            self._took.append(1_000 * (time.perf_counter() - begun_s))
        elif status in (429, 503) and _AGAIN not in head:
            self._untold += 1
        if self._due:
            self._ask(line, self._due.popleft())
        else:
            self._free.append(line)

    def lost(self) -> None:
        """A connection has ended: so does the load, unless it is over."""
        self._ended = not self._over

    def _load(self, spent_s: float) -> Load:
        took = sorted(self._took)
        return Load(
            name=self._name, offered_a_second=round(self._a_second, 1),
            answered_a_second=round(len(took) / spent_s, 1),
            statuses={str(one): self._statuses[one] for one in sorted(self._statuses)},
            p50_ms=at(took, 0.5), p99_ms=at(took, 0.99), max_ms=at(took, 1.0),
            seconds=round(spent_s, 2), untold=self._untold, unsent=self._unsent,
            sent_a_second=round(sum(self._statuses.values()) / spent_s, 1),
        )  # fmt: skip


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run some work to its end, on uvloop where there is one."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)


def at(took: list[float], part: float) -> float:
    """A quantile of latencies in order; 0 of none."""
    return round(took[min(len(took) - 1, int(part * len(took)))], 2) if took else 0.0
