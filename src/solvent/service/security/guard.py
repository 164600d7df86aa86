"""The outermost layer: a request's id, headers that browsers heed, outcomes in the record.

Plain ASGI, so that it keeps nothing of what streams through it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from solvent.host import clock_ms
from solvent.service.security.audit import Audit
from solvent.service.security.masking import REQUEST
from solvent.service.security.notes import Note, note_of

ID_HEADER: Final = b"solvent-request-id"
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"), (b"content-security-policy", b"frame-ancestors 'none'"),
)  # fmt: skip
_HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
_FORBIDDEN: Final = 403
_LOG: Final = logging.getLogger(__name__)
_DRAWN: Final = Random()
"""Ids need to be different, not secret: the system's own random source would let go of the
interpreter for every request, and wait to have it back."""
Heard = Callable[[str, str, int, float, str], None]
"""Route, method, status, seconds, and the lane in which it was limited (or none)."""


def request_id() -> str:
    """A new id of a request.

    >>> len(request_id()), request_id() != request_id()
    (32, True)
    """
    return f"{_DRAWN.getrandbits(128):032x}"


def headers_of(request: str, *, secure: bool) -> list[tuple[bytes, bytes]]:
    """What every answer has: the request's id, and what browsers heed."""
    found = [(ID_HEADER, request.encode()), *_HEADERS]
    return [*found, _HSTS] if secure else found


class Guard:
    """See the module. `heard` is told of every request that ended."""

    def __init__(
        self, app: ASGIApp, *, audit: Audit | None = None, heard: Heard | None = None,
        clock: Callable[[], int] = clock_ms,
    ) -> None:  # fmt: skip
        self._app, self._audit, self._heard, self._clock = app, audit, heard, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, and note how it ended."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        note = note_of(scope)
        note.request = request_id()
        token = REQUEST.set(note.request)
        start_s, status = perf_counter(), 500

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                secure = scope.get("scheme") == "https"
                message["headers"] = [*headers, *headers_of(note.request, secure=secure)]
            await send(message)

        try:
            await self._app(scope, receive, told if scope["type"] == "http" else send)
        finally:
            if scope["type"] == "http":
                await self._ended(scope, note, status, perf_counter() - start_s)
            REQUEST.reset(token)

    async def _ended(self, scope: Scope, note: Note, status: int, seconds: float) -> None:
        if self._heard is not None:
            self._heard(_route(scope), scope["method"], status, seconds, note.limited)
        if self._audit is None or not (note.kept or (status == _FORBIDDEN and note.who)):
            return
        what = note.what or f"{scope['method']} {_route(scope)}"
        try:
            await asyncio.to_thread(
                self._audit.add, time_ms=self._clock(), who=note.who, what=what, whose=note.whose,
                outcome=str(status), request=note.request,
            )  # fmt: skip
        except Exception:
            _LOG.exception("the record of what was privileged cannot be written")


def _route(scope: Scope) -> str:
    """The path of what has answered, as documents name it."""
    route = scope.get("route")
    return str(getattr(route, "path_format", None) or getattr(route, "path", "none"))
