"""Which database a journal's URL means: a directory's, or one of a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from solvent.errors import MissingExtra
from solvent.journal.errors import JournalMissing
from solvent.journal.files import Files
from solvent.journal.sqlite import SqliteStore, create_directory
from solvent.journal.store import Store

if TYPE_CHECKING:
    from types import ModuleType


def create(url: str | Path, *, files: Files | None = None) -> None:
    """Make a new, empty journal in a directory or in the database at `postgresql://…`.

    Raises JournalExists where there is one, JournalBusy, JournalError where it cannot be made.
    """
    place = _place(url)
    if isinstance(place, Path):
        create_directory(place, files or Files())
    else:
        _postgres().create_tables(place)


def upgrade(url: str | Path, *, files: Files | None = None) -> None:
    """Bring a journal's tables to this Solvent's version; nothing happens to those that are.

    Raises JournalMissing, JournalBusy, JournalVersion, JournalStopped.
    """
    store = store_at(url, read_only=False, files=files or Files())
    try:
        store.upgrade()
    finally:
        store.close()


def store_at(url: str | Path, *, read_only: bool, files: Files) -> Store:
    """An open store. Raises JournalMissing, JournalBusy, JournalStopped."""
    place = _place(url)
    if isinstance(place, Path):
        return SqliteStore(place, read_only=read_only, files=files)
    store: Store = _postgres().PostgresStore(place, read_only=read_only)
    return store


def _place(url: str | Path) -> Path | URL:
    if isinstance(url, Path) or "://" not in url:
        return Path(url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.get_backend_name() != "postgresql":
        scheme = url.split("://")[0]
        raise JournalMissing(
            f"a journal: expected a directory or postgresql://…, found {scheme}://…"
        )
    return parsed.set(drivername="postgresql")


def _postgres() -> ModuleType:
    """Loaded when it is asked for: the driver is an extra."""
    try:
        from solvent.journal import postgres
    except ImportError:
        raise MissingExtra(feature="a journal on PostgreSQL", extra="postgres") from None
    return postgres
