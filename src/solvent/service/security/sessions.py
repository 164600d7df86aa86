"""Sessions of people who log in with a password: a cookie, of which a digest alone is kept.

A session ends when nothing was asked for `idle_s`, after `whole_s` whatever was asked, when its
user leaves, leaves everywhere, is changed or disabled. What changes something with a cookie alone
must come from our own pages: by its origin, and by a token that only they know.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from solvent.host import clock_ms
from solvent.service.callers import Action, Caller, TooMany, Unauthorised
from solvent.service.security import rules
from solvent.service.security.audit import Audit
from solvent.service.security.masking import Secret
from solvent.service.security.rates import Buckets, Limit, network_of, take_all
from solvent.service.security.users import User, Users
from solvent.service.security.vault import Vault

COOKIE: Final = "solvent_session"
CSRF_HEADER: Final = "solvent-csrf"
PREFIX: Final = "svc_"
IDLE_S: Final = 1_800
WHOLE_S: Final = 43_200
SEEN_EVERY_MS: Final = 60_000
LOGINS: Final = Limit(per_s=1, burst=100)
LOGIN_WEIGHT: Final = 10
"""Ten tries at once, then one in ten seconds: by address, and by name."""
_COLUMNS: Final = "digest, user, since_ms, seen_ms, seal"


def own_origin(connection: HTTPConnection) -> bool:
    """Whether a request comes from our own pages, as browsers say: none of another site can make a
    browser say otherwise. A request without an origin is none of a page."""
    host = connection.headers.get("host", "")
    origin = connection.headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc == host and bool(host)
    return connection.headers.get("sec-fetch-site", "none") in ("same-origin", "none")


class PageSessions:
    """Lets people in by password, for pages (`dashboard.access.Sessions`) and the API."""

    passwords = True

    def __init__(
        self, vault: Vault, users: Users, audit: Audit, *, idle_s: int = IDLE_S,
        whole_s: int = WHOLE_S, clock: Callable[[], int] = clock_ms,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        self._vault, self._users, self._audit = vault, users, audit
        self._idle_ms, self._whole_ms = 1_000 * idle_s, 1_000 * whole_s
        self._clock, self._clock_ns = clock, clock_ns
        self._addresses, self._names = Buckets(LOGINS), Buckets(LOGINS)

    # ── the pages' protocol ──────────────────────────────────────────────────────────────────────

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Who looks. Raises Unauthorised: the page then leads to the login."""
        if connection.scope["type"] == "websocket" and not own_origin(connection):
            raise Unauthorised("expected a page of this service, found another origin")
        return self.find(connection.cookies.get(COOKIE, ""))

    async def enter(self, connection: HTTPConnection, form: Mapping[str, str]) -> Mapping[str, str]:
        """A new session's cookie. Raises Unauthorised, and TooMany for who tries too often."""
        if not own_origin(connection):
            raise Unauthorised("expected the login page of this service, found another origin")
        name, password = form.get("name", "").strip()[:64], Secret(form.get("password", ""))
        host = connection.client.host if connection.client else ""
        parts = ((self._addresses, network_of(host)), (self._names, name))
        if wait_ns := take_all(parts, LOGIN_WEIGHT, self._clock_ns()):
            raise TooMany("logging in", retry_after_s=wait_ns / 1e9)
        try:
            user = await asyncio.to_thread(self._users.verify, name, password)
        except Unauthorised:
            # What was typed as a name may be a password: it is kept only of who is known.
            known = name if self._users.get(name) else "somebody"
            await asyncio.to_thread(self._note, known, "refused")
            raise
        old = connection.cookies.get(COOKIE, "")
        made = await asyncio.to_thread(self.begin, user)
        if old:
            self._end(old)
        await asyncio.to_thread(self._note, user.name, "let in")
        return {COOKIE: made.reveal()}

    async def leave(self, connection: HTTPConnection) -> Mapping[str, str]:
        """End the session of a cookie."""
        if not own_origin(connection):
            raise Unauthorised("expected a page of this service, found another origin")
        await asyncio.to_thread(self._end, connection.cookies.get(COOKIE, ""))
        return {COOKIE: ""}

    def check(self, caller: Caller, action: Action, account: str | None) -> None:
        """Raises Forbidden where a caller may not do an action."""
        rules.check(caller, action, account)

    # ── sessions themselves ──────────────────────────────────────────────────────────────────────

    def begin(self, user: User) -> Secret:
        """A new session of somebody; those that are over are forgotten."""
        made, now_ms = Secret(PREFIX + secrets.token_urlsafe(32)), self._clock()
        values = (_digest(made.reveal()), user.name, now_ms, now_ms)
        seal = self._vault.seal("session", values)
        with self._vault.transaction() as db:
            db.execute(
                "DELETE FROM sessions WHERE since_ms<? OR seen_ms<?",
                (now_ms - self._whole_ms, now_ms - self._idle_ms),
            )
            db.execute(
                f"INSERT INTO sessions ({_COLUMNS}) VALUES (?,?,?,?,?)",
                (*values, seal),
            )
        return made

    def find(self, cookie: str) -> Caller:
        """Whose session a cookie is. Raises Unauthorised."""
        return self.of_digest(_digest(cookie)) if cookie.startswith(PREFIX) else self._nobody()

    def of_digest(self, digest: str) -> Caller:
        """Whose session has a digest, if it goes on. Raises Unauthorised."""
        found = self._vault.rows(
            f"SELECT {_COLUMNS} FROM sessions WHERE digest=?",
            digest,
        )
        now_ms = self._clock()
        if not found or not self._vault.sealed("session", found[0]):
            return self._nobody()
        row = found[0]
        if now_ms >= min(row["since_ms"] + self._whole_ms, row["seen_ms"] + self._idle_ms):
            raise Unauthorised("the session has expired: log in again")
        user = self._users.get(row["user"])
        if user is None:
            return self._nobody()
        if now_ms - row["seen_ms"] >= min(SEEN_EVERY_MS, self._idle_ms // 4):
            values = (row["digest"], row["user"], row["since_ms"], now_ms)
            self._vault.write(
                "UPDATE sessions SET seen_ms=?, seal=? WHERE digest=?",
                now_ms, self._vault.seal("session", values), row["digest"],
            )  # fmt: skip
        return user.caller(f"session {row['digest']}")

    def csrf(self, caller: Caller) -> str:
        """The token that our pages send beside a session's cookie where they change something."""
        return self._vault.seal("csrf", [caller.credential])[:32]

    def check_own(self, connection: HTTPConnection, caller: Caller) -> None:
        """Raises Unauthorised where a cookie alone would change something."""
        told = connection.headers.get(CSRF_HEADER, "")
        fits = hmac.compare_digest(told.encode(), self.csrf(caller).encode())
        if not (own_origin(connection) and fits):
            raise Unauthorised(f"expected our own page, and its token as {CSRF_HEADER}")

    def everywhere(self, name: str) -> int:
        """End all sessions of somebody; how many there were."""
        return self._vault.write("DELETE FROM sessions WHERE user=?", name)

    def _end(self, cookie: str) -> None:
        self._vault.write("DELETE FROM sessions WHERE digest=?", _digest(cookie))

    def _nobody(self) -> Caller:
        raise Unauthorised("expected a session: log in")

    def _note(self, who: str, outcome: str) -> None:
        self._audit.add(time_ms=self._clock(), who=who, what="log in", outcome=outcome)


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
