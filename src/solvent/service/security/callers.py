"""Callers who prove who they are: a signature, a key, a token, or a session's cookie.

`KeyedCallers` is `service.callers.Callers` for real. Other faces of the service (JSON-RPC, streams)
ask `authenticate` for credentials that are in a message, `still` whether somebody may go on, and
`admit` with every call.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import msgspec
from starlette.requests import HTTPConnection, Request

from solvent.host import clock_ms
from solvent.messages.fields import Command
from solvent.service.callers import Action, Caller, Role, TooMany, Unauthorised
from solvent.service.security import rules
from solvent.service.security.audit import Audit
from solvent.service.security.keys import SECRET_PREFIX, TOKEN_PREFIX, Keys
from solvent.service.security.masking import Secret
from solvent.service.security.notes import note_of
from solvent.service.security.rates import Buckets, Limit, network_of, take_all
from solvent.service.security.sessions import COOKIE, PageSessions
from solvent.service.security.signing import (
    Nonces,
    Signed,
    check_signature,
    read_header,
    signature_of,
    text_of,
)

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
PER_KEY: Final = Limit(per_s=2_000, burst=4_000)
PER_ADDRESS: Final = Limit(per_s=4_000, burst=8_000)
FAILURES: Final = Limit(per_s=1, burst=30)
_KEPT: Final = "solvent.caller"
_PUBLIC: Final = Caller(name="public", role=Role.PUBLIC)


class _ReduceOnly(msgspec.Struct):
    """As much of an order as says whether it makes risk smaller."""

    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class Budgets:
    """Buckets of one lane: by key (or session), by account, by address."""

    keys: Buckets
    accounts: Buckets
    addresses: Buckets

    @classmethod
    def of(cls, per_key: Limit, per_address: Limit) -> Budgets:
        """Full ones; an account has what a key has, however many keys it has."""
        return cls(Buckets(per_key), Buckets(per_key), Buckets(per_address))


@dataclass(kw_only=True)
class KeyedCallers:
    """See the module. Clocks are given: `clock` in milliseconds since 1970, `clock_ns` of spans.

    Attributes:
        public: whether somebody who has not said who they are may see what is published.
        refused: how often who called was not known, by sort.
    """

    keys: Keys
    sessions: PageSessions
    audit: Audit
    public: bool = True
    per_key: Limit = PER_KEY
    per_address: Limit = PER_ADDRESS
    clock: Callable[[], int] = clock_ms
    clock_ns: Callable[[], int] = time.monotonic_ns
    nonces: Nonces | None = None
    refused: Counter[str] = field(default_factory=Counter)
    _lanes: Mapping[bool, Budgets] = field(init=False, repr=False)
    _failures: Buckets = field(init=False, repr=False)
    _nonces: Nonces = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._lanes = {
            relief: Budgets.of(self.per_key, self.per_address) for relief in (False, True)
        }
        self._failures = Buckets(FAILURES)
        self._nonces = self.nonces or Nonces(started_ms=self.clock())

    # ── who calls ────────────────────────────────────────────────────────────────────────────────

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Who calls. Raises Unauthorised, and TooMany for an address whose callers often are not
        known. Over a WebSocket the first answer is kept, and whether it still holds is asked
        with every call: what is signed is signed once."""
        kept = connection.scope.get(_KEPT)
        if isinstance(kept, Caller):
            return self.still(kept)
        try:
            found = await self._caller(connection)
        except Unauthorised:
            self._failed(_address(connection))
            raise
        if connection.scope["type"] == "websocket":
            connection.scope[_KEPT] = found
        note_of(connection.scope).who = found.name
        return found

    async def _caller(self, connection: HTTPConnection) -> Caller:
        told = connection.headers.getlist("authorization")
        if len(told) > 1:
            raise Unauthorised("expected one Authorization header")
        if told:
            return await self._by_header(connection, told[0])
        if COOKIE in connection.cookies:
            found = await self.sessions.caller(connection)
            if connection.scope["type"] == "http" and connection.scope["method"] not in SAFE:
                self.sessions.check_own(connection, found)
            return found
        if self.public:
            return _PUBLIC
        raise Unauthorised("expected a key, a session or a token")

    async def _by_header(self, connection: HTTPConnection, told: str) -> Caller:
        signed = read_header(told)
        if signed is not None:
            body = await connection.body() if isinstance(connection, Request) else b""
            method = str(connection.scope.get("method", "GET"))
            text = text_of(
                signed.timestamp, signed.nonce, method, _target(connection), body,
                deribit=signed.deribit,
            )  # fmt: skip
            return self.by_signature(signed, text)
        scheme, _, rest = told.partition(" ")
        match scheme.lower():
            case "bearer":
                return self.by_bearer(rest.strip())
            case "basic":
                return self._by_basic(rest.strip())
        raise Unauthorised("expected the scheme Solvent-HMAC-SHA256, deri-hmac-sha256 or Bearer")

    def by_signature(self, signed: Signed, text: bytes) -> Caller:
        """Who has signed a text. Raises Unauthorised; a nonce is used up by a right signature
        alone."""
        now_ms = self.clock()
        check_signature(self.keys.secret(signed.key), signed, text)
        self._nonces.check_time(signed, now_ms)
        found = self.keys.good(signed.key, now_ms).caller()
        self._nonces.take(signed, now_ms)
        return found

    def by_bearer(self, told: str) -> Caller:
        """Who comes with a token, or with a whole key (`svk_….svs_…`). Raises Unauthorised."""
        if told.startswith(TOKEN_PREFIX):
            return self.keys.of_token(told, self.clock())
        id, _, secret = told.partition(".")  # noqa: A001
        return self._by_secret(id, secret)

    def _by_basic(self, told: str) -> Caller:
        try:
            id, _, secret = base64.b64decode(told, validate=True).decode().partition(":")  # noqa: A001
        except (binascii.Error, UnicodeError):
            raise Unauthorised("expected id:secret in base64") from None
        return self._by_secret(id, secret)

    def _by_secret(self, id: str, secret: str) -> Caller:  # noqa: A002
        """A secret that is told is held against the right one as signatures are."""
        text = b"told"
        told = signature_of(Secret(secret), text) if secret.startswith(SECRET_PREFIX) else ""
        signed = Signed(key=id, timestamp="", nonce="", signature=told)
        check_signature(self.keys.secret(id), signed, text)
        return self.keys.good(id, self.clock()).caller()

    def authenticate(
        self, client_id: str, *, client_secret: str | None = None, timestamp: int | str = "",
        signature: str = "", nonce: str = "", data: str = "", address: str = "",
    ) -> Caller:  # fmt: skip
        """Who says this in a message: a key and its secret, or (as Deribit's clients sign it) the
        signature of `timestamp \\n nonce \\n data`. Raises Unauthorised and TooMany."""
        try:
            if client_secret is not None:
                return self._by_secret(client_id, client_secret)
            # A signed request's text has more lines: of one that was seen, no login can be made.
            if "\n" in data or "\r" in data:
                raise Unauthorised("expected data of one line")
            # A message may leave its nonce out: then it is its time that comes once.
            signed = Signed(
                key=client_id, timestamp=str(timestamp), nonce=nonce or f"at.{timestamp}",
                signature=signature, deribit=True,
            )  # fmt: skip
            text = "\n".join((str(timestamp), nonce, data)).encode()
            return self.by_signature(signed, text)
        except Unauthorised:
            if address:
                self._failed(address)
            raise

    def still(self, caller: Caller) -> Caller:
        """Somebody who came before, as they are now: whoever keeps a connection open asks with
        every call. Raises Unauthorised once the key is revoked or has expired, or the session is
        over."""
        kind, _, name = caller.credential.partition(" ")
        if kind == "key":
            return self.keys.good(name, self.clock()).caller()
        if kind == "session":
            return self.sessions.of_digest(name)
        if caller.role is Role.PUBLIC and self.public:
            return caller
        raise Unauthorised("expected a key or a session")

    def token(self, caller: Caller, *, ttl_s: int) -> Secret:
        """A bearer token for somebody who came with a key."""
        return self.keys.token(caller, self.clock(), ttl_s=ttl_s)

    def _failed(self, address: str) -> None:
        self.refused["unauthorised"] += 1
        if wait_ns := take_all([(self._failures, address)], 1, self.clock_ns()):
            raise TooMany(f"{address}: who calls is not known", retry_after_s=wait_ns / 1e9)

    # ── what they may, and how much of it ────────────────────────────────────────────────────────

    def check(self, caller: Caller, action: Action, account: str | None) -> None:
        """By the table of `rules`."""
        rules.check(caller, action, account)

    async def admit(
        self, connection: HTTPConnection, caller: Caller, action: Action, account: str | None
    ) -> None:
        """Take from the budgets, and keep a record where the table says so, before it is done."""
        rule = rules.RULES[action]
        relief = rule.relief
        wait_ns = self._take(connection, caller, account, rule.weight, relief=relief)
        if wait_ns and action is Action.ORDER_PLACE and await _reduces(connection):
            relief = True
            wait_ns = self._take(connection, caller, account, rule.weight, relief=True)
        note = note_of(connection.scope)
        if wait_ns:
            note.limited = "relief" if relief else "ordinary"
            raise TooMany(caller.name, retry_after_s=wait_ns / 1e9)
        note.what, note.whose = action.value, account or ""
        if rule.kept and action is not Action.COMMAND:
            await self._keep(connection)

    def _take(
        self, connection: HTTPConnection, caller: Caller, account: str | None, weight: int, *,
        relief: bool,
    ) -> int:  # fmt: skip
        lane, address = self._lanes[relief], _address(connection)
        parts = [(lane.keys, caller.credential or address), (lane.addresses, address)]
        if account is not None and caller.role is not Role.PUBLIC:
            parts.append((lane.accounts, account))
        return take_all(parts, weight, self.clock_ns())

    async def check_commands(
        self, connection: HTTPConnection, caller: Caller, kinds: Sequence[type[Command]]
    ) -> None:
        """Commands as they are: none that needs two persons, none that its role may not do; all
        but prices are recorded."""
        rules.check_commands(caller, kinds)
        counts = Counter(str(one.__struct_config__.tag) for one in kinds)
        if not set(kinds) <= rules.FEEDS:
            note = note_of(connection.scope)
            note.what = f"{Action.COMMAND}: " + ", ".join(f"{k} ×{n}" for k, n in counts.items())
            await self._keep(connection)

    async def _keep(self, connection: HTTPConnection) -> None:
        note = note_of(connection.scope)
        note.kept = True
        await asyncio.to_thread(
            self.audit.add, time_ms=self.clock(), who=note.who, what=note.what, whose=note.whose,
            outcome="let in", request=note.request,
        )  # fmt: skip


def _address(connection: HTTPConnection) -> str:
    return network_of(connection.client.host if connection.client else "")


def _target(connection: HTTPConnection) -> str:
    """The path with its query, as it was sent."""
    scope: Mapping[str, Any] = connection.scope
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    query: bytes = scope.get("query_string", b"")
    return (raw + b"?" + query if query else raw).decode("latin-1")


async def _reduces(connection: HTTPConnection) -> bool:
    if not isinstance(connection, Request):
        return False
    try:
        return msgspec.json.decode(await connection.body(), type=_ReduceOnly).reduce_only
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
