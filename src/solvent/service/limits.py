"""Limits of requests, before anything of them is read: how many at a time, how large, how deep.

Plain ASGI: a request that is refused costs next to nothing, and nothing here keeps what streams.
Places are kept for what makes risk smaller: questions may take half of them, everything else but
cancellations, deposits and reduce-only orders three quarters.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from solvent.service.problems import problem, wait

OPEN_PATHS: Final = ("/health/", "/metrics")
"""What is answered however much there is to do."""
WHAT_IF: Final = "/v1/whatif"
ASKED: Final = "solvent.asked"
"""In the scope of a what-if that `door` has let in."""
QUESTIONS: Final = frozenset({WHAT_IF, "/v1/margin", "/v1/compare", "/v1/liquidation"})
"""What is asked with a body and changes nothing."""
_FLOOD: Final = 0.25
_NEWS: Final = 1 / 256
"""What a question counts for in what was refused of late."""
_OPENING: Final = frozenset(b"[{")
_CLOSING: Final = frozenset(b"]}")
_REST: Final = rb'[^"\\]*(?:\\.[^"\\]*)*(?P<end>"|\\?\Z)'
"""The rest of a string: to its end, or to that of the bytes, where an escape may have begun."""
_STRING: Final = re.compile(_REST, re.DOTALL)
_TOKENS: Final = re.compile(rb'[\[\]{}]|"' + _REST, re.DOTALL)


BODY_S: Final = 10.0
"""What a body is waited for, and longer by what has come at `BODY_PER_S`: it holds a place."""
BODY_PER_S: Final = 16_384


class TooLarge(Exception):
    """A body is larger, deeper or slower than it may be."""


class _ReduceOnly(msgspec.Struct):
    """As much of an order as says whether it makes risk smaller."""

    reduce_only: bool = False


def path_of(scope: Scope) -> str:
    """A request's path as routes have it, without that under which a proxy shows the service.

    >>> path_of({"path": "/margin/v1/whatif", "root_path": "/margin"})
    '/v1/whatif'
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root else path


class Admission:
    """Whether one more question of what if is taken: `wait_s` tells how long it would wait now, if
    so many are coming with it, and one that would wait longer than `patience_s` is refused, so that
    those that are taken are answered in time. While more than a quarter of all is refused it is
    half of that: a burst finds room, and in a flood nobody also waits.

    >>> Admission(lambda coming: 0.0205, patience_s=0.01).beyond_ms()
    21
    >>> Admission(lambda coming: 0.0095, patience_s=0.01).beyond_ms() is None
    True
    """

    def __init__(self, wait_s: Callable[[int], float], *, patience_s: float) -> None:
        self._wait_s, self._patience_s = wait_s, patience_s
        self._refused = 0.0
        """The part of questions that were refused of late."""
        self.why = f"it would wait too long: {patience_s:.3g} s is the most"
        self.refused = 0
        self.coming = 0
        """Questions that were let in, and do not wait yet."""

    def beyond_ms(self) -> int | None:
        """None to take it, or how long it would wait: whole milliseconds, rounded up."""
        wait_s = self._wait_s(self.coming)
        patience_s = self._patience_s / 2 if self._refused > _FLOOD else self._patience_s
        taken = wait_s <= patience_s
        self._refused += _NEWS * ((not taken) - self._refused)
        return None if taken else math.ceil(1_000 * wait_s)

    def let_in(self, loop: AbstractEventLoop) -> None:
        """One is on its way, until the loop has done what it has read: then it waits."""
        if not self.coming:
            loop.call_soon(self._arrived)
        self.coming += 1

    def _arrived(self) -> None:
        self.coming = 0


def overloaded(why: str, wait_s: float) -> Response:
    """A refusal of what there is no time for."""
    return wait(503, "OVERLOADED", why, wait_s)


class InFlight:
    """No more than so many requests at a time; the others are told to come again.

    Streams (WebSockets) are not counted. `admission` is asked before a what-if, unless the door
    has done so (`ASKED`).
    """

    def __init__(self, app: ASGIApp, *, most: int, admission: Admission | None = None) -> None:
        self._app = app
        self._most = most
        self._admission = admission
        self.now = 0
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http" or path_of(scope).startswith(OPEN_PATHS):
            await self._app(scope, receive, send)
            return
        if self._admission is not None and path_of(scope) == WHAT_IF and ASKED not in scope:
            wait_ms = self._admission.beyond_ms()
            if wait_ms is not None:
                self._admission.refused += 1
                refusal = overloaded(self._admission.why, wait_ms / 1_000)
                await refusal(scope, receive, send)
                return
        most = _places(scope, self._most)
        if self.now >= most and most < self._most and _orders(scope):
            first = await receive()
            receive = _again(first, receive)
            if _reduces(first):
                most = self._most
        if self.now >= most:
            self.refused += 1
            refusal = overloaded(f"{self.now} requests are worked on already", 0.1)
            await refusal(scope, receive, send)
            return
        self.now += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.now -= 1


def _places(scope: Scope, most: int) -> int:
    """How many of the places a request may be the last to take."""
    path, method = path_of(scope), scope["method"]
    if method == "DELETE" or path.endswith("/deposits"):
        return most
    share = 2 if method in ("GET", "HEAD") or path in QUESTIONS else 4
    return max(1, most - most // share)


def _orders(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "POST" and path.endswith("/orders")


def _again(message: Message, receive: Receive) -> Receive:
    """What was read already, and then the rest."""
    waiting = [message]

    async def next_one() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_one


def _reduces(message: Message) -> bool:
    """Whether the first part of a body is a whole order that makes risk smaller."""
    try:
        return msgspec.json.decode(message.get("body", b""), type=_ReduceOnly).reduce_only
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False


class Bodies:
    """No body is larger, and no JSON deeper, than it may be.

    `bulk` are paths that take `bulk_most` bytes. What streams in under one of them (JSON lines) is
    held to a depth line by line.
    """

    def __init__(
        self, app: ASGIApp, *, most: int, bulk_most: int, depth: int, bulk: tuple[str, ...]
    ) -> None:
        self._app = app
        self._most, self._bulk_most, self._depth = most, bulk_most, depth
        self._bulk = bulk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "DELETE", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        most = self._bulk_most if path_of(scope).startswith(self._bulk) else self._most
        if _length(scope) > most:
            await problem(413, detail=f"expected a body of at most {most} bytes")(
                scope, receive, send
            )
            return
        coming, begun = _Coming(receive, most, self._depth), False

        async def unless_refused(message: Message) -> None:
            nonlocal begun
            if coming.refusal is None or begun:
                begun = True
                await send(message)

        try:
            await self._app(scope, coming.next, unless_refused)
        except TooLarge:
            if begun:
                raise
        if coming.refusal is not None and not begun:
            await coming.refusal(scope, receive, send)


def _length(scope: Scope) -> int:
    """Bytes of the body as its head tells them; 0 where it does not."""
    told = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
    return int(told) if told.isdigit() else 0


class _Coming:
    """A body that comes at some pace, is not too large and not too deep; or its refusal."""

    def __init__(self, receive: Receive, most: int, depth: int) -> None:
        self.refusal: Response | None = None
        self._receive, self._most = receive, most
        self._depth, self._deepest = Depth(depth), depth
        self._seen, self._waited_s, self._whole = 0, 0.0, False

    async def next(self) -> Message:
        """What comes next. Raises TooLarge where that is refused."""
        if self.refusal is not None:
            raise TooLarge
        if self._whole:
            return await self._receive()
        patience_s = BODY_S + self._seen / BODY_PER_S - self._waited_s
        since_s = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, patience_s)):
                message = await self._receive()
        except TimeoutError:
            detail = f"expected the body at {BODY_PER_S} bytes a second"
            self.refusal = problem(408, detail=detail)
            raise TooLarge from None
        self._waited_s += time.monotonic() - since_s
        self._take(message.get("body", b""), more=message.get("more_body", False))
        return message

    def _take(self, body: bytes, *, more: bool) -> None:
        self._seen += len(body)
        self._whole = not more
        if self._seen > self._most:
            self.refusal = problem(413, detail=f"expected a body of at most {self._most} bytes")
        elif not self._depth.take(body, last=not more):
            detail = f"expected JSON at most {self._deepest} deep"
            self.refusal = problem(422, code="TOO_DEEP", detail=detail)
        if self.refusal is not None:
            raise TooLarge


class Depth:
    """How deep brackets nest in bytes that come in parts; those in strings do not count.

    >>> Depth(2).take(b'[{"a": "[[["}]', last=True), Depth(2).take(b"[[[]]]", last=True)
    (True, False)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._deep = 0
        self._begun = self._quoted = self._escaped = False

    def take(self, body: bytes, *, last: bool) -> bool:
        """Whether it is not too deep with these bytes."""
        if last and not self._begun and body.count(b"[") + body.count(b"{") <= self._most:
            return True
        self._begun = True
        for token in _TOKENS.finditer(body, self._after_string(body)):
            found = token[0]
            if found[0] in _OPENING:
                self._deep += 1
                if self._deep > self._most:
                    return False
            elif found[0] in _CLOSING:
                self._deep = max(0, self._deep - 1)
            elif token["end"] != b'"':
                self._quoted, self._escaped = True, token["end"] == b"\\"
        return True

    def _after_string(self, body: bytes) -> int:
        """Where a string ends that has begun in an earlier part."""
        if not self._quoted or not body:
            return 0
        rest = _STRING.match(body, 1 if self._escaped else 0)
        if rest is None:
            return 0
        self._quoted, self._escaped = rest["end"] != b'"', rest["end"] == b"\\"
        return rest.end()
