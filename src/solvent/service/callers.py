"""Who calls, and what they may do: the one place where that is decided.

Every route names the `Action` that it is, and depends on `Needs(action)`. That asks the
application's `Callers` who calls, and whether they may do it to the account that the path names.
A route that acts on accounts named elsewhere asks again with `allow`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from solvent.errors import SolventError
from solvent.messages.fields import Command

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
OPERATOR: Final = "operator"
ACTOR_HEADER: Final = "solvent-actor"


class Role(StrEnum):
    """What sort of caller somebody is."""

    PUBLIC = "public"
    """Somebody who has not said who they are."""
    READER = "reader"
    TRADER = "trader"
    RISK = "risk"
    CLEARING = "clearing"
    ADMIN = "admin"


class Action(StrEnum):
    """What a route does, as far as it matters for who may."""

    MARKET_READ = "market.read"
    """Markets, arrays, rulebooks: what is published."""
    ASK = "ask"
    """Margin and what-ifs of a portfolio that is in the request."""
    ACCOUNT_READ = "account.read"
    ACCOUNT_OPEN = "account.open"
    ACCOUNT_CHANGE = "account.change"
    """Modes, leverages, rulebook."""
    ORDER_PLACE = "order.place"
    ORDER_CANCEL = "order.cancel"
    WITHDRAW = "withdraw"
    TRANSFER = "transfer"
    MONEY_CONFIRM = "money.confirm"
    """Say that money has arrived or left: the venue's cashier does."""
    VENUE_READ = "venue.read"
    """What concerns all accounts: liquidations, ranks, funds, ladders, the audit."""
    JOURNAL_READ = "journal.read"
    RULEBOOK_ADOPT = "rulebook.adopt"
    COMMAND = "command"
    """Any command as it is: the operator's way in."""
    PROPOSE = "propose"
    """Put a change up that two persons must want, or take it back."""
    APPROVE = "approve"
    SELF_READ = "self.read"
    """What is known of oneself."""
    SECURITY = "security"
    """Keys, webhooks, and the record of what was privileged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who is known. `name` is the actor of commands; `accounts` those that are theirs,
    None for all; `credential` says which key or session of theirs, and is no secret."""

    name: str
    role: Role
    accounts: frozenset[str] | None = frozenset()
    credential: str = ""

    def owns(self, account: str) -> bool:
        """Whether an account is theirs."""
        return self.accounts is None or account in self.accounts


class Unauthorised(SolventError):
    """It is not known who calls."""


class SignAgain(Unauthorised):
    """It was signed when the service had not begun: signed anew after `retry_after_s` it is as good
    as any."""

    def __init__(self, *, retry_after_s: float) -> None:
        super().__init__("signed before the service began: sign it again")
        self.retry_after_s = retry_after_s


class Forbidden(SolventError):
    """It is known who calls, and they may not do this."""


class TooMany(SolventError):
    """Somebody asks more than they may in a time; it may be asked again after `retry_after_s`."""

    def __init__(self, whose: str, *, retry_after_s: float) -> None:
        super().__init__(f"{whose}: too many requests; try again in {retry_after_s:.3g} s")
        self.retry_after_s = retry_after_s


class Callers(Protocol):
    """Tells who calls and what they may do."""

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Who calls. Raises Unauthorised."""

    def check(self, caller: Caller, action: Action, account: str | None) -> None:
        """Raises Forbidden where a caller may not do an action, to an account or to none."""

    async def admit(
        self, connection: HTTPConnection, caller: Caller, action: Action, account: str | None
    ) -> None:
        """Let in what may be done: how much of it, and the record of what is privileged. Raises
        TooMany."""

    async def check_commands(
        self, connection: HTTPConnection, caller: Caller, kinds: Sequence[type[Command]]
    ) -> None:
        """Raises Forbidden where commands as they are need two persons, or another role."""


class OpenCallers:
    """Everybody who comes over this machine's loopback may do everything.

    A page of another site that a browser here shows does not: its requests name another host, or
    where they come from.
    """

    async def caller(self, connection: HTTPConnection) -> Caller:
        """The operator, or who the header `Solvent-Actor` says."""
        host = urlsplit(f"//{connection.headers.get('host', '')}").hostname
        origin = connection.headers.get("origin")
        if host not in LOOPBACK:
            raise Unauthorised(f"open to this machine alone: expected its loopback, found {host!r}")
        if origin is not None and urlsplit(origin).hostname not in LOOPBACK:
            raise Unauthorised(f"open to this machine alone: expected no origin, found {origin!r}")
        name = connection.headers.get(ACTOR_HEADER) or OPERATOR
        return Caller(name=name, role=Role.ADMIN, accounts=None)

    def check(self, caller: Caller, action: Action, account: str | None) -> None:
        """Nothing is refused."""
        del caller, action, account

    async def admit(
        self, connection: HTTPConnection, caller: Caller, action: Action, account: str | None
    ) -> None:
        """As much as anybody likes."""
        del connection, caller, action, account

    async def check_commands(
        self, connection: HTTPConnection, caller: Caller, kinds: Sequence[type[Command]]
    ) -> None:
        """Nothing is refused."""
        del connection, caller, kinds


class Needs:
    """A route's dependency: the caller, who may do `action` to the account in the path."""

    def __init__(
        self, action: Action, *, account: str = "account", elsewhere: bool = False
    ) -> None:
        self.action = action
        self._account = account
        self._elsewhere = elsewhere
        """The body names the accounts, and the route asks for each (`allow`)."""

    async def __call__(self, connection: HTTPConnection) -> Caller:
        """The caller. Raises Unauthorised, Forbidden and TooMany."""
        callers: Callers = connection.app.state.callers
        caller = await callers.caller(connection)
        account = connection.path_params.get(self._account)
        await let_in(connection, caller, self.action, account, elsewhere=self._elsewhere)
        return caller


async def let_in(
    connection: HTTPConnection, caller: Caller, action: Action, account: str | None, *,
    elsewhere: bool = False,
) -> None:  # fmt: skip
    """Check what a caller may do, and take it from their budget. `elsewhere`: accounts are named
    in the body, and are asked for one by one (`allow`) when it has been read. Raises Unauthorised,
    Forbidden and TooMany."""
    callers: Callers = connection.app.state.callers
    if elsewhere and account is None and caller.accounts:
        # Whether they may do it to any account at all.
        account = min(caller.accounts)
    callers.check(caller, action, account)
    await callers.admit(connection, caller, action, account)


def allow(connection: HTTPConnection, caller: Caller, action: Action, account: str | None) -> None:
    """Ask for an account that the path does not name. Raises Forbidden."""
    callers: Callers = connection.app.state.callers
    callers.check(caller, action, account)
