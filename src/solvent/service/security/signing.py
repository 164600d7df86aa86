"""Signed requests: what is signed, and the checks of a signature, its time and its nonce.

HMAC-SHA256 over `timestamp \\n nonce \\n METHOD \\n path?query \\n body's SHA-256 in hex \\n`, in
milliseconds since 1970 UTC. Deribit's clients sign the body itself in its place. A request is new
while its time is within the window, and its nonce has not been seen in that time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from solvent.errors import check
from solvent.service.callers import SignAgain, TooMany, Unauthorised
from solvent.service.security.masking import Secret

SCHEME: Final = "Solvent-HMAC-SHA256"
DERIBIT: Final = "deri-hmac-sha256"
WINDOW_MS: Final = 30_000
"""How old a signature may be."""
AHEAD_MS: Final = 2_000
"""How far in the future a signature may be: clocks differ."""
NONCES_MAX: Final = 1 << 20
"""Nonces that are remembered of all keys together."""
_PARAMETER: Final = re.compile(r"(?P<name>[a-z]+)=(?P<value>[A-Za-z0-9_.+/=-]*)")
_TIME: Final = re.compile(r"[1-9][0-9]{0,14}")
_NONCE: Final = re.compile(r"[A-Za-z0-9_.+/=-]{1,64}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a header says: whose key, when, once, and the signature."""

    key: str
    timestamp: str
    nonce: str
    signature: str
    deribit: bool = False


def read_header(told: str) -> Signed | None:
    """What an `Authorization` header says; None where it is of another scheme. Raises Unauthorised
    for one of ours that cannot be read.

    >>> read_header("Solvent-HMAC-SHA256 id=svk_1,ts=1700000000000,nonce=n,sig=" + "0" * 64).key
    'svk_1'
    """
    scheme, _, rest = told.partition(" ")
    if scheme not in (SCHEME, DERIBIT):
        return None
    found: dict[str, str] = {}
    for part in rest.split(","):
        one = _PARAMETER.fullmatch(part.strip())
        if one is None or one["name"] in found:
            raise Unauthorised(f"{scheme}: expected id, ts, nonce and sig, each once")
        found[one["name"]] = one["value"]
    if set(found) != {"id", "ts", "nonce", "sig"}:
        raise Unauthorised(f"{scheme}: expected id, ts, nonce and sig, each once")
    return Signed(
        key=found["id"], timestamp=found["ts"], nonce=found["nonce"], signature=found["sig"],
        deribit=scheme == DERIBIT,
    )  # fmt: skip


def text_of(
    timestamp: str, nonce: str, method: str, target: str, body: bytes, *, deribit: bool = False
) -> bytes:
    """What is signed. `target` is the path with its query, as it is sent."""
    last = body if deribit else hashlib.sha256(body).hexdigest().encode()
    head = "\n".join((timestamp, nonce, method.upper(), target, "")).encode()
    return head + last + b"\n"


def signature_of(secret: Secret, text: bytes) -> str:
    """HMAC-SHA256 in hexadecimal.

    >>> signature_of(Secret("key"), b"The quick brown fox jumps over the lazy dog")[:16]
    'f7bc83f430538424'
    """
    return hmac.new(secret.reveal().encode(), text, hashlib.sha256).hexdigest()


def header_of(
    key: str, secret: Secret, *, timestamp_ms: int, nonce: str, method: str, target: str,
    body: bytes = b"",
) -> str:  # fmt: skip
    """The header that a client sends."""
    timestamp = str(timestamp_ms)
    text = text_of(timestamp, nonce, method, target, body)
    return f"{SCHEME} id={key},ts={timestamp},nonce={nonce},sig={signature_of(secret, text)}"


def check_signature(secret: Secret | None, signed: Signed, text: bytes) -> None:
    """Raises Unauthorised, with the same words for a key that is not known (no secret) as for a
    signature that is not its own, and in the same time."""
    known = secret if secret is not None else Secret("no such key")
    made = signature_of(known, text)
    fits = hmac.compare_digest(made.encode(), signed.signature.encode())
    if not (fits and secret is not None and _SIGNATURE.fullmatch(signed.signature)):
        raise Unauthorised("expected a known key and its signature of this request")


class Nonces:
    """Remembers nonces as long as their signatures could be sent again; for one thread at a time.

    What was signed before this process began (and `ahead_ms` more, so that nothing that was taken
    by the one before it is new) is refused: nonces are not durable.
    """

    def __init__(
        self, *, started_ms: int, window_ms: int = WINDOW_MS, ahead_ms: int = AHEAD_MS,
        most: int = NONCES_MAX,
    ) -> None:  # fmt: skip
        check(window_ms > 0 <= ahead_ms, "a window", window_ms, ahead_ms)
        self.window_ms, self.ahead_ms = window_ms, ahead_ms
        self._floor_ms = started_ms + ahead_ms
        self._most = most
        self._seen: dict[tuple[str, str], int] = {}
        self._by_second: OrderedDict[int, list[tuple[str, str]]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def check_time(self, signed: Signed, now_ms: int) -> None:
        """Raises Unauthorised, which says by how much the clocks differ."""
        if not (_TIME.fullmatch(signed.timestamp) and _NONCE.fullmatch(signed.nonce)):
            raise Unauthorised("expected ts in whole milliseconds and a nonce of 1 to 64 letters")
        behind_ms = now_ms - int(signed.timestamp)
        if behind_ms > self.window_ms or -behind_ms > self.ahead_ms:
            way = "behind" if behind_ms > 0 else "ahead of"
            raise Unauthorised(
                f"signed {abs(behind_ms)} ms {way} the service's clock ({now_ms}): expected at "
                f"most {self.window_ms} ms behind and {self.ahead_ms} ms ahead"
            )
        if int(signed.timestamp) < self._floor_ms:
            wait_ms = max(1, self._floor_ms - now_ms)
            raise SignAgain(retry_after_s=wait_ms / 1_000)

    def take(self, signed: Signed, now_ms: int) -> None:
        """Remember a nonce whose signature is right. Raises Unauthorised for one that was seen,
        and TooMany rather than forget one that could be sent again."""
        self._forget(now_ms)
        name = signed.key, signed.nonce
        if name in self._seen:
            raise Unauthorised("this nonce has been used: sign the request again with another")
        if len(self._seen) >= self._most:
            raise TooMany("nonces of all keys", retry_after_s=1.0)
        until_ms = int(signed.timestamp) + self.window_ms
        second = until_ms // 1_000 + 1
        self._seen[name] = second
        self._by_second.setdefault(second, []).append(name)

    def _forget(self, now_ms: int) -> None:
        """Let go of what is too old to be sent again, a whole second at a time."""
        over = [second for second in self._by_second if 1_000 * second < now_ms]
        for second in over:
            for name in self._by_second.pop(second):
                del self._seen[name]
