"""The outermost layer: a request's id, headers that browsers heed, outcomes in the record.

Plain ASGI, so that it keeps nothing of what streams through it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Final
from uuid import uuid4

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
Heard = Callable[[str, str, int, float, str], None]
"""Route, method, status, seconds, and the lane in which it was limited (or none)."""


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
        note.request = uuid4().hex
        token = REQUEST.set(note.request)
        start_s, status = perf_counter(), 500

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.setdefault("headers", [])
                message["headers"] = [*headers, *self._headers(scope, note)]
            await send(message)

        try:
            await self._app(scope, receive, told if scope["type"] == "http" else send)
        finally:
            if scope["type"] == "http":
                await self._ended(scope, note, status, perf_counter() - start_s)
            REQUEST.reset(token)

    def _headers(self, scope: Scope, note: Note) -> list[tuple[bytes, bytes]]:
        found = [(ID_HEADER, note.request.encode()), *_HEADERS]
        return [*found, _HSTS] if scope.get("scheme") == "https" else found

    async def _ended(self, scope: Scope, note: Note, status: int, seconds: float) -> None:
        if self._heard is not None:
            route = getattr(scope.get("route"), "path", "none")
            self._heard(route, scope["method"], status, seconds, note.limited)
        if self._audit is None or not (note.kept or (status == _FORBIDDEN and note.who)):
            return
        what = note.what or f"{scope['method']} {getattr(scope.get('route'), 'path', 'none')}"
        try:
            await asyncio.to_thread(
                self._audit.add, time_ms=self._clock(), who=note.who, what=what, whose=note.whose,
                outcome=str(status), request=note.request,
            )  # fmt: skip
        except Exception:
            _LOG.exception("the record of what was privileged cannot be written")
