"""People who log in: name, role, accounts, and a password of which argon2id alone is kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any, Final

from solvent.service.callers import Caller, Role, Unauthorised
from solvent.service.security.keys import bad, check_name, owned
from solvent.service.security.masking import Secret
from solvent.service.security.vault import Vault

PASSWORD_MIN: Final = 12
PASSWORD_MAX: Final = 1_024
HASHES_AT_ONCE: Final = 2
"""Each takes 64 MiB."""
_COLUMNS: Final = "name, role, accounts, password, disabled, since_ms, seal"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody as they are kept; `accounts` None for all."""

    name: str
    role: Role
    accounts: frozenset[str] | None
    disabled: bool
    since_ms: int

    def caller(self, credential: str) -> Caller:
        """Them, calling."""
        return Caller(name=self.name, role=self.role, accounts=self.accounts, credential=credential)


class Users:
    """The users of a vault. `verify` takes tens of milliseconds: call it in a thread."""

    def __init__(self, vault: Vault, *, rounds: int = 3, memory_kib: int = 1 << 16) -> None:
        from argon2 import PasswordHasher

        self._vault = vault
        self._hasher = PasswordHasher(time_cost=rounds, memory_cost=memory_kib)
        self._room = BoundedSemaphore(HASHES_AT_ONCE)
        self._nobody = self._hasher.hash("nobody has this password")
        self._seen: tuple[int, int] | None = None
        self._users: dict[str, tuple[User, str]] = {}

    def put(
        self, *, name: str, role: Role, accounts: Iterable[str] | None, password: Secret,
        now_ms: int,
    ) -> User:  # fmt: skip
        """Make somebody, or change all that is known of them; their sessions end. Raises
        BadInput."""
        length = len(password.reveal())
        if not PASSWORD_MIN <= length <= PASSWORD_MAX:
            found = f"{length} letters"
            raise bad("password", f"{PASSWORD_MIN} to {PASSWORD_MAX} letters", found)
        told = owned(role, accounts)
        listed = None if told is None else json.dumps(sorted(told))
        with self._room:
            hashed = self._hasher.hash(password.reveal())
        self._write((check_name(name), str(role), listed, hashed, 0, now_ms))
        return self._known()[name][0]

    def disable(self, name: str) -> User:
        """Nobody by this name comes in any more, by session or key. Raises BadInput."""
        found = self._known().get(name)
        if found is None:
            raise bad("name", "a user", repr(name))
        user, hashed = found
        listed = None if user.accounts is None else json.dumps(sorted(user.accounts))
        self._write((name, str(user.role), listed, hashed, 1, user.since_ms))
        return self._known()[name][0]

    def _write(self, values: tuple[Any, ...]) -> None:
        with self._vault.transaction() as db:
            db.execute(
                f"INSERT OR REPLACE INTO users ({_COLUMNS}) VALUES (?,?,?,?,?,?,?)",
                (*values, self._vault.seal("user", values)),
            )
            db.execute("DELETE FROM sessions WHERE user=?", (values[0],))

    def all(self) -> list[User]:
        """Everybody, by name."""
        return [one for _, (one, _) in sorted(self._known().items())]

    def get(self, name: str) -> User | None:
        """Somebody who may come in."""
        found = self._known().get(name)
        return None if found is None or found[0].disabled else found[0]

    def verify(self, name: str, password: Secret) -> User:
        """Somebody whose password this is. Raises Unauthorised: the same for who is not there."""
        from argon2.exceptions import Argon2Error, InvalidHashError

        found = self._known().get(name)
        hashed = self._nobody if found is None else found[1]
        fits = False
        if len(password.reveal()) <= PASSWORD_MAX:
            with self._room:
                try:
                    fits = self._hasher.verify(hashed, password.reveal())
                except (Argon2Error, InvalidHashError):
                    fits = False
        if not fits or found is None or found[0].disabled:
            raise Unauthorised("expected a name and its password")
        return found[0]

    def _known(self) -> dict[str, tuple[User, str]]:
        version = self._vault.version
        if version != self._seen:
            query = f"SELECT {_COLUMNS} FROM users"
            rows = [row for row in self._vault.rows(query) if self._vault.sealed("user", row)]
            self._users = {row["name"]: (_user(row), row["password"]) for row in rows}
            self._seen = version
        return self._users


def _user(row: sqlite3.Row) -> User:
    told = row["accounts"]
    return User(
        name=row["name"], role=Role(row["role"]),
        accounts=None if told is None else frozenset(json.loads(told)),
        disabled=bool(row["disabled"]), since_ms=row["since_ms"],
    )  # fmt: skip
