"""Everything durable of security, in one directory of mode 0700: a master key, and SQLite.

No secret of any key, token or webhook is stored: each is HMAC-SHA256 of the master key over the
row's id and salt, and is made again when it is needed. Rows that say who may do what are sealed
with another key made of it: who can write the database but has no master key can make no row that
is believed. See docs/decisions/0027.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Final

from solvent.errors import BadInput, Problem, Reject
from solvent.service.security.masking import Secret

MASTER_FILE: Final = "master.key"
DATABASE: Final = "security.sqlite"
_MASTER_BYTES: Final = 32
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS users (
  name TEXT PRIMARY KEY, role TEXT NOT NULL, accounts TEXT, password TEXT NOT NULL,
  disabled INTEGER NOT NULL, since_ms INTEGER NOT NULL, seal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
  id TEXT PRIMARY KEY, owner TEXT NOT NULL, role TEXT NOT NULL, accounts TEXT,
  label TEXT NOT NULL, salt TEXT NOT NULL, made_ms INTEGER NOT NULL, expires_ms INTEGER,
  revoked_ms INTEGER, seal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
  digest TEXT PRIMARY KEY, user TEXT NOT NULL, since_ms INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL, seal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS audit (
  number INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL, who TEXT NOT NULL,
  what TEXT NOT NULL, whose TEXT NOT NULL, outcome TEXT NOT NULL, request TEXT NOT NULL,
  chain TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS audit_is_kept BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the record is kept'); END;
CREATE TRIGGER IF NOT EXISTS audit_is_not_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the record is not changed'); END;
CREATE TABLE IF NOT EXISTS proposals (
  number INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT NOT NULL, command BLOB NOT NULL,
  by_whom TEXT NOT NULL, made_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
  approved_by TEXT NOT NULL, status TEXT NOT NULL, detail TEXT NOT NULL, seal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hooks (
  id TEXT PRIMARY KEY, url TEXT NOT NULL, kinds TEXT NOT NULL, salt TEXT NOT NULL,
  since_ms INTEGER NOT NULL, seal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
  event TEXT NOT NULL, hook TEXT NOT NULL, body BLOB NOT NULL, tries INTEGER NOT NULL,
  due_ms INTEGER NOT NULL, status TEXT NOT NULL, detail TEXT NOT NULL, made_ms INTEGER NOT NULL,
  PRIMARY KEY (event, hook));
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (status, due_ms);
CREATE TABLE IF NOT EXISTS places (name TEXT PRIMARY KEY, sequence INTEGER NOT NULL);
"""


class Vault:
    """The directory, open. May be used from several threads and beside other processes.

    Raises BadInput where it is missing, or where others than its owner may read it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = RLock()
        _check_mode(home, 0o077, "a directory", made=home.is_dir())
        self._master = _master(home / MASTER_FILE)
        file = home / DATABASE
        _check_mode(file, 0o077, "a file", made=file.is_file())
        self._db = sqlite3.connect(
            file, isolation_level=None, check_same_thread=False, timeout=10.0
        )
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        self._written = 0

    @classmethod
    def create(cls, home: Path) -> Vault:
        """Make the directory and a master key where there are none, then open it."""
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(home / MASTER_FILE, secrets.token_hex(_MASTER_BYTES).encode() + b"\n")
        _make(home / DATABASE, b"")
        return cls(home)

    def close(self) -> None:
        """Let the database go."""
        with self._lock:
            self._db.close()

    # ── the database ─────────────────────────────────────────────────────────────────────────────

    @property
    def version(self) -> tuple[int, int]:
        """Changes whenever something was written, by this process or another; takes microseconds,
        so it is asked with every request: what was revoked elsewhere is revoked here at once."""
        with self._lock:
            (other,) = self._db.execute("PRAGMA data_version").fetchone()
            return self._written, other

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """What a query finds."""
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def write(self, query: str, *values: Any) -> int:
        """One change, durable; how many rows it changed."""
        with self.transaction() as db:
            return db.execute(query, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Several changes that are durable together, or not at all."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            self._written += 1

    # ── what is made of the master key ───────────────────────────────────────────────────────────

    def derived(self, purpose: str, name: str, salt: str) -> Secret:
        """The secret of a row: 43 characters, the same each time."""
        text = "\n".join((purpose, name, salt)).encode()
        made = hmac.digest(self._master, text, hashlib.sha256)
        return Secret(base64.urlsafe_b64encode(made).rstrip(b"=").decode())

    def seal(self, purpose: str, values: Sequence[Any]) -> str:
        """What shows that a row was written by somebody who has the master key."""
        key = hmac.digest(self._master, f"seal {purpose}".encode(), hashlib.sha256)
        text = json.dumps(list(values), separators=(",", ":")).encode()
        return hmac.new(key, text, hashlib.sha256).hexdigest()

    def sealed(self, purpose: str, row: sqlite3.Row) -> bool:
        """Whether a row, whose last column is its seal, is as it was sealed."""
        *values, seal = tuple(row)
        values = [one.hex() if isinstance(one, bytes) else one for one in values]
        return hmac.compare_digest(self.seal(purpose, values), str(seal))


def _make(file: Path, content: bytes) -> None:
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(handle, "wb") as made:
        made.write(content)
        made.flush()
        os.fsync(made.fileno())


def _check_mode(file: Path, forbidden: int, what: str, *, made: bool) -> None:
    if not made:
        raise _bad(file, f"{what} (solvent keys create makes it)", "none")
    found = file.stat()
    if stat.S_IMODE(found.st_mode) & forbidden:
        expected = f"mode {0o777 & ~forbidden:04o} or less"
        raise _bad(file, expected, f"{stat.S_IMODE(found.st_mode):04o}")
    if found.st_uid != os.geteuid():
        raise _bad(file, f"owner {os.geteuid()}", str(found.st_uid))


def _master(file: Path) -> bytes:
    _check_mode(file, 0o077, "a file", made=file.is_file())
    try:
        found = bytes.fromhex(file.read_text("ascii"))
    except ValueError:
        found = b""
    if len(found) != _MASTER_BYTES:
        raise _bad(file, f"{_MASTER_BYTES} bytes in hexadecimal", "something else")
    return found


def _bad(file: Path, expected: str, found: str) -> BadInput:
    return BadInput(
        Problem(code=Reject.SOURCE_UNREADABLE, source=str(file), expected=expected, found=found)
    )
