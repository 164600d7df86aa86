"""JSON-RPC 2.0 as Deribit speaks it: a table of methods, faults with Deribit's codes, envelopes.

A method is a coroutine of its parameters (a Struct, read from JSON or from a query's text) and of
`Asked`. `answered` does one call, whatever goes wrong.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

import msgspec
from starlette.requests import HTTPConnection

from solvent.errors import BadInput, Reject, SolventError
from solvent.host import Engine
from solvent.service.callers import (
    Action,
    Caller,
    Callers,
    Forbidden,
    TooMany,
    Unauthorised,
    let_in,
)
from solvent.service.lanes import Overloaded
from solvent.service.problems import NotThere, Rejected
from solvent.service.published import Board, Published
from solvent.service.security.masking import Secret
from solvent.service.venue import NotServing, Venue

METHOD_NOT_FOUND: Final = -32601
INVALID_REQUEST: Final = -32600
INVALID_PARAMS: Final = -32602
PARSE_ERROR: Final = -32700
INTERNAL: Final = 11094
UNAUTHORISED: Final = 13009
FORBIDDEN: Final = 13021
NOT_FOUND: Final = 13020
BAD_REQUEST: Final = 11050
TEMPORARILY_UNAVAILABLE: Final = 13028
NOT_ENOUGH_FUNDS: Final = 10009
OTHER_REJECT: Final = 11030
TOO_MANY: Final = 10028
WRONG_CREDENTIALS: Final = 13004
T = TypeVar("T")
_LOG: Final = logging.getLogger(__name__)


class Fault(SolventError):
    """A call that cannot be answered, with Deribit's code; `data` says more."""

    def __init__(self, code: int, message: str, **data: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


@dataclass(slots=True)
class Known:
    """Who has said on a connection who they are, until it ends."""

    caller: Caller | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: over which connection, who calls (None where nobody need say), and what that
    connection remembers."""

    connection: HTTPConnection
    caller: Caller | None
    known: Known

    @property
    def now(self) -> Published:
        """What was published last."""
        board: Board = self.connection.app.state.board
        return board.now

    @property
    def venue(self) -> Venue:
        """The engine."""
        venue: Venue = self.connection.app.state.venue
        return venue

    async def read(self, look: Callable[[Engine], T]) -> T:
        """What a function makes of the books between two batches."""
        return await self.venue.read(look)


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its parameters, what it does, and what callers need to be let in for."""

    name: str
    params: type[msgspec.Struct]
    run: Callable[[Any, Asked], Awaitable[Any]]
    action: Action | None
    """None where nobody need say who they are."""


METHODS: Final[dict[str, Method]] = {}
Run = Callable[[Any, Asked], Awaitable[Any]]


def method(
    name: str, params: type[msgspec.Struct], action: Action | None = None
) -> Callable[[Run], Run]:
    """Put a coroutine into the table of methods."""

    def add(run: Run) -> Run:
        METHODS[name] = Method(name, params, run, action)
        return run

    return add


class Nothing(msgspec.Struct):
    """No parameters; others are not looked at, as Deribit's clients send what they like."""


async def answered(
    connection: HTTPConnection, name: object, params: object, number: object,
    known: Known | None = None,
) -> tuple[int, dict[str, Any]]:  # fmt: skip
    """One call's HTTP status and envelope. `known` is what a WebSocket has been told before."""
    start_us = time.time_ns() // 1_000
    status, told = 200, {}
    try:
        told = {"result": await _called(connection, name, params, known or Known())}
    except Exception as fault:
        found = _fault(fault)
        if found.code == INTERNAL:
            _LOG.error("a call has failed", exc_info=fault)
        status = 400
        data = {"data": found.data} if found.data else {}
        told = {"error": {"code": found.code, "message": found.message} | data}
    end_us = time.time_ns() // 1_000
    told |= {"usIn": start_us, "usOut": end_us, "usDiff": end_us - start_us, "testnet": False}
    identity = {"id": number} if isinstance(number, int | str) else {}
    return status, {"jsonrpc": "2.0"} | identity | told


async def _called(connection: HTTPConnection, name: object, params: object, known: Known) -> Any:
    found = METHODS.get(name) if isinstance(name, str) else None
    if found is None:
        raise Fault(METHOD_NOT_FOUND, "Method not found", method=str(name)[:64])
    if params is None:
        params = {}
    if not isinstance(params, Mapping):
        raise Fault(INVALID_PARAMS, "Invalid params", reason="expected params by name")
    caller = None
    if found.action is not None:
        caller = await _who(connection, params, known)
        await let_in(connection, caller, found.action, None, elsewhere=True)
    try:
        told = msgspec.convert(params, found.params, strict=False)
    except msgspec.ValidationError as fault:
        raise Fault(INVALID_PARAMS, "Invalid params", reason=str(fault)) from None
    return await found.run(told, Asked(connection, caller, known))


async def _who(connection: HTTPConnection, params: Mapping[str, Any], known: Known) -> Caller:
    """Who calls: who the connection knows, as they are now, or whose token comes with the call, or
    whom the headers name. Raises Unauthorised."""
    callers: Callers = connection.app.state.callers
    if isinstance(callers, Authenticates):
        if isinstance(token := params.get("access_token"), str):
            return callers.by_bearer(token)
        if known.caller is not None:
            known.caller = callers.still(known.caller)
            return known.caller
    return await callers.caller(connection)


@runtime_checkable
class Authenticates(Protocol):
    """Callers who prove who they are in a message; see `security.callers.KeyedCallers`."""

    def authenticate(
        self, client_id: str, *, client_secret: str | None = None, timestamp: int | str = "",
        signature: str = "", nonce: str = "", data: str = "", address: str = "",
    ) -> Caller:  # fmt: skip
        """Who says this. Raises Unauthorised and TooMany."""

    def by_bearer(self, told: str) -> Caller:
        """Who comes with a token. Raises Unauthorised."""

    def still(self, caller: Caller) -> Caller:
        """Somebody who came before, as they are now. Raises Unauthorised."""

    def token(self, caller: Caller, *, ttl_s: int) -> Secret:
        """A token for somebody who came with a key."""


def _fault(fault: Exception) -> Fault:
    match fault:
        case Fault():
            return fault
        case Unauthorised():
            return Fault(UNAUTHORISED, "unauthorized", reason=str(fault))
        case TooMany():
            wait_ms = round(1_000 * fault.retry_after_s)
            return Fault(TOO_MANY, "too_many_requests", reason=str(fault), wait=wait_ms)
        case Forbidden():
            return Fault(FORBIDDEN, "forbidden", reason=str(fault))
        case NotThere():
            return Fault(NOT_FOUND, "not_found", reason=str(fault))
        case Overloaded():
            wait_ms = round(1_000 * fault.retry_after_s)
            return Fault(
                TEMPORARILY_UNAVAILABLE, "temporarily_unavailable", reason=str(fault), wait=wait_ms
            )
        case NotServing():
            return Fault(TEMPORARILY_UNAVAILABLE, "temporarily_unavailable", reason=str(fault))
        case Rejected():
            code = Reject(fault.answer.code)
            number = NOT_ENOUGH_FUNDS if code is Reject.MARGIN_INSUFFICIENT else OTHER_REJECT
            return Fault(number, code.name.lower(), reason=fault.detail)
        case BadInput():
            first = fault.problems[0]
            return Fault(INVALID_PARAMS, "Invalid params", reason=str(first), param=first.field)
        case SolventError():
            return Fault(BAD_REQUEST, "bad_request", reason=str(fault))
    return Fault(INTERNAL, "internal_server_error")
