"""How each venue wants a request signed: HMAC-SHA256 of its own text, with the secret as key."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from solvent.feeds.accounts.keys import Credentials, Secret
from solvent.feeds.accounts.rest import SIGNED_PATH, Signer

Clock = Callable[[], int]
"""Now, in milliseconds since 1970."""
WINDOW_MS = 5_000
"""How long after its time a request may arrive."""


def okx(who: Credentials, clock: Clock) -> Signer:
    """Base64 over time + method + path + body; the time is ISO 8601 with milliseconds."""

    def sign(method: str, path: str, body: str) -> Mapping[str, str]:
        moment = datetime.fromtimestamp(clock() / 1_000, UTC)
        stamp = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1_000:03d}Z"
        phrase = who.passphrase
        return {
            "OK-ACCESS-KEY": who.key.reveal(),
            "OK-ACCESS-SIGN": b64encode(_digest(who.secret, stamp + method + path + body)).decode(),
            "OK-ACCESS-TIMESTAMP": stamp,
            "OK-ACCESS-PASSPHRASE": "" if phrase is None else phrase.reveal(),
        }

    return sign


def bybit(who: Credentials, clock: Clock) -> Signer:
    """Hexadecimal over time + key + window + query."""

    def sign(method: str, path: str, body: str) -> Mapping[str, str]:
        stamp, query = str(clock()), path.partition("?")[2] if method == "GET" else body
        key = who.key.reveal()
        return {
            "X-BAPI-API-KEY": key,
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": str(WINDOW_MS),
            "X-BAPI-SIGN": _digest(who.secret, f"{stamp}{key}{WINDOW_MS}{query}").hex(),
        }

    return sign


def binance(who: Credentials, clock: Clock) -> Signer:
    """Hexadecimal over the query, which has the time, and gets the signature as its last part."""

    def sign(method: str, path: str, body: str) -> Mapping[str, str]:
        del method  # the signature is over what is sent alone
        bare, _, query = path.partition("?")
        told = f"{query}&" if query else ""
        told += f"recvWindow={WINDOW_MS}&timestamp={clock()}"
        signature = _digest(who.secret, told + body).hex()
        return {
            "X-MBX-APIKEY": who.key.reveal(),
            SIGNED_PATH: f"{bare}?{told}&signature={signature}",
        }

    return sign


def bearer(token: Secret) -> Signer:
    """What Deribit wants: the token that client credentials are exchanged for."""

    def sign(method: str, path: str, body: str) -> Mapping[str, str]:
        del method, path, body  # the token says it all
        return {"Authorization": f"Bearer {token.reveal()}"}

    return sign


def _digest(secret: Secret, text: str) -> bytes:
    return hmac.digest(secret.reveal().encode(), text.encode(), "sha256")
