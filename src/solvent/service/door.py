"""What-ifs beyond what can be answered are refused as soon as their head has been read.

A refusal by the application costs a task, a scope and every layer in front: half of what an answer
costs, so that a flood would take the time of those that are answered. `Door` is uvicorn's protocol
with one question before that. It refuses only what has a small body, and reads past that; whatever
is unusual (pipelined, chunked, large, an upgrade, somebody who does not read answers) goes on to
the application, whose `InFlight` asks the same question of what did not pass here.

Refusals have a pace: beyond `A_SECOND` of them each waits for its turn, and its connection with it.
So whoever asks again at once when refused is slowed down, at no cost, and those who are answered
keep the processor.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from solvent.service.limits import ASKED, WHAT_IF, Admission, overloaded
from solvent.service.security.guard import Heard, headers_of, request_id

_URL: Final = WHAT_IF.encode()
_SMALL: Final = 1 << 16
"""Bytes of a body that are read past."""
_STATUS: Final = 503
_ID: Final = "0" * 32
A_SECOND: Final = 1_000
"""Refusals that are told in a second."""
_TICK_S: Final = 0.005
_EACH_TICK: Final = int(A_SECOND * _TICK_S)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What says whether to refuse, and what hears of refusals."""

    admission: Admission
    heard: Heard
    pace: Pace


class Pace:
    """Lets so many be told at a time, and the others in turn."""

    def __init__(self) -> None:
        self._waiting: dict[Door, None] = {}
        """In the order in which they came."""
        self._tick, self._left = -1, 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, one: Door) -> None:
        """Have somebody told now, or when it is their turn."""
        tick = int(one.loop.time() / _TICK_S)
        if tick != self._tick:
            self._tick, self._left = tick, _EACH_TICK
        if self._left and not self._waiting:
            self._left -= 1
            one.tell()
            return
        self._waiting[one] = None
        if self._timer is None:
            self._timer = one.loop.call_later(_TICK_S, self._next, one.loop)

    def leave(self, one: Door) -> None:
        """Somebody has been told, or has gone."""
        self._waiting.pop(one, None)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tick, self._left = int(loop.time() / _TICK_S), 0
        for _ in range(min(_EACH_TICK, len(self._waiting))):
            one = next(iter(self._waiting))
            del self._waiting[one]
            one.tell()
        again = bool(self._waiting)
        self._timer = loop.call_later(_TICK_S, self._next, loop) if again else None


class Door(HttpToolsProtocol):
    """See the module; `door_of` makes the class of an application."""

    asked: ClassVar[_Asked]
    _refusal: bytes | None = None
    """What the request that is being read will be answered with."""
    _told: bytes | None = None
    """What one that has been read is answered with when it is its turn."""
    _stays: bool = True

    def on_headers_complete(self) -> None:
        """Called when a request's head has been read."""
        # One that comes before the answer to the last does not overtake it, and is not refused
        # here: the pace of refusals would not hold for who sends many at once.
        early = self._told is not None
        self.tell()
        self._refusal = None
        if self.url == _URL and not early and self._plain():
            wait_ms = self.asked.admission.beyond_ms()
            if wait_ms is not None:
                self._stays = (
                    self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
                )
                before, after = _refusal_of(
                    self.asked.admission.why,
                    wait_ms,
                    stays=self._stays,
                    secure=self.scheme == "https",
                )
                self._refusal = before + request_id().encode() + after
                return
            self.asked.admission.let_in(self.loop)
            self.scope[ASKED] = True  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def _plain(self) -> bool:
        """Whether it is a request with a small body whose turn it is, of somebody who reads."""
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        if self.flow.write_paused or self.expect_100_continue or self.parser.should_upgrade():
            return False
        if self.parser.get_method() != b"POST":
            return False
        length = [value for name, value in self.headers if name == b"content-length"]
        return len(length) == 1 and length[0].isdigit() and int(length[0]) <= _SMALL

    def on_body(self, body: bytes) -> None:
        """Called with parts of a body."""
        if self._refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Called when all of a request has been read."""
        if self._refusal is None:
            super().on_message_complete()
            return
        self._told, self._refusal = self._refusal, None
        self.asked.pace.take(self)

    def tell(self) -> None:
        """Answer with the refusal that waits for its turn, if one does."""
        told, self._told = self._told, None
        self.asked.pace.leave(self)
        if told is None or self.transport.is_closing():
            return
        self.transport.write(told)
        self.asked.admission.refused += 1
        self.asked.heard(WHAT_IF, "POST", _STATUS, 0.0, "")
        if not self._stays:
            self.transport.close()
        self.on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection is over: who has gone is not told any more."""
        self._told = None
        self.asked.pace.leave(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Called when the service stops: nobody is left without an answer."""
        self.tell()
        super().shutdown()


@lru_cache(maxsize=1_024)
def _refusal_of(why: str, wait_ms: int, *, stays: bool, secure: bool) -> tuple[bytes, bytes]:
    """The bytes of a refusal before and after its id."""
    response = overloaded(why, wait_ms / 1_000)
    headers = [*response.raw_headers, *headers_of(_ID, secure=secure)]
    if not stays:
        headers.append((b"connection", b"close"))
    lines = b"".join(b"%s: %s\r\n" % one for one in headers)
    before, _, after = lines.partition(_ID.encode())
    return STATUS_LINE[_STATUS] + before, after + b"\r\n" + bytes(response.body)


def door_of(app: FastAPI) -> type[Door]:
    """The protocol for an application that `service.app` has made."""
    metrics = getattr(app.state, "metrics", None)
    heard: Heard = _unheard if metrics is None else metrics.ended
    return type("Door", (Door,), {"asked": _Asked(app.state.admission, heard, Pace())})


def _unheard(*told: object) -> None:
    del told
