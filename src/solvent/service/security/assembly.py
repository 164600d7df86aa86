"""Security around an application: one call makes all of it from settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from solvent.service.metrics import Metrics, measure
from solvent.service.security.audit import Audit
from solvent.service.security.callers import KeyedCallers
from solvent.service.security.guard import Guard
from solvent.service.security.keys import Keys
from solvent.service.security.proposals import Proposals
from solvent.service.security.rates import Limit
from solvent.service.security.sessions import PageSessions
from solvent.service.security.users import Users
from solvent.service.security.vault import Vault
from solvent.service.settings import Settings
from solvent.service.venue import NotServing, Venue
from solvent.service.webhook_worker import Webhooks
from solvent.service.webhooks import Outbox


@dataclass(frozen=True, kw_only=True)
class Security:
    """Everything that a vault keeps, open."""

    vault: Vault
    keys: Keys
    users: Users
    sessions: PageSessions
    audit: Audit
    callers: KeyedCallers
    outbox: Outbox


def opened(settings: Settings, *, clock: Callable[[], int] | None = None) -> Security:
    """The vault of settings. Raises BadInput where there is none, or others may read it."""
    from solvent.host import clock_ms

    assert settings.security is not None
    clock = clock or clock_ms
    vault = Vault(settings.security)
    keys, users, audit = Keys(vault), Users(vault), Audit(vault)
    sessions = PageSessions(
        vault, users, audit, idle_s=settings.session_idle_s, whole_s=settings.session_whole_s,
        clock=clock,
    )  # fmt: skip
    per_key = Limit(settings.rate_per_s, settings.rate_burst)
    callers = KeyedCallers(
        keys=keys, sessions=sessions, audit=audit, public=settings.public_market, per_key=per_key,
        per_address=Limit(2 * per_key.per_s, 2 * per_key.burst), clock=clock,
    )  # fmt: skip
    outbox = Outbox(vault, allowed=settings.webhook_allow, clock=clock)
    return Security(
        vault=vault, keys=keys, users=users, sessions=sessions, audit=audit, callers=callers,
        outbox=outbox,
    )  # fmt: skip


def application(
    venue: Venue, settings: Settings, *, clock: Callable[[], int] | None = None
) -> FastAPI:
    """`app.create_app` with metrics, and with everything of security where settings name a vault.

    `app.state` then has `security`, `approvals` and `metrics` too.
    """
    from solvent.service.app import create_app
    from solvent.service.security.routes import router

    if settings.security is None:
        app = create_app(venue, settings)
        _guard(app, measure(app, venue), None)
        return app
    security = opened(settings, clock=clock)
    app = create_app(venue, settings, callers=security.callers, routers=[router])
    app.state.security = security
    app.state.approvals = Proposals(security.vault, venue, clock=security.callers.clock)
    metrics = measure(app, venue)
    metrics.looked.outbox, metrics.looked.unknown = security.outbox, security.callers.refused
    _guard(app, metrics, security.audit)
    _live_with(app, venue, security)
    return app


def _guard(app: FastAPI, metrics: Metrics, audit: Audit | None) -> None:
    app.add_middleware(Guard, audit=audit, heard=metrics.ended)


def _live_with(app: FastAPI, venue: Venue, security: Security) -> None:
    """Webhooks, and what was under way, begin when the venue serves and end before it stops."""
    inner = app.router.lifespan_context
    approvals: Proposals = app.state.approvals

    async def begin() -> None:
        try:
            await venue.ready()
            await approvals.resume()
        except NotServing:
            return

    @asynccontextmanager
    async def life(one: Any) -> AsyncIterator[Any]:
        async with inner(one) as told:
            webhooks = Webhooks(venue, security.outbox)
            app.state.webhooks = webhooks
            webhooks.start()
            begun = asyncio.create_task(begin())
            try:
                yield told
            finally:
                begun.cancel()
                await webhooks.stop()
        security.vault.close()

    app.router.lifespan_context = life
