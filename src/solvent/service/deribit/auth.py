"""Deribit's `public/auth`: say who one is, once for a connection or for a token.

`client_credentials` are a key's id and secret, `client_signature` the key's HMAC-SHA256 of
`timestamp \\n nonce \\n data`. A WebSocket remembers who has said so. Tokens are ours (`POST
/v1/token`); they are not renewed (`refresh_token`): say again who you are.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from solvent.service.callers import Caller, Role, Unauthorised
from solvent.service.deribit.rpc import (
    INVALID_PARAMS,
    WRONG_CREDENTIALS,
    Asked,
    Authenticates,
    Fault,
    method,
)
from solvent.service.security.rates import network_of

TOKEN_S: Final = 900
"""A token is good for so long."""
CREDENTIALS: Final = "client_credentials"
SIGNATURE: Final = "client_signature"
Text = Annotated[str, Meta(max_length=256)]


class Auth(Struct):
    """A grant: a key with its secret, or with a signature."""

    grant_type: Text
    client_id: Text = ""
    client_secret: Text | None = None
    timestamp: int = 0
    signature: Text = ""
    nonce: Text = ""
    data: Annotated[str, Meta(max_length=4_096)] = ""
    state: Text | None = None


@method("public/auth", Auth)
async def auth(told: Auth, asked: Asked) -> dict[str, Any]:
    """Who calls, from now on. Where callers have keys, a token too."""
    if told.grant_type not in (CREDENTIALS, SIGNATURE):
        raise Fault(
            INVALID_PARAMS, "Invalid params", param="grant_type",
            reason=f"expected {CREDENTIALS} or {SIGNATURE}",
        )  # fmt: skip
    callers = asked.connection.app.state.callers
    state = {} if told.state is None else {"state": told.state}
    if not isinstance(callers, Authenticates):
        # Whoever comes over loopback is let in without a key, and there are no tokens.
        return {"scope": scope_of(await callers.caller(asked.connection)), **state}
    try:
        caller = _proved(callers, told, asked)
    except Unauthorised as fault:
        raise Fault(WRONG_CREDENTIALS, "invalid_credentials", reason=str(fault)) from None
    asked.known.caller = caller
    token = callers.token(caller, ttl_s=TOKEN_S)
    return {
        "access_token": token.reveal(), "expires_in": TOKEN_S, "token_type": "bearer",
        "scope": scope_of(caller), **state,
    }  # fmt: skip


def _proved(callers: Authenticates, told: Auth, asked: Asked) -> Caller:
    client = asked.connection.client
    address = network_of(client.host if client else "")
    if told.grant_type == CREDENTIALS:
        return callers.authenticate(
            told.client_id, client_secret=told.client_secret or "", address=address
        )
    return callers.authenticate(
        told.client_id, timestamp=told.timestamp, signature=told.signature, nonce=told.nonce,
        data=told.data, address=address,
    )  # fmt: skip


def scope_of(caller: Caller) -> str:
    """What a caller may do, in Deribit's words.

    >>> scope_of(Caller(name="alice", role=Role.READER))
    'connection account:read trade:read'
    """
    trades = caller.role in (Role.TRADER, Role.ADMIN)
    return f"connection account:read trade:{'read_write' if trades else 'read'}"
