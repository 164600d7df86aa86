"""Who looks at a page and what they may do there: a protocol, and what holds without accounts.

Pages ask `Sessions` with every action anew, never what they remembered when they were opened, and
go through the `Door`: what is done on a page is limited and recorded as if the API had been asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote, unquote

from starlette.requests import HTTPConnection

from solvent.host import clock_ms
from solvent.service.approvals import NotApproved
from solvent.service.callers import (
    OPERATOR,
    Action,
    Caller,
    Callers,
    Forbidden,
    OpenCallers,
    Unauthorised,
)
from solvent.service.problems import answered
from solvent.service.security.audit import Audit
from solvent.service.security.notes import Note, note_of, noted

NAME_COOKIE: Final = "solvent_name"
_NAME: Final = re.compile(r"[\w .@-]{1,64}")


class Sessions(Protocol):
    """Lets people in, and tells who they are.

    Attributes:
        passwords: whether the login page asks for one.
    """

    passwords: bool

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Who looks. Raises Unauthorised: the page then leads to the login."""

    async def enter(self, connection: HTTPConnection, form: Mapping[str, str]) -> Mapping[str, str]:
        """Cookies of somebody who has said who they are. Raises Unauthorised with the reason."""

    async def leave(self, connection: HTTPConnection) -> Mapping[str, str]:
        """Cookies to be emptied when somebody leaves."""

    def check(self, caller: Caller, action: Action, account: str | None) -> None:
        """Raises Forbidden where a caller may not do an action."""


class OpenSessions:
    """Everybody on this machine may do everything, under the name that they give: two names are
    two persons here, which is a demonstration and no protection."""

    passwords = False

    def __init__(self) -> None:
        self._callers = OpenCallers()

    async def caller(self, connection: HTTPConnection) -> Caller:
        """The name of the cookie, else the operator. Raises Unauthorised beyond loopback."""
        found = await self._callers.caller(connection)
        name = unquote(connection.cookies.get(NAME_COOKIE, "")) or OPERATOR
        if not _NAME.fullmatch(name):
            raise Unauthorised("expected a name of letters, digits, space and . @ - _")
        return Caller(name=name, role=found.role, accounts=None)

    async def enter(self, connection: HTTPConnection, form: Mapping[str, str]) -> Mapping[str, str]:
        """A cookie with the name."""
        await self._callers.caller(connection)
        name = form.get("name", "").strip()
        if not _NAME.fullmatch(name):
            raise Unauthorised("expected a name of letters, digits, space and . @ - _")
        return {NAME_COOKIE: quote(name)}

    async def leave(self, connection: HTTPConnection) -> Mapping[str, str]:
        """The name's cookie, emptied."""
        del connection
        return {NAME_COOKIE: ""}

    def check(self, caller: Caller, action: Action, account: str | None) -> None:
        """Nothing is refused."""
        del caller, action, account


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """The way in for what is asked on a page: who asks by `sessions`, how much by the budgets of
    `callers`, with the record of what is privileged in `audit` (None where there is no vault)."""

    sessions: Sessions
    callers: Callers
    audit: Audit | None = None
    clock: Callable[[], int] = clock_ms

    async def enter(
        self, connection: HTTPConnection, action: Action, account: str | None = None
    ) -> Entry:
        """Somebody who may do an action now. Raises Unauthorised, Forbidden and TooMany."""
        caller = await self.sessions.caller(connection)
        scope = noted(connection.scope, caller.name)
        entry = Entry(door=self, caller=caller, note=note_of(scope))
        try:
            self.sessions.check(caller, action, account)
        except Forbidden as fault:
            note = entry.note
            note.what, note.whose, note.kept = action.value, account or "", True
            await entry.ended(fault)
            raise
        await self.callers.admit(HTTPConnection(scope), caller, action, account)
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that is being done on a page, by whom."""

    door: Door
    caller: Caller
    note: Note

    async def ended(self, fault: BaseException | None = None) -> None:
        """Record how it ended, with the status that the API would have answered, where its
        beginning was recorded."""
        door, note = self.door, self.note
        if door.audit is None or not note.kept:
            return
        status = 409 if isinstance(fault, NotApproved) else 200
        if fault is not None and not isinstance(fault, NotApproved):
            status = answered(fault).status_code
        await asyncio.to_thread(
            door.audit.add, time_ms=door.clock(), who=note.who, what=note.what, whose=note.whose,
            outcome=str(status), request=note.request,
        )  # fmt: skip
