"""Requests that are signed: the secret stays here, and what is caught on the way cannot be sent
again.

`docs/security.md` says what is signed: HMAC-SHA256 over time, nonce, method, path with its query,
and the body's hash. A request is signed anew each time it is sent.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from solvent.errors import BadInput, Problem, Reject

SCHEME: Final = "Solvent-HMAC-SHA256"


def now_ms() -> int:
    """Milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class Signer:
    """Signs with a key: its id (`svk_…`) and its secret (`svs_…`).

    >>> one = Signer("svk_1", "svs_2", clock=lambda: 1_790_000_000_000)
    >>> one
    Signer('svk_1')
    >>> one.header("GET", "/v1/venue", nonce="n")[-14:]
    '43fe069a059fe7'
    """

    def __init__(self, key: str, secret: str, *, clock: Callable[[], int] | None = None) -> None:
        for what, told, prefix in (("key", key, "svk_"), ("secret", secret, "svs_")):
            if not told.startswith(prefix) or "." in told:
                raise BadInput(
                    Problem(
                        code=Reject.COMMAND_MALFORMED, source="connect", field=what,
                        expected=f"{prefix}…, its part of the whole key", found="something else",
                    )
                )  # fmt: skip
        self.key, self._secret, self._clock = key, secret, clock or now_ms

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.key!r})"

    def header(self, method: str, target: str, body: bytes = b"", *, nonce: str = "") -> str:
        """The `Authorization` of one request. `target`: the path with its query, as it is sent."""
        at, nonce = str(self._clock()), nonce or uuid4().hex
        digest = hashlib.sha256(body).hexdigest()
        text = "".join(f"{part}\n" for part in (at, nonce, method.upper(), target, digest))
        made = hmac.new(self._secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        return f"{SCHEME} id={self.key},ts={at},nonce={nonce},sig={made}"


def signer_of(key: str | None, secret: str | None) -> Signer | None:
    """What signs, where a secret is told apart from its key; None where the key is sent itself.
    Raises BadInput for a secret without its key.

    >>> signer_of("svk_1.svs_2", None) is None, signer_of("svk_1", "svs_2")
    (True, Signer('svk_1'))
    """
    return None if secret is None else Signer(key or "", secret)
