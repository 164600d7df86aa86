"""The HTTP application around a venue: routers, limits, problems, and its life."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute

from solvent import __version__
from solvent.service.asks import Asks
from solvent.service.callers import Action, Callers, Needs, OpenCallers
from solvent.service.gaps import Ladders
from solvent.service.history import Steps
from solvent.service.limits import WHAT_IF, Admission, Bodies, InFlight
from solvent.service.names import Slashes
from solvent.service.problems import add_handlers
from solvent.service.published import Board
from solvent.service.quick import Quick
from solvent.service.routes import ALL, margins
from solvent.service.settings import Settings
from solvent.service.venue import Venue
from solvent.service.whatifs import WhatIfs
from solvent.service.wire import components
from solvent.service.ws.socket import Streams

BULK: Final = ("/v1/commands",)
"""Paths whose bodies may be as large as `Settings.bulk_bytes_max`."""
_GZIP_FROM: Final = 1_024


def create_app(
    venue: Venue, settings: Settings, *, callers: Callers | None = None,
    routers: Iterable[APIRouter] = (),
) -> FastAPI:  # fmt: skip
    """The application of a venue, which it starts and stops with itself.

    `app.state` has `venue`, `settings` and `callers`: what routes ask. `callers` None lets everyone
    in who comes over loopback. `routers` are included after our own.
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        venue.start()
        try:
            yield
        finally:
            await app.state.streams.stop()
            await venue.stop()
            app.state.whatifs.stop()
            app.state.asks.stop()

    app = FastAPI(
        title="Solvent", version=__version__, lifespan=life, docs_url=None, redoc_url=None,
        openapi_url="/v1/openapi.json", root_path=settings.root_path,
        summary="A margin engine for crypto derivatives.",
    )  # fmt: skip
    app.state.venue, app.state.settings = venue, settings
    app.state.callers = OpenCallers() if callers is None else callers
    board, steps = Board(), Steps(venue)
    app.state.board, app.state.steps, app.state.ladders = board, steps, Ladders()
    app.state.whatifs = WhatIfs(board, wait_s=settings.what_if_wait_ms / 1_000)
    app.state.admission = Admission(
        app.state.whatifs.waits_s, patience_s=settings.what_if_patience_ms / 1_000
    )
    app.state.asks = Asks(seconds=settings.ask_s)
    app.state.streams = Streams(venue, board)
    venue.hooks.append(board)
    venue.hooks.append(lambda engine, entries: None if entries else steps.follow(engine.state))
    add_handlers(app)
    for router in (*ALL, *routers):
        app.include_router(router)
    # The last that is added is the first that a request meets.
    app.add_middleware(GZipMiddleware, minimum_size=_GZIP_FROM, compresslevel=1)
    app.add_middleware(
        Quick,
        path=WHAT_IF,
        needs=Needs(Action.ASK),
        ask=margins.whatif_told,
        route=_route(margins.router, WHAT_IF),
    )
    app.add_middleware(
        Bodies, most=settings.body_bytes_max, bulk_most=settings.bulk_bytes_max,
        depth=settings.depth_max, bulk=BULK,
    )  # fmt: skip
    app.add_middleware(InFlight, most=settings.in_flight_max, admission=app.state.admission)
    app.add_middleware(Slashes)
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]
    return app


def _route(router: APIRouter, path: str) -> BaseRoute:
    """The route of a path."""
    return next(one for one in router.routes if getattr(one, "path", None) == path)


def _schema(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the schemas of what msgspec reads and writes."""
    if app.openapi_schema is None:
        found = FastAPI.openapi(app)
        schemas = found.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(components())
        app.openapi_schema = found
    return app.openapi_schema
