"""Who looks at a page and what they may do there: a protocol, and what holds without accounts.

Pages ask `Sessions` with every action anew, never what they remembered when they were opened.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import quote, unquote

from starlette.requests import HTTPConnection

from solvent.service.callers import OPERATOR, Action, Caller, OpenCallers, Unauthorised

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
