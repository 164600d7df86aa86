"""Which database a journal's URL means: a directory's, or one of a PostgreSQL server."""

from __future__ import annotations

from pathlib import Path

from solvent.journal.files import Files
from solvent.journal.sqlite import SqliteStore, create_directory, upgrade_directory
from solvent.journal.store import Store


def store_at(url: str | Path, *, read_only: bool, files: Files) -> Store:
    """An open store."""
    return SqliteStore(Path(url), read_only=read_only, files=files)


def create(url: str | Path, *, files: Files | None = None) -> None:
    """Make a new, empty journal in a directory or in the database at `postgresql://…`.

    Raises JournalExists where there is one, JournalBusy, JournalStopped.
    """
    create_directory(Path(url), files or Files())


def upgrade(url: str | Path, *, files: Files | None = None) -> None:
    """Bring a journal's tables to this Solvent's version; nothing happens to those that are.

    Raises JournalMissing, JournalBusy, JournalStopped.
    """
    upgrade_directory(Path(url), files or Files())
