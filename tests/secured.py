"""A served venue whose callers have keys, for tests: its clock stands still until it is moved."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any, Final

import httpx

from solvent.service.callers import Role
from solvent.service.security.assembly import Security, application
from solvent.service.security.masking import Secret
from solvent.service.security.signing import header_of
from solvent.service.security.vault import Vault
from tests.services import Served

PASSWORD: Final = "correct horse battery staple"
OWN: Final = "u5"
OTHER: Final = "u6"
MISSING: Final = "nobody"


class Clock:
    """Milliseconds since 1970, as they are told."""

    def __init__(self, now_ms: int | None = None) -> None:
        self.now_ms = int(time.time() * 1_000) if now_ms is None else now_ms

    def __call__(self) -> int:
        return self.now_ms


class Secured(Served):
    """uvicorn in a thread of this process, with a vault beside the journal."""

    def __init__(self, url: str | Path, vault: Path, **told: Any) -> None:
        Vault.create(vault).close()
        super().__init__(url, security=vault, **told)
        self.clock = Clock()
        self.app = application(self.venue, self.settings, clock=self.clock)
        # What was signed as the service began is not taken.
        self.clock.now_ms += 10_000

    @property
    def security(self) -> Security:
        """Everything that the vault keeps."""
        found: Security = self.app.state.security
        return found

    def key(self, role: Role, *, owner: str = "", **told: Any) -> tuple[str, Secret]:
        """A new key of a role, and the whole of it."""
        own = [OWN] if role in (Role.READER, Role.TRADER) else None
        key, whole = self.security.keys.create(
            owner=owner or f"{role} one", role=role, accounts=told.pop("accounts", own),
            now_ms=self.clock(), **told,
        )  # fmt: skip
        return key.id, whole

    def bearer(self, role: Role, **told: Any) -> httpx.Client:
        """A client with a new key of a role."""
        _, whole = self.key(role, **told)
        http = self.http()
        http.headers["authorization"] = f"Bearer {whole.reveal()}"
        return http

    def signed(
        self, whole: Secret, method: str, target: str, body: bytes = b"", **told: Any
    ) -> dict[str, str]:
        """Headers of a request, signed with a key."""
        name, _, secret = whole.reveal().partition(".")
        options: dict[str, Any] = {
            "timestamp_ms": self.clock(), "nonce": secrets.token_hex(8), **told
        }  # fmt: skip
        return {
            "authorization": header_of(
                name, Secret(secret), method=method, target=target, body=body, **options
            )
        }
