"""Asking a venue over REST: one client, patience where it is busy, and no secret in a message."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from solvent.errors import BadInput, MissingExtra, Problem, Reject
from solvent.feeds.accounts.cells import parsed
from solvent.feeds.accounts.keys import Credentials

if TYPE_CHECKING:
    import httpx

TRIES: Final = 3
TIMEOUT_S: Final = 10.0
BYTES_MAX: Final = 64 << 20
_BUSY: Final = frozenset({418, 429, 500, 502, 503, 504})
_FOUND_CHARS: Final = 300
Signer = Callable[[str, str, str], Mapping[str, str]]
"""Method, path with its query, body → headers."""


class Rest:
    """A venue's REST interface at one address. `pause` waits so many seconds."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        url: str | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            import httpx
        except ImportError as fault:
            raise MissingExtra(feature="--from", extra="feeds") from fault
        self._credentials = credentials
        self._pause = pause
        try:
            self._client = httpx.Client(
                base_url=url or credentials.url, timeout=TIMEOUT_S, follow_redirects=False,
                headers={"User-Agent": "solvent"},
            )  # fmt: skip
        except httpx.InvalidURL as fault:
            raise self._failed(credentials.venue, "no address") from fault

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def get(
        self, path: str, query: Mapping[str, str] | None = None, *, sign: Signer | None = None
    ) -> Any:
        """An answer's JSON, numbers as decimals. It is signed anew for each try."""
        asked = path if not query else f"{path}?{urlencode(query)}"
        return self._asked("GET", asked, b"", sign, about=path)

    def post(self, path: str, body: bytes) -> Any:
        """The same, for the one thing that is asked so: who we are."""
        return self._asked("POST", path, body, None, about=path)

    def _asked(
        self, method: str, path: str, body: bytes, sign: Signer | None, *, about: str
    ) -> Any:
        source = f"{self._credentials.venue} {about}"
        for tried in range(TRIES):
            response, fault = self._tried(method, path, body, sign)
            if response is not None and response.status_code not in _BUSY:
                return self._read(response, source)
            if tried < TRIES - 1:
                self._pause(_wait(response, tried))
        found = fault if response is None else f"status {response.status_code}"
        raise self._failed(source, f"{found}, {TRIES} times")

    def _read(self, response: httpx.Response, source: str) -> Any:
        content = response.content
        if len(content) > BYTES_MAX:
            raise self._failed(source, f"{len(content)} bytes, more than {BYTES_MAX}")
        if response.status_code >= 300:
            words = self._credentials.without_secrets(content.decode("utf-8", errors="replace"))
            raise self._failed(source, f"status {response.status_code}: {words[:_FOUND_CHARS]}")
        return parsed(content, source)

    def _tried(
        self, method: str, path: str, body: bytes, sign: Signer | None
    ) -> tuple[httpx.Response | None, str]:
        import httpx

        headers = dict(sign(method, path, body.decode()) if sign else {})
        asked = headers.pop(SIGNED_PATH, path)
        if body:
            headers["Content-Type"] = "application/json"
        try:
            return self._client.request(method, asked, content=body or None, headers=headers), ""
        except httpx.HTTPError as fault:
            return None, type(fault).__name__

    def _failed(self, source: str, found: str) -> BadInput:
        return BadInput(
            Problem(
                code=Reject.SOURCE_UNREADABLE, source=source, expected="an answer",
                found=self._credentials.without_secrets(found),
            )
        )  # fmt: skip


SIGNED_PATH: Final = "signed-path"
"""No header: the path that a signer has put its signature into, where a venue wants it there."""


def _wait(response: httpx.Response | None, tried: int) -> float:
    """Seconds: what the venue asks for, at most ten, or a little and then more."""
    told = "" if response is None else response.headers.get("Retry-After", "")
    return min(float(told), 10.0) if told.isdigit() else 0.5 * 2**tried
