"""The journal: durable, chained rows of commands and events, in SQLite or PostgreSQL."""

from solvent.journal.journal import Journal
from solvent.journal.place import create, upgrade
from solvent.journal.row import Row

__all__ = ["Journal", "Row", "create", "upgrade"]
