"""What many ask at a time: answered past the machinery that serves every other route.

FastAPI resolves a route, its dependencies and its body for each request, which costs more than the
answer to a what-if does. Here the same function that its route has is called directly, by the same
rules: who calls, what they may, and every problem in the same words. The route stays: it is what
the OpenAPI document describes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from solvent.service.callers import Caller, Needs
from solvent.service.limits import TooLarge, path_of
from solvent.service.problems import responded
from solvent.service.wire import JSON

Ask = Callable[[Request, Caller], Awaitable[bytes]]
"""What answers a request of a caller with a document, or raises what `problems` knows."""
_TYPE: Final = (b"content-type", JSON.encode())


class Quick:
    """Plain ASGI before FastAPI: `POST path` is answered by `ask`, of callers who may do what
    `needs` says; everything else goes on."""

    def __init__(
        self, app: ASGIApp, *, path: str, needs: Needs, ask: Ask, route: BaseRoute
    ) -> None:
        self._app = app
        self._path, self._needs, self._ask = path, needs, ask
        self._route = route
        """What is counted under its name."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it, or let it go on."""
        if scope["type"] != "http" or scope["method"] != "POST" or path_of(scope) != self._path:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        request = Request(scope, receive, send)
        try:
            found = await self._ask(request, await self._needs(request))
        except TooLarge:
            raise
        except Exception as fault:
            response: Response = responded(fault)
            await response(scope, receive, send)
            return
        length = b"content-length", b"%d" % len(found)
        await send({"type": "http.response.start", "status": 200, "headers": [length, _TYPE]})
        await send({"type": "http.response.body", "body": found})
