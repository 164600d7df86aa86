"""API keys: made, listed, revoked; and the short tokens that are given for them.

A key is told as `svk_….svs_…`: its id, which is no secret, and its secret, which is told once and
stored nowhere (`vault.Vault.derived`).
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject
from solvent.service.callers import Caller, Role, Unauthorised
from solvent.service.security.masking import Secret
from solvent.service.security.vault import Vault

KEY_PREFIX: Final = "svk_"
SECRET_PREFIX: Final = "svs_"  # noqa: S105
TOKEN_PREFIX: Final = "svt_"  # noqa: S105
NAME: Final = re.compile(r"[\w .@-]{1,64}")
TOKEN_S: Final = 900
_TOKEN: Final = re.compile(r"svt_([A-Za-z0-9_]+)\.([0-9]{1,15})\.([0-9a-f]{16})\.([0-9a-f]{64})")
_COLUMNS: Final = "id, owner, role, accounts, label, salt, made_ms, expires_ms, revoked_ms, seal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is kept. `accounts` None for all; times in milliseconds since 1970 UTC."""

    id: str
    owner: str
    role: Role
    accounts: frozenset[str] | None
    label: str
    salt: str
    made_ms: int
    expires_ms: int | None
    revoked_ms: int | None

    def caller(self) -> Caller:
        """Who calls with it."""
        return Caller(
            name=self.owner, role=self.role, accounts=self.accounts, credential=f"key {self.id}"
        )

    def status(self, now_ms: int) -> str:
        """`good`, `expired` or `revoked`."""
        if self.revoked_ms is not None:
            return "revoked"
        return "expired" if self.expires_ms is not None and now_ms >= self.expires_ms else "good"


def check_name(name: str) -> str:
    """A name of somebody, as commands have their actors. Raises BadInput."""
    if not NAME.fullmatch(name) or name != name.strip():
        raise bad("name", "1 to 64 letters, digits, space and . @ - _", repr(name))
    return name


def bad(field: str, expected: str, found: str) -> BadInput:
    """What was told of keys and users cannot be used."""
    return BadInput(
        Problem(
            code=Reject.COMMAND_MALFORMED, source="security", field=field, expected=expected,
            found=found,
        )
    )  # fmt: skip


def owned(role: Role, accounts: Iterable[str] | None) -> frozenset[str] | None:
    """Whose accounts a role has: all, for who works for the venue. Raises BadInput."""
    told = None if accounts is None else frozenset(accounts)
    if role is Role.PUBLIC:
        raise bad("role", "reader, trader, risk, clearing or admin", str(role))
    if role in (Role.READER, Role.TRADER):
        if told is None:
            raise bad("accounts", f"the accounts of a {role}", "all")
        return told
    if told:
        raise bad("accounts", f"none: a {role} has to do with all", ", ".join(sorted(told)))
    return None


class Keys:
    """The keys of a vault, kept in memory until somebody changes them."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._seen: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}
        self._secrets: dict[str, Secret] = {}
        self._off: frozenset[str] = frozenset()

    def create(
        self, *, owner: str, role: Role, accounts: Iterable[str] | None, now_ms: int,
        label: str = "", expires_ms: int | None = None,
    ) -> tuple[Key, Secret]:  # fmt: skip
        """A new key, and what is to be told once: `svk_….svs_…`. Raises BadInput."""
        if expires_ms is not None and expires_ms <= now_ms:
            raise bad("expires", f"a time after {now_ms}", str(expires_ms))
        if len(label) > 64:
            raise bad("label", "at most 64 letters", f"{len(label)}")
        key = Key(
            id=KEY_PREFIX + secrets.token_hex(8), owner=check_name(owner), role=role,
            accounts=owned(role, accounts), label=label, salt=secrets.token_hex(16),
            made_ms=now_ms, expires_ms=expires_ms, revoked_ms=None,
        )  # fmt: skip
        row = _row(key)
        self._vault.write(
            f"INSERT INTO keys ({_COLUMNS}) VALUES ({', '.join('?' * 10)})",
            *row, self._vault.seal("key", row),
        )  # fmt: skip
        return key, Secret(f"{key.id}.{self._made(key).reveal()}")

    def revoke(self, id: str, now_ms: int) -> Key:  # noqa: A002
        """No request with a key is taken from now on. Raises BadInput for one that is not there."""
        self._renew()
        key = self._keys.get(id)
        if key is None:
            raise bad("id", "a key", repr(id))
        if key.revoked_ms is None:
            values = (*_row(key)[:-1], now_ms)
            seal = self._vault.seal("key", values)
            self._vault.write("UPDATE keys SET revoked_ms=?, seal=? WHERE id=?", now_ms, seal, id)
            self._renew()
        return self._keys[id]

    def all(self) -> list[Key]:
        """Every key, the oldest first."""
        self._renew()
        return sorted(self._keys.values(), key=lambda one: (one.made_ms, one.id))

    def secret(self, id: str) -> Secret | None:  # noqa: A002
        """What a key signs with; None for one that is not there."""
        self._renew()
        key = self._keys.get(id)
        if key is None:
            return None
        if id not in self._secrets:
            self._secrets[id] = self._made(key)
        return self._secrets[id]

    def good(self, id: str, now_ms: int) -> Key:  # noqa: A002
        """A key that may be used now. Raises Unauthorised."""
        self._renew()
        key = self._keys.get(id)
        if key is None:
            raise Unauthorised("expected a known key")
        if (status := key.status(now_ms)) != "good":
            raise Unauthorised(f"key {key.id} is {status}")
        if key.owner in self._off:
            raise Unauthorised(f"key {key.id}: its owner is disabled")
        return key

    def _made(self, key: Key) -> Secret:
        return Secret(SECRET_PREFIX + self._vault.derived("key", key.id, key.salt).reveal())

    def _renew(self) -> None:
        version = self._vault.version
        if version == self._seen:
            return
        query = f"SELECT {_COLUMNS} FROM keys"
        rows = [row for row in self._vault.rows(query) if self._vault.sealed("key", row)]
        self._keys = {row["id"]: _key(row) for row in rows}
        self._secrets = {k: one for k, one in self._secrets.items() if k in self._keys}
        off = self._vault.rows("SELECT name FROM users WHERE disabled<>0")
        self._off = frozenset(row["name"] for row in off)
        self._seen = version

    # ── tokens ───────────────────────────────────────────────────────────────────────────────────

    def token(self, caller: Caller, now_ms: int, *, ttl_s: int = TOKEN_S) -> Secret:
        """A bearer token for somebody who came with a key: good until it expires or the key is."""
        kind, _, id = caller.credential.partition(" ")  # noqa: A001
        if kind != "key":
            raise Unauthorised("tokens are given for keys")
        head = f"{id}.{now_ms + 1_000 * ttl_s}.{secrets.token_hex(8)}"
        return Secret(f"{TOKEN_PREFIX}{head}.{self._mac(head)}")

    def of_token(self, told: str, now_ms: int) -> Caller:
        """Who comes with a token. Raises Unauthorised."""
        found = _TOKEN.fullmatch(told)
        head = ".".join(found.groups()[:3]) if found else ""
        mac = found[4] if found else ""
        if not hmac.compare_digest(self._mac(head), mac) or found is None:
            raise Unauthorised("expected a token of this service")
        if now_ms >= int(found[2]):
            raise Unauthorised("the token has expired")
        return self.good(found[1], now_ms).caller()

    def _mac(self, head: str) -> str:
        return self._vault.seal("token", [head])


def _row(key: Key) -> tuple[Any, ...]:
    accounts = None if key.accounts is None else json.dumps(sorted(key.accounts))
    return (
        key.id, key.owner, str(key.role), accounts, key.label, key.salt, key.made_ms,
        key.expires_ms, key.revoked_ms,
    )  # fmt: skip


def _key(row: sqlite3.Row) -> Key:
    told = row["accounts"]
    return Key(
        id=row["id"], owner=row["owner"], role=Role(row["role"]),
        accounts=None if told is None else frozenset(json.loads(told)), label=row["label"],
        salt=row["salt"], made_ms=row["made_ms"], expires_ms=row["expires_ms"],
        revoked_ms=row["revoked_ms"],
    )  # fmt: skip
