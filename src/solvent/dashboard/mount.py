"""The pages on an application that serves a venue: one call."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.routing import Match, Mount

from solvent.dashboard.access import Door, OpenSessions, Sessions
from solvent.dashboard.approvals import Approvals, TwoPersons
from solvent.dashboard.hub import Hub
from solvent.dashboard.pages.frame import KEYS_JS, Scene
from solvent.dashboard.pages.login import login_html
from solvent.dashboard.theme import style_sheet
from solvent.errors import check
from solvent.service.callers import TooMany, Unauthorised
from solvent.service.venue import NotServing, Venue

PATHS: Final = frozenset(
    {"", "_nicegui", "_nicegui_ws", "account", "stress", "rulebooks", "surface", "journal"}
)
"""First parts of the paths that are pages, or what they are made of."""
_DAY_S: Final = 86_400
_KEPT = {"cache-control": "no-cache"}


def mount_dashboard(
    app: FastAPI, venue: Venue, *, sessions: Sessions | None = None,
    approvals: Approvals | None = None, first_account: str = "",
) -> Hub:  # fmt: skip
    """Put the pages on an application, at its root; the hub lives as long as the application.

    NiceGUI keeps one application a process: call this once. `sessions` None lets everyone in who
    comes over loopback, `approvals` None keeps proposals in memory.
    """
    from nicegui import ui

    from solvent.dashboard.pages import add_pages

    hub = Hub(venue)
    security = getattr(app.state, "security", None)
    door = Door(
        sessions=sessions or OpenSessions(), callers=app.state.callers,
        audit=None if security is None else security.audit,
    )  # fmt: skip
    scene = Scene(
        hub=hub, door=door, approvals=approvals or TwoPersons(venue), first_account=first_account
    )
    _add_routes(app, scene)
    add_pages(scene)
    _live_with(app, hub)
    ui.run_with(
        app, title="Solvent", tailwind=False, show_welcome_message=False, language="en-US",
        favicon=_FAVICON, storage_secret=secrets.token_urlsafe(32), reconnect_timeout=10.0,
        gzip_middleware_factory=None,
    )  # fmt: skip
    _keep_to_pages(app)
    return hub


_FAVICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 20"><rect width="20" height="20" '
    'rx="5" fill="#1f57d6"/><path d="M4 12.5h3l2.2-6 2.4 8 1.8-4H16" fill="none" stroke="#fff" '
    'stroke-width="2"/></svg>'
)


class _Pages(Mount):
    """The pages' own paths and no others: what the API does not know stays the API's to refuse."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """Whether a path is a page's."""
        first = str(scope["path"]).removeprefix(str(scope.get("root_path", ""))).split("/")[1:2]
        if first and first[0] not in PATHS:
            return Match.NONE, {}
        return super().matches(scope)


def _keep_to_pages(app: FastAPI) -> None:
    """NiceGUI takes every path that nobody else has; it is given its own alone."""
    made = app.router.routes[-1]
    check(isinstance(made, Mount), "the pages are mounted last")
    app.router.routes[-1] = _Pages("/", app=cast(Mount, made).app, name="pages")


def _live_with(app: FastAPI, hub: Hub) -> None:
    """The hub begins when the venue serves, and ends before it stops."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def life(one: Any) -> AsyncIterator[Any]:
        async with inner(one) as told:
            begin = asyncio.create_task(_begin(hub))
            try:
                yield told
            finally:
                begin.cancel()
                await hub.stop()

    app.router.lifespan_context = life


async def _begin(hub: Hub) -> None:
    try:
        await hub.venue.ready()
    except (NotServing, Exception) as fault:
        hub.fault = str(fault)
        return
    hub.start()


def _add_routes(app: FastAPI, scene: Scene) -> None:
    """Style, keys, and the login, which sets cookies and so is no live page."""

    @app.get("/dashboard/style.css", include_in_schema=False)
    async def style() -> Response:
        return Response(style_sheet(), media_type="text/css", headers=_KEPT)

    @app.get("/dashboard/keys.js", include_in_schema=False)
    async def keys() -> Response:
        return Response(KEYS_JS, media_type="text/javascript", headers=_KEPT)

    @app.get("/login", include_in_schema=False)
    async def login(request: Request) -> Response:
        return HTMLResponse(login_html(request, passwords=scene.sessions.passwords))

    @app.post("/login", include_in_schema=False)
    async def enter(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        try:
            cookies = await scene.sessions.enter(request, form)
        except (Unauthorised, TooMany) as fault:
            told = login_html(request, passwords=scene.sessions.passwords, fault=str(fault))
            return HTMLResponse(told, status_code=401 if isinstance(fault, Unauthorised) else 429)
        return _with_cookies(request, cookies)

    @app.post("/logout", include_in_schema=False)
    async def leave(request: Request) -> Response:
        return _with_cookies(request, await scene.sessions.leave(request), to="/login")


def _with_cookies(request: Request, cookies: Any, *, to: str = "/") -> Response:
    answer = RedirectResponse(to, status_code=303)
    for name, value in cookies.items():
        answer.set_cookie(
            name, value, max_age=_DAY_S if value else 0, httponly=True, samesite="strict",
            secure=request.url.scheme == "https", path="/",
        )  # fmt: skip
    return answer
