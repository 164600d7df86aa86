"""The pages themselves, one file each: what they show is computed elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui
from starlette.requests import Request
from starlette.responses import RedirectResponse

from solvent.dashboard.markup import link_to
from solvent.dashboard.pages.account import account_page
from solvent.dashboard.pages.frame import Page, Scene, frame, heading
from solvent.dashboard.pages.journal import journal_page
from solvent.dashboard.pages.rulebooks import rulebooks_page
from solvent.dashboard.pages.stress import stress_page
from solvent.dashboard.pages.surface import surface_page
from solvent.dashboard.pages.venue import venue_page
from solvent.dashboard.text import safe
from solvent.service.callers import Action, Forbidden, TooMany, Unauthorised
from solvent.service.names import AccountName
from solvent.service.problems import answered

Build = Callable[[Page], Awaitable[Any] | None]
_WAIT_S = 20.0


def add_pages(scene: Scene) -> None:
    """Make every page known to NiceGUI."""
    for path, build, action in (
        ("/", venue_page, Action.VENUE_READ), ("/stress", stress_page, Action.VENUE_READ),
        ("/rulebooks", rulebooks_page, Action.VENUE_READ),
        ("/surface", surface_page, Action.MARKET_READ),
        ("/journal", journal_page, Action.JOURNAL_READ),
    ):  # fmt: skip
        _add(scene, path, build, action)
    _add_account(scene)


def _add(scene: Scene, path: str, build: Build, action: Action) -> None:
    @ui.page(path, response_timeout=_WAIT_S)
    async def page(request: Request) -> Any:
        return await _shown(scene, request, build, action, None)


def _add_account(scene: Scene) -> None:
    @ui.page("/account/{name:name}", response_timeout=_WAIT_S)
    async def page(request: Request, name: AccountName) -> Any:
        return await _shown(
            scene, request, lambda one: account_page(one, name), Action.ACCOUNT_READ, name
        )

    @ui.page("/account", response_timeout=_WAIT_S)
    async def find(request: Request, q: str = "") -> Any:
        name = q.strip() or scene.first_account
        if name:
            return RedirectResponse(link_to(name), status_code=303)
        return await _shown(
            scene, request, lambda one: account_page(one, ""), Action.MARKET_READ, None
        )


async def _shown(
    scene: Scene, request: Request, build: Build, action: Action, account: str | None
) -> Any:
    """Build a page for somebody who may see it; who is not known is led to the login, and who may
    see an account alone to that. Who asks too often is told so."""
    try:
        caller = await scene.sessions.caller(request)
        scene.sessions.check(caller, action, account)
        await scene.door.callers.admit(request, caller, action, account)
    except TooMany as fault:
        return answered(fault)
    except Unauthorised:
        return RedirectResponse("/login", status_code=303)
    except Forbidden as fault:
        if account is None and caller.accounts:
            return RedirectResponse(link_to(min(caller.accounts)), status_code=303)
        page = Page(scene, request, caller, action=Action.MARKET_READ)
        with frame(page, "", "Not for you"):
            heading("Not for you", "Another caller may see this.")
            ui.html(f'<div class="sv-banner bad" role="alert">{safe(fault)}</div>', sanitize=False)
        return None
    made = build(Page(scene, request, caller, action=action, account=account))
    if made is not None:
        await made
    return None
